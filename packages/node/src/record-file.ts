/**
 * The `RecordFile` port over a path: mode 0600, fsync before every answer, replacement by temporary file,
 * fsync, rename and fsync of the folder. Symbolic links and anything but regular files are refused with
 * `keyring_unsafe_file`; failures of the medium are the storage codes.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import type { BigIntStats } from "node:fs";
import { randomBytes } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { HoldfastError, type RecordFile } from "@holdfast/core";
import { guardedFile, makeFolder, syncFolder, writeAll } from "./files.ts";

/** Without a file `undefined`, and nothing else: a failure is no answer. */
function statOf(path: string): BigIntStats | undefined {
  const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (stat !== undefined && !stat.isFile()) {
    throw new HoldfastError("keyring_unsafe_file", { file: basename(path) });
  }
  return stat;
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
      guardedFile(() => {
        if (statOf(path) === undefined) return undefined;
        return withFile(path, constants.O_RDONLY, (descriptor) =>
          Uint8Array.from(readFileSync(descriptor)),
        );
      }),
    version: () =>
      guardedFile(() => {
        const stat = statOf(path);
        return stat && `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
      }),
    append(bytes) {
      guardedFile(() => {
        // Replaced by another process meanwhile: what was added went with the old file.
        for (let stayed = false; !stayed;) {
          statOf(path);
          stayed = withFile(path, constants.O_WRONLY | constants.O_APPEND, (descriptor) => {
            writeAll(descriptor, bytes);
            fsyncSync(descriptor);
            return fstatSync(descriptor, { bigint: true }).ino === statOf(path)?.ino;
          });
        }
      });
    },
    replace(bytes) {
      guardedFile(() => {
        replaceFile(path, bytes);
      });
    },
    sync() {
      guardedFile(() => {
        if (statOf(path) === undefined) return;
        withFile(path, constants.O_WRONLY, fsyncSync);
        syncFolder(dirname(path));
      });
    },
  };
}

function replaceFile(path: string, bytes: Uint8Array): void {
  statOf(path);
  const folder = dirname(path);
  makeFolder(folder);
  const temporary = join(folder, `.${basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    withFile(temporary, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, (descriptor) => {
      fchmodSync(descriptor, 0o600);
      writeAll(descriptor, bytes);
      fsyncSync(descriptor);
    });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  syncFolder(folder);
}
