/**
 * A simulated disk: what programs see (`live`), what would be left after a power cut (`durable`), and what
 * lies between (`pending`). A power cut keeps none of the pending writes of a file, the first few, or any
 * subset of their 512-byte sectors; names of new and deleted files are as uncertain until they are synced.
 *
 * Every access passes `faults`, which may fail it, or kill the process in the middle of it: a dead process
 * changes nothing any more.
 */
import type { Chance } from "../chance.ts";

/** Why an access failed. */
export type DiskFailure = "EIO" | "ENOSPC" | "dead";

/** An access that failed. */
export class DiskError extends Error {
  override readonly name = "DiskError";
  readonly failure: DiskFailure;

  constructor(failure: DiskFailure) {
    super(`the simulated disk says ${failure}`);
    this.failure = failure;
  }
}

/** Kinds of access that faults tell apart. */
export type Access = "read" | "write" | "truncate" | "sync" | "create" | "delete" | "rename";

/** Who accesses: a dead one gets nothing. */
export interface DiskUser {
  readonly alive: boolean;
}

/**
 * Decides about one access. `undefined`: it goes well. `after`: it takes effect, and the caller is told
 * that it failed.
 */
export type DiskFaults = (
  access: Access,
  name: () => string,
) => { readonly failure: DiskFailure; readonly when: "before" | "after" } | undefined;

const sectorBytes = 512;

/** Bytes that can be written anywhere. */
interface Content {
  bytes: Uint8Array;
  size: number;
}

type Change =
  | { readonly kind: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly size: number };

/** One file: what is seen, what is durable, what is between. */
export interface SimFile {
  readonly id: number;
  live: Content;
  durable: Content;
  pending: Change[];
  /** Raised by every change. */
  version: number;
}

function emptyContent(): Content {
  return { bytes: new Uint8Array(0), size: 0 };
}

function copyContent({ bytes, size }: Content): Content {
  return { bytes: bytes.slice(0, size), size };
}

function resize(content: Content, size: number): void {
  if (size > content.bytes.length) {
    const grown = new Uint8Array(Math.max(size, 2 * content.bytes.length, 4096));
    grown.set(content.bytes.subarray(0, content.size));
    content.bytes = grown;
  }
  if (size < content.size) content.bytes.fill(0, size, content.size);
  content.size = size;
}

function change(content: Content, wanted: Change): void {
  if (wanted.kind === "truncate") {
    resize(content, wanted.size);
    return;
  }
  const end = wanted.offset + wanted.bytes.length;
  if (end > content.size) resize(content, end);
  content.bytes.set(wanted.bytes, wanted.offset);
}

/** The sectors of a write, each as a write of its own. */
function sectorsOf(wanted: Change): readonly Change[] {
  if (wanted.kind === "truncate") return [wanted];
  const out: Change[] = [];
  for (let at = 0; at < wanted.bytes.length;) {
    const offset = wanted.offset + at;
    const end = Math.min(wanted.bytes.length, at + sectorBytes - (offset % sectorBytes));
    out.push({ kind: "write", offset, bytes: wanted.bytes.subarray(at, end) });
    at = end;
  }
  return out;
}

/** A whole disk at one moment. */
export interface DiskImage {
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** One machine's disk; see the module header. A folder is a prefix of names, with its slash. */
export interface SimDisk {
  faults: DiskFaults | undefined;
  /** Accesses so far. */
  readonly accesses: number;
  has(name: string): boolean;
  names(): readonly string[];
  nameOf(file: SimFile): string;
  /** Opens or makes a file; its name is durable with its first sync. `undefined`: there is none. */
  open(user: DiskUser, name: string, create: boolean): SimFile | undefined;
  /** Fills `target` from an offset; the number of bytes that there were. */
  read(user: DiskUser, file: SimFile, offset: number, target: Uint8Array): number;
  write(user: DiskUser, file: SimFile, offset: number, bytes: Uint8Array): void;
  truncate(user: DiskUser, file: SimFile, size: number): void;
  sync(user: DiskUser, file: SimFile): void;
  delete(user: DiskUser, name: string, durable: boolean): void;
  /** Gives a file another name, in place of what had it; the name is durable after `syncNames`. */
  rename(user: DiskUser, from: string, to: string): void;
  syncNames(user: DiskUser, folder: string): void;
  /** Loses what was not durable, as chance has it. Processes on it must have been killed. */
  losePower(chance: Chance): void;
  /** Copies what programs see now; files whose name begins so, or all. */
  image(prefix?: string): DiskImage;
  /** Puts files in place of those whose names begin so; durable. */
  restore(image: DiskImage, prefix?: string): void;
}

/** Everything up to the last slash. */
function folderOf(name: string): string {
  return name.slice(0, name.lastIndexOf("/") + 1);
}

/** What chance leaves of a file after a power cut. */
function surviving(file: SimFile, chance: Chance): Content {
  const left = copyContent(file.durable);
  const mode = chance.pick(["none", "first", "some", "all"] as const);
  const count = mode === "first" ? chance.integer(file.pending.length + 1) : file.pending.length;
  if (mode === "none") return left;
  for (const wanted of file.pending.slice(0, count)) {
    const parts = mode === "some" ? sectorsOf(wanted) : [wanted];
    for (const part of parts) if (mode !== "some" || chance.oneIn(2)) change(left, part);
  }
  return left;
}

/** An empty disk. */
export function createDisk(): SimDisk {
  const live = new Map<string, SimFile>();
  const durable = new Map<string, SimFile>();
  let ids = 0;
  let accesses = 0;
  let faults: DiskFaults | undefined;

  function access<T>(user: DiskUser, kind: Access, on: string | SimFile, effect: () => T): T {
    if (!user.alive) throw new DiskError("dead");
    accesses += 1;
    const fault = faults?.(kind, () => (typeof on === "string" ? on : nameOf(on)));
    if (fault?.when === "before") throw new DiskError(fault.failure);
    const result = effect();
    if (fault !== undefined) throw new DiskError(fault.failure);
    return result;
  }

  function makeFile(content = emptyContent()): SimFile {
    ids += 1;
    return { id: ids, live: content, durable: copyContent(content), pending: [], version: 0 };
  }

  function alter(file: SimFile, wanted: Change): void {
    change(file.live, wanted);
    file.pending.push(wanted);
    file.version += 1;
  }

  const nameOf = (file: SimFile): string => {
    for (const [name, other] of live) if (other === file) return name;
    return "(unnamed)";
  };

  function keepNames(folder: string): void {
    for (const name of durable.keys()) {
      if (folderOf(name) === folder && !live.has(name)) durable.delete(name);
    }
    for (const [name, file] of live) if (folderOf(name) === folder) durable.set(name, file);
  }

  const disk: SimDisk = {
    get faults() {
      return faults;
    },
    set faults(wanted) {
      faults = wanted;
    },
    get accesses() {
      return accesses;
    },
    has: (name) => live.has(name),
    names: () => [...live.keys()].toSorted(),
    nameOf,
    open(user, name, create) {
      if (!user.alive) throw new DiskError("dead");
      const known = live.get(name);
      if (known !== undefined || !create) return known;
      return access(user, "create", name, () => {
        const made = makeFile();
        live.set(name, made);
        return made;
      });
    },
    read: (user, file, offset, target) =>
      access(user, "read", file, () => {
        const count = Math.max(0, Math.min(target.length, file.live.size - offset));
        target.set(file.live.bytes.subarray(offset, offset + count));
        return count;
      }),
    write(user, file, offset, bytes) {
      access(user, "write", file, () => {
        alter(file, { kind: "write", offset, bytes: bytes.slice() });
      });
    },
    truncate(user, file, size) {
      access(user, "truncate", file, () => {
        alter(file, { kind: "truncate", size });
      });
    },
    sync(user, file) {
      const name = nameOf(file);
      access(user, "sync", name, () => {
        for (const wanted of file.pending) change(file.durable, wanted);
        file.pending = [];
        // As SQLite's own file system layer has it: the first sync of a new file syncs its folder.
        if (live.get(name) === file && durable.get(name) !== file) keepNames(folderOf(name));
      });
    },
    delete(user, name, lasting) {
      access(user, "delete", name, () => {
        live.delete(name);
        if (lasting) durable.delete(name);
      });
    },
    rename(user, from, to) {
      access(user, "rename", to, () => {
        const file = live.get(from);
        if (file === undefined) throw new DiskError("EIO");
        live.delete(from);
        durable.delete(from);
        live.set(to, file);
      });
    },
    syncNames(user, folder) {
      access(user, "sync", folder, () => {
        keepNames(folder);
      });
    },
    losePower(chance) {
      const names = [...new Set([...live.keys(), ...durable.keys()])].toSorted();
      const files = new Set<SimFile>();
      for (const name of names) {
        const kept = live.get(name) === durable.get(name) || chance.oneIn(2) ? live : durable;
        const file = kept.get(name);
        if (file === undefined) live.delete(name);
        else {
          live.set(name, file);
          files.add(file);
        }
      }
      durable.clear();
      for (const [name, file] of live) durable.set(name, file);
      for (const file of files) {
        file.durable = surviving(file, chance);
        file.live = copyContent(file.durable);
        file.pending = [];
        file.version += 1;
      }
    },
    image(prefix = "") {
      const files = new Map<string, Uint8Array>();
      for (const name of disk.names()) {
        const file = live.get(name);
        if (file === undefined || !name.startsWith(prefix)) continue;
        files.set(name.slice(prefix.length), file.live.bytes.slice(0, file.live.size));
      }
      return { files };
    },
    restore(image, prefix = "") {
      for (const name of disk.names()) {
        if (!name.startsWith(prefix)) continue;
        live.delete(name);
        durable.delete(name);
      }
      for (const [name, bytes] of image.files) {
        const file = makeFile({ bytes: bytes.slice(), size: bytes.length });
        live.set(prefix + name, file);
        durable.set(prefix + name, file);
      }
    },
  };
  return disk;
}
