/**
 * Keys of a server in its data folder, each file readable by its owner alone. They are made once, durable before
 * anything uses them, and never made again beside a database that needs the old ones.
 *
 * What this protects and what not: docs/decisions/0010-server-key-file.md.
 */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Bytes, fromBase64, HoldfastError, type JsonValue, parseJson } from "@holdfast/core";

const fileBytesMax = 64 * 1024;

/** Makes the folder, for its owner alone. */
export function makePrivateFolder(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/** Members of a key file; `undefined` when there is none. Throws `server_keys_unsafe`, `server_keys_invalid`. */
export function readKeyFile(path: string): Readonly<Record<string, JsonValue>> | undefined {
  if (!existsSync(path)) return undefined;
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { mode, size } = fstatSync(descriptor);
    const regular = fstatSync(descriptor).isFile();
    if (!regular || (process.platform !== "win32" && (mode & 0o077) !== 0)) {
      throw new HoldfastError("server_keys_unsafe", { mode: (mode & 0o777).toString(8) });
    }
    if (size > fileBytesMax) throw invalidKeys("size");
    return membersOf(readFileSync(descriptor));
  } finally {
    closeSync(descriptor);
  }
}

function membersOf(bytes: Uint8Array): Readonly<Record<string, JsonValue>> {
  let value: JsonValue;
  try {
    value = parseJson(bytes);
  } catch {
    // The parser's details would tell of places in a secret.
    throw invalidKeys("json");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidKeys("json");
  return value as Readonly<Record<string, JsonValue>>;
}

/** Writes a key file: whole or not at all, durable when it returns. */
export function writeKeyFile(path: string, members: Readonly<Record<string, JsonValue>>): void {
  const fresh = `${path}.new`;
  const descriptor = openSync(fresh, "w", 0o600);
  try {
    chmodSync(fresh, 0o600);
    writeFileSync(descriptor, JSON.stringify(members));
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  renameSync(fresh, path);
  if (process.platform === "win32") return;
  const folder = openSync(dirname(path), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** `server_keys_invalid` for a part of a key file. */
function invalidKeys(part: string): HoldfastError {
  return new HoldfastError("server_keys_invalid", { part });
}

/** Bytes of a member, base64. Throws `server_keys_invalid`. */
export function keyBytes(members: Readonly<Record<string, JsonValue>>, name: string): Bytes {
  const value = members[name];
  const bytes = typeof value === "string" ? fromBase64(value) : undefined;
  if (bytes === undefined) throw invalidKeys(name);
  return bytes;
}

/** Text of a member. Throws `server_keys_invalid`. */
export function keyText(members: Readonly<Record<string, JsonValue>>, name: string): string {
  const value = members[name];
  if (typeof value !== "string") throw invalidKeys(name);
  return value;
}
