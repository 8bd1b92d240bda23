/** What every file of a store needs: folders that last, whole reads and writes, failures with a code. */
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statfsSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type ErrorCode, HoldfastError } from "@holdfast/core";
import { isRunning } from "./process-identity.ts";

const codes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "store_full",
  EDQUOT: "store_full",
  EFBIG: "store_full",
  EROFS: "store_read_only",
  EACCES: "store_read_only",
  EPERM: "store_read_only",
  ELOOP: "store_unsafe_path",
  EISDIR: "store_unsafe_path",
  ENOTDIR: "store_unsafe_path",
};

/** Our error for an error of the system; anything else as it is. Paths stay in the cause: they may name people. */
export function fromSystem(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof HoldfastError) return error;
  const { code, syscall } = error as { readonly code?: unknown; readonly syscall?: unknown };
  if (typeof code !== "string" || typeof syscall !== "string") return error;
  const result = `${syscall} ${code}`;
  return new HoldfastError(codes[code] ?? "store_io_error", { result }, { cause: error });
}

/** Runs calls on files; an error of the system becomes one of ours, as for the database. */
export function guardedFile<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw fromSystem(error);
  }
}

/** Makes the names in a folder durable. */
export function syncFolder(folder: string): void {
  // Windows has no handle of a folder to sync; its renames are journalled.
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Bytes that can be had in memory, and where that folder lies. */
export function roomIn(folder: string): { readonly memory: number; readonly disk: number } {
  const { bavail, bsize } = guardedFile(() => statfsSync(folder));
  return { memory: process.availableMemory(), disk: bavail * bsize };
}

/** Makes a folder (0700) and those above it that are missing; their names are durable when it returns. */
export function makeFolder(path: string): void {
  const first = mkdirSync(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  const top = dirname(resolve(first));
  for (let folder = dirname(resolve(path)); ; folder = dirname(folder)) {
    syncFolder(folder);
    if (folder === top || folder === dirname(folder)) return;
  }
}

/**
 * Where something is made before it takes the place of the target: a hidden name beside it, of this process. Makes the
 * folder, and removes what processes that are gone left there for that target.
 */
export function placeBeside(target: string, kind: "partial" | "restoring"): string {
  const folder = dirname(target);
  const start = `.${basename(target)}.`;
  const end = `.${kind}`;
  makeFolder(folder);
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(start) || !name.endsWith(end)) continue;
    const pid = name.slice(start.length, -end.length);
    if (!/^\d+$/.test(pid) || (Number(pid) !== process.pid && isRunning(Number(pid)))) continue;
    rmSync(join(folder, name), { recursive: true, force: true });
  }
  return join(folder, `${start}${process.pid}${end}`);
}

/** Writes all bytes, at a position or where the descriptor stands: one write may take a part only. */
export function writeAll(descriptor: number, bytes: Uint8Array, position?: number): void {
  for (let done = 0; done < bytes.length;) {
    const at = position === undefined ? null : position + done;
    done += writeSync(descriptor, bytes, done, bytes.length - done, at);
  }
}

/** Fills the bytes from a position, as far as the file goes. */
export function readFully(descriptor: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;) {
    const count = readSync(descriptor, bytes, done, bytes.length - done, position + done);
    if (count === 0) return;
    done += count;
  }
}
