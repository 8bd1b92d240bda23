/**
 * The server's own keys: page key of its database, checkpoint key, token key, secret of its nodes; and its name, which
 * origins carry. Every node of one database has the same file.
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import {
  base64,
  type Bytes,
  type Crypto,
  HoldfastError,
  type JsonValue,
  type Random,
} from "@holdfast/core";
import type { TokenKey } from "./api/tokens.ts";
import type { CheckpointKey } from "./engine/log/checkpoints.ts";
import { keyBytes, keyText, readKeyFile, writeKeyFile } from "./key-files.ts";

/** What a server starts with. */
export interface ServerKeys {
  readonly name: string;
  readonly pageKey: Bytes;
  readonly checkpoint: CheckpointKey;
  readonly token: TokenKey;
  /** Secret that the keys of nodes are derived from. */
  readonly nodes: Bytes;
  /** Was there no server in this folder before? */
  readonly made: boolean;
  /** Gives back what holds them. */
  close(): void;
}

/** File of the database in the data folder. */
export const databaseFile = "server.db";
/** File of the keys in the data folder. */
export const keyFile = "server.keys";

/** Where keys come from. */
export interface KeySources {
  /** Data folder. */
  readonly folder: string;
  /** Key file that is there already; default: the one in the data folder, made at the first start. */
  readonly file: string | undefined;
  readonly name: string | undefined;
}

/**
 * Reads the keys, or makes them in an empty folder under that name. Throws `server_keys_missing` beside a database
 * and for a file that was named, `server_keys_unsafe`, `server_keys_invalid`, and `config_invalid` for another name than the one that is fixed.
 */
export function openServerKeys(
  deps: { readonly crypto: Crypto; readonly random: Random },
  { folder, file, name: wanted }: KeySources,
  usualName: string,
): ServerKeys {
  const path = file ?? join(folder, keyFile);
  const found = readKeyFile(path);
  if (found === undefined && (file !== undefined || existsSync(join(folder, databaseFile)))) {
    throw new HoldfastError("server_keys_missing");
  }
  const members =
    found === undefined
      ? makeKeys(deps, path, wanted ?? usualName)
      : withNodeKey(deps.random, path, found);
  const name = keyText(members, "name");
  if (wanted !== undefined && wanted !== name) {
    throw new HoldfastError("config_invalid", { setting: "name", source: "data folder" });
  }
  const sign = deps.crypto.signer("ed25519", keyBytes(members, "checkpoint_key"));
  const privateKey = createPrivateKey({
    key: Buffer.from(keyBytes(members, "token_key")),
    format: "der",
    type: "pkcs8",
  });
  return {
    name,
    pageKey: keyBytes(members, "page_key"),
    checkpoint: { spki: keyBytes(members, "checkpoint_spki"), sign },
    token: { privateKey, publicKey: createPublicKey(privateKey) },
    nodes: keyBytes(members, "node_key"),
    made: found === undefined,
    close: () => undefined,
  };
}

/** A file of before there were nodes gets their secret. */
function withNodeKey(
  random: Random,
  path: string,
  found: Readonly<Record<string, JsonValue>>,
): Readonly<Record<string, JsonValue>> {
  if (found["node_key"] !== undefined) return found;
  const members = { ...found, node_key: base64(random.bytes(32)) };
  writeKeyFile(path, members);
  return members;
}

function makeKeys(
  { crypto, random }: { readonly crypto: Crypto; readonly random: Random },
  path: string,
  name: string,
): Readonly<Record<string, string>> {
  const checkpoint = crypto.generateSigningKey("ed25519");
  const token = crypto.generateSigningKey("ed25519");
  const members = {
    name,
    page_key: base64(random.bytes(32)),
    checkpoint_key: base64(checkpoint.privateKey),
    checkpoint_spki: base64(checkpoint.spki),
    token_key: base64(token.privateKey),
    node_key: base64(random.bytes(32)),
  };
  writeKeyFile(path, members);
  return members;
}
