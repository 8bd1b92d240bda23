/**
 * Settings of key providers from a file, once: every key, what it may be, and what it is for. The file is JSON;
 * nothing in it is executed, expanded or included, and it holds no PIN: that stands in a file of its own, for its
 * owner alone.
 *
 *     {
 *       "profile": "production",
 *       "key_minimum": "os",
 *       "pkcs11": { "module": "/usr/lib/softhsm/libsofthsm2.so", "token": "holdfast", "pin_file": "/etc/holdfast/pin" }
 *     }
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, watch } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import {
  type Assurance,
  assurances,
  type Holdfast,
  HoldfastError,
  isHoldfastError,
  type JsonValue,
  type KeyDeadlines,
  type KeyPolicy,
  keyPolicyDefault,
  limits,
  parseJson,
  type Profile,
  type ProviderName,
  providerNames,
  type WeakFlag,
  weakFlags,
} from "@holdfast/core";
import { createNodeCrypto } from "../crypto.ts";
import { systemRandom } from "../random.ts";
import { type KeySettings, policyOf, providerOpener } from "./open-providers.ts";
import type { TokenAccess } from "./pkcs11.ts";
import type { ProfileSettings } from "./store-profile.ts";

/** What a settings file says. */
export interface KeySettingsFile extends ProfileSettings {
  readonly keys: KeySettings;
}

/** Every key of the file with what it is for. */
export const keySettings = {
  profile: "development (default) or production, which refuses every weak setting by name",
  weak: "list of weaknesses that development lets pass; groups: weak, weak.keys, weak.files, weak.listeners",
  key_minimum: "least assurance that may sign and unwrap: none, software (default), os, hardware",
  key_allowed: "list of kinds of providers; default: all but the simulator",
  key_fallback:
    "audited (default): a weaker provider serves when the preferred one does not; never",
  key_deadline_ms: "what a provider may take for what a commit waits for; default: 40",
  pkcs11: "a token: module, token (label), pin_file, environment (of the module)",
  tpm: "a TPM 2.0 through its PKCS#11 module: as pkcs11",
  os_keychain: "true: the system's keychain",
} as const;

const fileBytesMax = 64 * 1024;

function invalid(setting: string): HoldfastError {
  return new HoldfastError("config_invalid", { setting, source: "key settings" });
}

/** Reads a regular file of at most 64 KiB; `owner`: that nobody else may read. */
function readFile(path: string, setting: string, owner: boolean): Uint8Array {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument: setting }, { cause });
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile() || found.size > fileBytesMax) {
      throw new HoldfastError("input_unreadable", { argument: setting });
    }
    if (owner && process.platform !== "win32" && (found.mode & 0o077) !== 0) {
      const weakness = "weak.files.readable-by-others";
      throw new HoldfastError("profile_refused", { setting: weakness, found: setting });
    }
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

type Members = Readonly<Record<string, JsonValue>>;

function membersOf(value: JsonValue, setting: string): Members {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(setting);
  return value as Members;
}

function oneOf<T extends string>(value: JsonValue, words: readonly T[], setting: string): T {
  const found = words.find((word) => word === value);
  if (found === undefined) throw invalid(setting);
  return found;
}

function listOf<T extends string>(
  value: JsonValue,
  words: readonly T[],
  setting: string,
): readonly T[] {
  if (!Array.isArray(value)) throw invalid(setting);
  return (value as readonly JsonValue[]).map((one) => oneOf(one, words, setting));
}

function textOf(value: JsonValue | undefined, setting: string): string {
  if (typeof value !== "string" || value === "" || value.length > 4_096) throw invalid(setting);
  return value;
}

/** The PIN without the line break that editors end a file with. */
function pinOf(path: string, setting: string): Uint8Array {
  const text = readFile(path, setting, true);
  let end = text.length;
  while (end > 0 && (text[end - 1] === 10 || text[end - 1] === 13)) end -= 1;
  const pin = Uint8Array.from(text.subarray(0, end));
  text.fill(0);
  return pin;
}

function tokenOf(value: JsonValue, name: "pkcs11" | "tpm"): TokenAccess {
  const members = membersOf(value, name);
  for (const member of Object.keys(members)) {
    if (!["module", "token", "pin_file", "environment"].includes(member)) {
      throw invalid(`${name}.${member.slice(0, 64)}`);
    }
  }
  const environment: Record<string, string> = {};
  const given = membersOf(members["environment"] ?? {}, `${name}.environment`);
  for (const [variable, text] of Object.entries(given)) {
    environment[variable] = textOf(text, `${name}.environment`);
  }
  return {
    module: textOf(members["module"], `${name}.module`),
    token: textOf(members["token"], `${name}.token`),
    pin: pinOf(textOf(members["pin_file"], `${name}.pin_file`), `${name}.pin_file`),
    environment,
  };
}

function deadlineOf(value: JsonValue | undefined): Partial<KeyDeadlines> {
  if (value === undefined) return {};
  if (!Number.isSafeInteger(value) || Number(value) < 1 || Number(value) > limits.keyGenerateMs) {
    throw invalid("key_deadline_ms");
  }
  const ms = Number(value);
  const open = Math.max(limits.keyOpenMs, ms);
  return { sign: ms, signer: ms, wrap: ms, unwrap: ms, open };
}

function policyFrom(members: Members): KeyPolicy {
  const { key_minimum: minimum, key_allowed: allowed, key_fallback: fallback } = members;
  return {
    minimum:
      minimum === undefined
        ? keyPolicyDefault.minimum
        : oneOf<Assurance>(minimum, assurances, "key_minimum"),
    allowed:
      allowed === undefined
        ? keyPolicyDefault.allowed
        : listOf<ProviderName>(allowed, providerNames, "key_allowed"),
    fallback:
      fallback === undefined
        ? keyPolicyDefault.fallback
        : oneOf(fallback, ["never", "audited"] as const, "key_fallback"),
  };
}

/**
 * Reads and checks a settings file. Throws `config_invalid` {setting}, never with a value, `input_unreadable`,
 * `json_*`, and `profile_refused` for a PIN that others may read.
 */
export function readKeySettings(path: string): KeySettingsFile {
  const members = membersOf(parseJson(readFile(path, "key settings", false)), "");
  for (const name of Object.keys(members)) {
    if (!Object.hasOwn(keySettings, name)) throw invalid(name.slice(0, 64));
  }
  const { profile, weak, pkcs11, tpm, os_keychain: osKeychain = false } = members;
  if (typeof osKeychain !== "boolean") throw invalid("os_keychain");
  return {
    profile:
      profile === undefined
        ? "development"
        : oneOf<Profile>(profile, ["production", "development"], "profile"),
    weak: weak === undefined ? [] : listOf<WeakFlag>(weak, weakFlags, "weak"),
    keys: {
      policy: policyFrom(members),
      deadlines: deadlineOf(members["key_deadline_ms"]),
      ...(pkcs11 === undefined ? {} : { pkcs11: tokenOf(pkcs11, "pkcs11") }),
      ...(tpm === undefined ? {} : { tpm: tokenOf(tpm, "tpm") }),
      osKeychain,
    },
  };
}

const quietMs = 100;

/**
 * Applies the settings file to an open store whenever it changes, until the returned function is called. What
 * cannot be read leaves the store as it is. The passphrase is not asked for again: its provider stays open.
 */
export function followKeySettings(
  path: string,
  store: Pick<Holdfast, "providers">,
  told: (error: HoldfastError | undefined) => void = () => {},
): () => void {
  const file = resolve(path);
  const ports = { crypto: createNodeCrypto(), random: systemRandom };
  let timer: NodeJS.Timeout | undefined;
  let turn = Promise.resolve();

  async function apply(): Promise<void> {
    try {
      const { keys } = readKeySettings(file);
      const opener = providerOpener(ports, keys, undefined);
      await store.providers.reconfigure(policyOf(keys), opener);
      told(undefined);
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      told(error);
    }
  }

  // The folder is watched: editors and tools put a new file in the place of the old one.
  const watcher = watch(dirname(file), { persistent: false }, (_, name) => {
    if (name !== null && name !== basename(file)) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      turn = turn.then(apply);
    }, quietMs);
    timer.unref();
  });
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}
