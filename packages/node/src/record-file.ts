/**
 * The `RecordFile` port over a path: mode 0600, fsync before every answer, replacement by temporary file,
 * fsync, rename and fsync of the folder. Symbolic links and anything but regular files are refused with
 * `keyring_unsafe_file`; errors of the system come with the code of a store's medium (`system-error.ts`).
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import type { BigIntStats } from "node:fs";
import { randomBytes } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { HoldfastError, type RecordFile } from "@holdfast/core";
import { withSystem } from "./system-error.ts";

/** Only a missing file is the answer "there is none"; every other error of the system is one. */
function statOf(path: string): BigIntStats | undefined {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat !== undefined && !stat.isFile()) {
    throw new HoldfastError("keyring_unsafe_file", { file: basename(path) });
  }
  return stat;
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) done += writeSync(descriptor, bytes, done, bytes.length - done);
}

function syncFolder(folder: string): void {
  // Windows has no handle of a folder to sync; its renames are journalled.
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, constants.O_RDONLY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function withFile<T>(path: string, flags: number, use: (descriptor: number) => T): T {
  const descriptor = openSync(path, flags | (constants.O_NOFOLLOW ?? 0), 0o600);
  try {
    return use(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** One copy of a keyring at that path. Its folder is made (0700) by the first `replace`. */
export function createRecordFile(path: string): RecordFile {
  return {
    read: () =>
      withSystem(() => {
        if (statOf(path) === undefined) return undefined;
        return withFile(path, constants.O_RDONLY, (descriptor) =>
          Uint8Array.from(readFileSync(descriptor)),
        );
      }),
    version: () =>
      withSystem(() => {
        const stat = statOf(path);
        return stat && `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
      }),
    append: (bytes) => {
      withSystem(() => {
        statOf(path);
        withFile(path, constants.O_WRONLY | constants.O_APPEND, (descriptor) => {
          writeAll(descriptor, bytes);
          fsyncSync(descriptor);
        });
      });
    },
    replace: (bytes) => {
      withSystem(() => {
        statOf(path);
        const folder = dirname(path);
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
        try {
          withFile(
            temporary,
            constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL,
            (descriptor) => {
              fchmodSync(descriptor, 0o600);
              writeAll(descriptor, bytes);
              fsyncSync(descriptor);
            },
          );
          renameSync(temporary, path);
        } catch (error) {
          rmSync(temporary, { force: true });
          throw error;
        }
        syncFolder(folder);
      });
    },
  };
}
