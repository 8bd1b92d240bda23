/**
 * Where the two copies of a keyring lie: `keyring` in the store's folder, and `<state>/<store id>/keyring`
 * outside it, so that neither a lost folder nor a lost home takes the keys along.
 */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import {
  type Crypto,
  HoldfastError,
  type KeyringFiles,
  type RecordFile,
  decodeLines,
  fromUtf8,
} from "@holdfast/core";
import { createRecordFile } from "./record-file.ts";

/** Name of the keyring file in the store's and in the state folder. */
export const keyringFileName = "keyring";

/** `HOLDFAST_STATE`, else `holdfast` in the XDG state folder (XDG Base Directory Specification 0.8). */
export function stateFolder(environment: Readonly<Record<string, string | undefined>>): string {
  const named = environment["HOLDFAST_STATE"];
  if (named !== undefined && named !== "") return named;
  const xdg = environment["XDG_STATE_HOME"];
  const base = xdg !== undefined && xdg.startsWith("/") ? xdg : join(homedir(), ".local", "state");
  return join(base, "holdfast");
}

/** A store id is a folder's name: 22 characters of base64url, so no path can hide in it. */
function checkedId(storeId: string): string {
  if (/^[A-Za-z0-9_-]{22}$/.test(storeId)) return storeId;
  throw new HoldfastError("keyring_corrupt", { record: "keyring" });
}

/** Both copies of the keyring of that store. */
export function keyringFiles(folder: string, state: string, storeId: string): KeyringFiles {
  return {
    store: createRecordFile(join(folder, keyringFileName)),
    registered: createRecordFile(join(state, checkedId(storeId), keyringFileName)),
  };
}

/** Whole lines of a copy, and the store id of its header if that is among them. */
function linesOf(
  crypto: Crypto,
  file: RecordFile,
): { readonly lines: ReadonlySet<string>; readonly id: string | undefined } {
  const lines = new Set<string>();
  let id: string | undefined;
  for (const line of decodeLines(crypto, file.read() ?? new Uint8Array(0))) {
    if (line.state !== "record") continue;
    lines.add(fromUtf8(line.raw));
    if (line.record.kind === "keyring") id = line.record.store;
  }
  return { lines, id };
}

/**
 * The store id that the keyring in a folder names. Where its header is damaged, that of the registered copy
 * with which it shares a line. Throws `keyring_missing` without a file and `keyring_corrupt` without an
 * answer: the caller then has to know the store id.
 */
export function storeIdOf(crypto: Crypto, folder: string, state: string): string {
  const file = createRecordFile(join(folder, keyringFileName));
  if (file.version() === undefined) throw new HoldfastError("keyring_missing");
  const own = linesOf(crypto, file);
  if (own.id !== undefined) return own.id;
  for (const name of existsSync(state) ? readdirSync(state).sort() : []) {
    if (!/^[A-Za-z0-9_-]{22}$/.test(name)) continue;
    const other = linesOf(crypto, createRecordFile(join(state, name, keyringFileName)));
    if (other.id === name && [...other.lines].some((line) => own.lines.has(line))) return name;
  }
  throw new HoldfastError("keyring_corrupt", { record: "keyring" });
}
