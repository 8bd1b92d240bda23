/**
 * The `MarkFile` port over a path: two slots in one small file. Made once with fsync of file and folder;
 * after that written in place without fsync, so that the mark lags and never leads.
 */
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { type Bytes, type MarkFile, markSlotBytes } from "@holdfast/core";
import { withSystem } from "./system-error.ts";

function readSlot(descriptor: number, slot: 0 | 1): Bytes {
  const bytes = new Uint8Array(markSlotBytes);
  readSync(descriptor, bytes, 0, markSlotBytes, slot * markSlotBytes);
  return bytes;
}

function syncFolder(folder: string): void {
  if (process.platform === "win32") return;
  const descriptor = openSync(folder, constants.O_RDONLY);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

/** The mark at that path; `close` gives its descriptor back. */
export function createMarkFile(path: string): MarkFile & { close(): void } {
  const noFollow = constants.O_NOFOLLOW ?? 0;
  let writing: number | undefined;

  function openToWrite(): number {
    if (existsSync(path)) return openSync(path, constants.O_RDWR | noFollow, 0o600);
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const flags = constants.O_RDWR | constants.O_CREAT | noFollow;
    const descriptor = openSync(path, flags, 0o600);
    writeSync(descriptor, new Uint8Array(2 * markSlotBytes).fill(0x20), 0, 2 * markSlotBytes, 0);
    fsyncSync(descriptor);
    syncFolder(dirname(path));
    syncFolder(dirname(dirname(path)));
    return descriptor;
  }

  return {
    read() {
      if (!existsSync(path)) return undefined;
      const descriptor = withSystem(() => openSync(path, constants.O_RDONLY | noFollow));
      try {
        return withSystem(() => [readSlot(descriptor, 0), readSlot(descriptor, 1)] as const);
      } finally {
        closeSync(descriptor);
      }
    },
    write(slot, bytes) {
      writing ??= openToWrite();
      writeSync(writing, bytes, 0, markSlotBytes, slot * markSlotBytes);
    },
    close() {
      if (writing !== undefined) closeSync(writing);
      writing = undefined;
    },
  };
}
