/**
 * Keyring files and high-water marks on a simulated disk, with the same order of writes, syncs and renames as
 * on a real one: a record file is replaced by temporary file, sync, rename, sync of the folder; a mark is
 * synced once, when it is made, and never after.
 */
import {
  type Bytes,
  type ErrorCode,
  HoldfastError,
  type MarkFile,
  markSlotBytes,
  type RecordFile,
} from "@holdfast/core";
import { type DiskFailure, DiskError, type DiskUser, type SimDisk, type SimFile } from "./disk.ts";

const codes: Readonly<Record<DiskFailure, ErrorCode>> = {
  EIO: "store_io_error",
  ENOSPC: "store_full",
  dead: "store_io_error",
};

/** Runs accesses; a failure of the disk becomes one of ours. */
function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    throw new HoldfastError(codes[error.failure], { result: error.failure }, { cause: error });
  }
}

function folderOf(name: string): string {
  return name.slice(0, name.lastIndexOf("/") + 1);
}

function readAll(disk: SimDisk, user: DiskUser, file: SimFile): Bytes {
  const bytes = new Uint8Array(file.live.size);
  disk.read(user, file, 0, bytes);
  return bytes;
}

/** One copy of a keyring under that name. */
export function createSimRecordFile(disk: SimDisk, user: DiskUser, name: string): RecordFile {
  return {
    read: () =>
      guarded(() => {
        const file = disk.open(user, name, false);
        return file === undefined ? undefined : readAll(disk, user, file);
      }),
    version: () =>
      guarded(() => {
        const file = disk.open(user, name, false);
        return file === undefined ? undefined : `${file.id}:${file.live.size}:${file.version}`;
      }),
    append(bytes) {
      guarded(() => {
        const file = disk.open(user, name, false);
        if (file === undefined) throw new DiskError("EIO");
        disk.write(user, file, file.live.size, bytes);
        disk.sync(user, file);
      });
    },
    replace(bytes) {
      guarded(() => {
        const temporary = `${name}.tmp`;
        if (disk.has(temporary)) disk.delete(user, temporary, false);
        const file = disk.open(user, temporary, true);
        if (file === undefined) throw new DiskError("EIO");
        disk.write(user, file, 0, bytes);
        disk.sync(user, file);
        disk.rename(user, temporary, name);
        disk.syncNames(user, folderOf(name));
      });
    },
    sync() {
      guarded(() => {
        const file = disk.open(user, name, false);
        if (file === undefined) return;
        disk.sync(user, file);
        disk.syncNames(user, folderOf(name));
      });
    },
  };
}

/** A high-water mark under that name. */
export function createSimMarkFile(disk: SimDisk, user: DiskUser, name: string): MarkFile {
  function make(): SimFile {
    const file = disk.open(user, name, true);
    if (file === undefined) throw new DiskError("EIO");
    disk.write(user, file, 0, new Uint8Array(2 * markSlotBytes).fill(0x20));
    disk.sync(user, file);
    disk.syncNames(user, folderOf(name));
    return file;
  }

  return {
    read: () =>
      guarded(() => {
        const file = disk.open(user, name, false);
        if (file === undefined) return undefined;
        const bytes = new Uint8Array(2 * markSlotBytes);
        disk.read(user, file, 0, bytes);
        return [bytes.slice(0, markSlotBytes), bytes.slice(markSlotBytes)];
      }),
    write(slot, bytes) {
      guarded(() => {
        const file = disk.open(user, name, false) ?? make();
        disk.write(user, file, slot * markSlotBytes, bytes);
      });
    },
  };
}
