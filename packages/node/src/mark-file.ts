/**
 * The `MarkFile` port over a path: two slots in one small file. Made once with fsync of file and folder;
 * after that written in place without fsync, so that the mark lags and never leads.
 */
import { closeSync, constants, existsSync, fsyncSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { type Bytes, type MarkFile, markSlotBytes } from "@holdfast/core";
import { guardedFile, makeFolder, readFully, syncFolder, writeAll } from "./files.ts";

function readSlot(descriptor: number, slot: 0 | 1): Bytes {
  const bytes = new Uint8Array(markSlotBytes);
  readFully(descriptor, bytes, slot * markSlotBytes);
  return bytes;
}

/** The mark at that path; `close` gives its descriptor back. Failures of the medium are the storage codes. */
export function createMarkFile(path: string): MarkFile & { close(): void } {
  const noFollow = constants.O_NOFOLLOW ?? 0;
  let writing: number | undefined;

  function openToWrite(): number {
    if (existsSync(path)) return openSync(path, constants.O_RDWR | noFollow, 0o600);
    makeFolder(dirname(path));
    const flags = constants.O_RDWR | constants.O_CREAT | noFollow;
    const descriptor = openSync(path, flags, 0o600);
    try {
      writeAll(descriptor, new Uint8Array(2 * markSlotBytes).fill(0x20), 0);
      fsyncSync(descriptor);
      syncFolder(dirname(path));
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
    return descriptor;
  }

  return {
    read: () =>
      guardedFile(() => {
        if (!existsSync(path)) return undefined;
        const descriptor = openSync(path, constants.O_RDONLY | noFollow);
        try {
          return [readSlot(descriptor, 0), readSlot(descriptor, 1)];
        } finally {
          closeSync(descriptor);
        }
      }),
    write(slot, bytes) {
      guardedFile(() => {
        writing ??= openToWrite();
        writeAll(writing, bytes, slot * markSlotBytes);
      });
    },
    close() {
      if (writing !== undefined) closeSync(writing);
      writing = undefined;
    },
  };
}
