/**
 * SQLite as a synchronous WebAssembly build over simulated disks: one module and one file system layer for
 * every connection of every simulated machine, because an instance costs milliseconds and is never given
 * back. Which disk a call means is told by the connection that acts.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import type { Chance } from "../chance.ts";
import { type DiskFailure, DiskError, type DiskUser, type SimDisk, type SimFile } from "./disk.ts";

/** The C functions that the driver calls. Pointers are numbers. */
export interface SqliteModule {
  readonly HEAPU8: Uint8Array<ArrayBuffer>;
  readonly HEAP32: Int32Array;
  _sqlite3_malloc(bytes: number): number;
  _sqlite3_free(pointer: number): void;
  _sqlite3_open_v2(name: number, out: number, flags: number, layer: number): number;
  _sqlite3_close_v2(database: number): number;
  _sqlite3_extended_result_codes(database: number, on: number): number;
  _sqlite3_extended_errcode(database: number): number;
  _sqlite3_errmsg(database: number): number;
  _sqlite3_get_autocommit(database: number): number;
  _sqlite3_changes(database: number): number;
  _sqlite3_exec(database: number, sql: number, a: number, b: number, c: number): number;
  _sqlite3_prepare_v2(
    database: number,
    sql: number,
    bytes: number,
    out: number,
    tail: number,
  ): number;
  _sqlite3_step(statement: number): number;
  _sqlite3_reset(statement: number): number;
  _sqlite3_finalize(statement: number): number;
  _sqlite3_bind_null(statement: number, at: number): number;
  _sqlite3_bind_int(statement: number, at: number, value: number): number;
  _sqlite3_bind_int64(statement: number, at: number, low: number, high: number): number;
  _sqlite3_bind_double(statement: number, at: number, value: number): number;
  _sqlite3_bind_text(s: number, at: number, text: number, bytes: number, free: number): number;
  _sqlite3_bind_blob(s: number, at: number, blob: number, bytes: number, free: number): number;
  _sqlite3_column_count(statement: number): number;
  _sqlite3_column_name(statement: number, at: number): number;
  _sqlite3_column_type(statement: number, at: number): number;
  _sqlite3_column_double(statement: number, at: number): number;
  _sqlite3_column_text(statement: number, at: number): number;
  _sqlite3_column_blob(statement: number, at: number): number;
  _sqlite3_column_bytes(statement: number, at: number): number;
  _sqlite3_randomness(bytes: number, target: number): void;
  vfs_register(layer: object, makeDefault: boolean): number;
}

/** On whose behalf SQLite works: set before every call into it. */
export interface Acting extends DiskUser {
  readonly disk: SimDisk;
  readonly readOnly: boolean;
}

/** The module, and who acts. */
export interface Sqlite {
  readonly module: SqliteModule;
  acting: Acting | undefined;
  /** What closes each open connection without a write; see `reseed`. */
  readonly abandoned: Set<() => void>;
  /**
   * Begins a world; there is one at a time. Connections that the world before left open are closed, or their
   * disks would stay in memory for ever. Chance of SQLite itself (WAL salts) is of the seed, or two runs of it
   * would differ.
   */
  reseed(chance: Chance): void;
}

interface Handle {
  readonly acting: Acting;
  readonly file: SimFile;
  readonly name: string | undefined;
  /** 0 none, 1 shared, 2 reserved, 3 pending, 4 exclusive. */
  lock: number;
}

const ok = 0;
const busy = 5;
const readOnlyCode = 8;
const notFound = 12;
const cannotOpen = 14;
const shortRead = 522;
const openReadOnly = 1;
const openCreate = 4;
/** SQLITE_IOCAP_POWERSAFE_OVERWRITE, as the Unix layer says: a torn write spoils no byte outside of it. */
const powerSafeOverwrite = 0x1000;

type Operation = "read" | "write" | "sync" | "truncate" | "delete";
const ioCodes: Readonly<Record<Operation, number>> = {
  read: 266,
  write: 778,
  sync: 1034,
  truncate: 1546,
  delete: 2570,
};
const full = 13;

function codeOf(failure: DiskFailure, operation: Operation): number {
  return failure === "ENOSPC" ? full : ioCodes[operation];
}

/** Runs an access to the disk; its failure becomes a result code. */
function guarded(operation: Operation, work: () => number): number {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    return codeOf(error.failure, operation);
  }
}

/** Offsets come as two halves of 32 bits. */
const joined = (low: number, high: number): number => high * 2 ** 32 + (low >>> 0);

function conflicts(handles: Iterable<Handle>, own: Handle, wanted: number): boolean {
  for (const other of handles) {
    if (other === own || other.file !== own.file || !other.acting.alive) continue;
    if (other.acting.readOnly || own.acting.readOnly) continue;
    if (other.lock === 4 || (wanted === 4 && other.lock > 0)) return true;
    if (wanted >= 2 && other.lock >= 2) return true;
  }
  return false;
}

function createLayer(sqlite: { readonly module: SqliteModule; acting: Acting | undefined }) {
  const handles = new Map<number, Handle>();
  const { module } = sqlite;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const state: { chance: Chance | undefined; ids: number } = { chance: undefined, ids: 0 };

  const textAt = (pointer: number): string => {
    const end = module.HEAPU8.indexOf(0, pointer);
    return decoder.decode(module.HEAPU8.subarray(pointer, end));
  };
  const put32 = (pointer: number, value: number): void => {
    module.HEAP32[pointer >> 2] = value;
  };
  const handleOf = (pointer: number): Handle => handles.get(pointer) as Handle;
  const memory = (pointer: number, bytes: number): Uint8Array =>
    module.HEAPU8.subarray(pointer, pointer + bytes);

  function openFile(acting: Acting, name: string | undefined, flags: number): SimFile | undefined {
    if (name !== undefined) return acting.disk.open(acting, name, (flags & openCreate) !== 0);
    state.ids += 1;
    return acting.disk.open(acting, `(temporary ${state.ids})`, true);
  }

  const layer = {
    name: "holdfast-sim",
    mxPathname: 256,
    hasAsyncMethod: () => false,
    close: () => undefined,
    isReady: () => true,
    xOpen(_layer: number, zName: number, pFile: number, flags: number, pOut: number): number {
      const { acting } = sqlite;
      if (acting === undefined) return cannotOpen;
      const name = zName === 0 ? undefined : textAt(zName);
      try {
        const file = openFile(acting, name, flags);
        if (file === undefined) return cannotOpen;
        handles.set(pFile, { acting, file, name, lock: 0 });
      } catch (error) {
        if (!(error instanceof DiskError)) throw error;
        return cannotOpen;
      }
      // A connection for reading gets a write-ahead log that it cannot checkpoint.
      put32(pOut, acting.readOnly ? (flags & ~6) | openReadOnly : flags);
      return ok;
    },
    xDelete(_layer: number, zName: number, syncFolder: number): number {
      const { acting } = sqlite;
      const name = textAt(zName);
      if (acting === undefined) return ioCodes.delete;
      if (acting.readOnly) return readOnlyCode;
      if (!acting.disk.has(name)) return 5898;
      return guarded("delete", () => {
        acting.disk.delete(acting, name, syncFolder !== 0);
        return ok;
      });
    },
    xAccess(_layer: number, zName: number, _flags: number, pOut: number): number {
      put32(pOut, sqlite.acting?.disk.has(textAt(zName)) === true ? 1 : 0);
      return ok;
    },
    xFullPathname(_layer: number, zName: number, bytes: number, zOut: number): number {
      const end = module.HEAPU8.indexOf(0, zName);
      if (end - zName >= bytes) return cannotOpen;
      module.HEAPU8.copyWithin(zOut, zName, end + 1);
      return ok;
    },
    xRandomness(_layer: number, bytes: number, pOut: number): number {
      const drawn = state.chance?.bytes(bytes) ?? new Uint8Array(bytes);
      module.HEAPU8.set(drawn, pOut);
      return bytes;
    },
    // No SQL of ours asks SQLite for the time; a fixed answer keeps a run from depending on it.
    xCurrentTimeInt64(_layer: number, pOut: number): number {
      new DataView(module.HEAPU8.buffer).setBigInt64(pOut, 210_866_760_000_000n, true);
      return ok;
    },
    xClose(pFile: number): number {
      handles.delete(pFile);
      return ok;
    },
    xRead(pFile: number, pOut: number, bytes: number, low: number, high: number): number {
      const { acting, file } = handleOf(pFile);
      const target = memory(pOut, bytes);
      return guarded("read", () => {
        const count = acting.disk.read(acting, file, joined(low, high), target);
        if (count === bytes) return ok;
        target.fill(0, count);
        return shortRead;
      });
    },
    xWrite(pFile: number, pIn: number, bytes: number, low: number, high: number): number {
      const { acting, file } = handleOf(pFile);
      return guarded("write", () => {
        acting.disk.write(acting, file, joined(low, high), memory(pIn, bytes));
        return ok;
      });
    },
    xTruncate(pFile: number, low: number, high: number): number {
      const { acting, file } = handleOf(pFile);
      return guarded("truncate", () => {
        acting.disk.truncate(acting, file, joined(low, high));
        return ok;
      });
    },
    xSync(pFile: number): number {
      const { acting, file } = handleOf(pFile);
      return guarded("sync", () => {
        acting.disk.sync(acting, file);
        return ok;
      });
    },
    xFileSize(pFile: number, pOut: number): number {
      const view = new DataView(module.HEAPU8.buffer);
      view.setBigInt64(pOut, BigInt(handleOf(pFile).file.live.size), true);
      return ok;
    },
    xLock(pFile: number, wanted: number): number {
      const own = handleOf(pFile);
      if (!own.acting.alive || conflicts(handles.values(), own, wanted)) return busy;
      own.lock = Math.max(own.lock, wanted);
      return ok;
    },
    xUnlock(pFile: number, wanted: number): number {
      handleOf(pFile).lock = wanted;
      return ok;
    },
    xCheckReservedLock(pFile: number, pOut: number): number {
      put32(pOut, conflicts(handles.values(), handleOf(pFile), 2) ? 1 : 0);
      return ok;
    },
    xFileControl: () => notFound,
    xSectorSize: () => 512,
    xDeviceCharacteristics: () => powerSafeOverwrite,
  };
  return { layer, state };
}

let loading: Promise<Sqlite> | undefined;

interface SqliteBuild {
  /** Makes an instance. */
  readonly default: (options: { readonly wasmBinary: Uint8Array }) => Promise<SqliteModule>;
}

async function load(): Promise<Sqlite> {
  // The package has types of its asynchronous API only; and its build, left to itself, fetches the binary
  // by URL, which Node does not do for files.
  const require = createRequire(import.meta.url);
  const build = require.resolve("@journeyapps/wa-sqlite/dist/wa-sqlite.mjs");
  const binary = require.resolve("@journeyapps/wa-sqlite/dist/wa-sqlite.wasm");
  const { default: createModule } = (await import(pathToFileURL(build).href)) as SqliteBuild;
  const module = await createModule({ wasmBinary: readFileSync(binary) });
  const abandoned = new Set<() => void>();
  const base = { module, acting: undefined as Acting | undefined, abandoned };
  const { layer, state } = createLayer(base);
  module.vfs_register(layer, true);
  return Object.assign(base, {
    reseed(chance: Chance): void {
      for (const close of abandoned) close();
      base.acting = undefined;
      state.chance = chance;
      state.ids = 0;
      module._sqlite3_randomness(0, 0);
    },
  });
}

/** The one module of this process. */
export function loadSqlite(): Promise<Sqlite> {
  loading ??= load();
  return loading;
}
