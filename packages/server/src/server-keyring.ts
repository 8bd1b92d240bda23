/**
 * The keys of a server behind key providers, in place of the key file: `server.keyring` and its copy beside it, in
 * the format of `spec/keyring.md`. The checkpoint key is a signing key of the provider that the policy prefers; the
 * page key, the token key and the secret of the nodes, from which the HPKE key of the server is derived, are under
 * the epoch key that every provider of the settings wraps.
 *
 * There is no fallback for signatures of checkpoints: devices pin one key. While its provider does not work, what
 * would need a new checkpoint is refused with its code and tried again by the devices; reading goes on.
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  type Bytes,
  createKeyring,
  HoldfastError,
  type Keyring,
  type KeyringFiles,
  type Observer,
  openKeyring,
} from "@holdfast/core";
import {
  createRecordFile,
  type KeySettingsFile,
  makeProviders,
  providerOpener,
  useOf,
} from "@holdfast/node";
import { platform } from "./platform.ts";
import { databaseFile, keyFile, type KeySources, type ServerKeys } from "./server-keys.ts";

/** Name of the keyring in the data folder. */
const keyringFile = "server.keyring";
/** The checkpoint key has the place of an incarnation's: there is one. */
const checkpointName = "0".repeat(16);
/** Scope of the secrets that are derived of data keys. */
const serverScope = "server";
const ed25519Pkcs8 = Buffer.from("302e020100300506032b657004220420", "hex");

function filesOf({ folder, file }: KeySources): KeyringFiles {
  const path = file ?? join(folder, keyringFile);
  return { store: createRecordFile(path), registered: createRecordFile(`${path}.copy`) };
}

/** Is there a keyring where these sources say? */
export function hasServerKeyring(sources: KeySources): boolean {
  const { store, registered } = filesOf(sources);
  return store.version() !== undefined || registered.version() !== undefined;
}

/**
 * Opens the keyring, or makes it in an empty folder under that name. Throws `server_keys_missing` beside a database,
 * `config_invalid` for a folder with a key file or for another name, and what providers and keyrings throw.
 */
export async function openServerKeyring(
  sources: KeySources,
  usualName: string,
  { keys }: KeySettingsFile,
  observer: Observer,
): Promise<ServerKeys> {
  const files = filesOf(sources);
  const made = !hasServerKeyring(sources);
  if (existsSync(join(sources.folder, keyFile))) {
    throw new HoldfastError("config_invalid", { setting: "key_settings", source: "data folder" });
  }
  if (made && existsSync(join(sources.folder, databaseFile))) {
    throw new HoldfastError("server_keys_missing");
  }
  const use = useOf(keys, observer);
  const openProvider = providerOpener(platform, keys, undefined);
  const keyring = made
    ? await makeKeyring(sources.name ?? usualName)
    : await openKeyring({ ...platform, files, openProvider, use });
  try {
    if (sources.name !== undefined && sources.name !== keyring.tenant) {
      throw new HoldfastError("config_invalid", { setting: "name", source: "data folder" });
    }
    return keysOf(keyring, made);
  } catch (error) {
    keyring[Symbol.dispose]();
    throw error;
  }

  async function makeKeyring(name: string): Promise<Keyring> {
    const [provider, ...others] = await makeProviders(platform, keys, undefined);
    const fresh = await createKeyring({
      ...platform,
      files,
      provider,
      others,
      openProvider,
      use,
      tenant: name,
    });
    const chosen = fresh.providers.choose();
    const { sign } = chosen.provider.capabilities;
    const algorithm = sign.includes("ed25519") ? "ed25519" : "ecdsa-p256";
    const { ref, spki } = await chosen.provider.generateSigningKey(algorithm);
    const names = { device: serverScope, incarnation: checkpointName };
    fresh.addSigningKey({ ...names, algorithm, spki, ref, provider: chosen.id });
    for (const use of ["token", "nodes"]) fresh.dataKeyToSeal(serverScope, use);
    fresh.flush();
    return fresh;
  }
}

function keysOf(keyring: Keyring, made: boolean): ServerKeys {
  const [checkpoint] = keyring.signingKeys();
  if (checkpoint === undefined) {
    throw new HoldfastError("keyring_record_missing", { record: "signing" });
  }
  const seed = secretOf(keyring, "token");
  const pkcs8 = Buffer.concat([ed25519Pkcs8, seed]);
  const privateKey = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  pkcs8.fill(0);
  seed.fill(0);
  return {
    name: keyring.tenant,
    pageKey: keyring.pageKey(),
    checkpoint: {
      spki: checkpoint.spki,
      async sign(message) {
        // Asked for each time: the provider may have failed and come back since.
        const sign = await keyring.signer(checkpointName);
        return sign(message);
      },
    },
    token: { privateKey, publicKey: createPublicKey(privateKey) },
    nodes: secretOf(keyring, "nodes"),
    made,
    close() {
      keyring[Symbol.dispose]();
    },
  };
}

/** 32 bytes for that use, derived as frame keys are; the caller wipes them. */
function secretOf(keyring: Keyring, use: "token" | "nodes"): Bytes {
  const key = keyring.dataKeys().find(({ section }) => section === use);
  const held = key && keyring.dataKey(key.id, key.generation);
  if (held === undefined) throw new HoldfastError("keyring_record_missing", { record: use });
  return held.frameKey(use, new Uint8Array(0));
}
