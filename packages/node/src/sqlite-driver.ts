/**
 * The `SqliteDriver` port on better-sqlite3-multiple-ciphers: every page encrypted and authenticated
 * (SQLite3MC, cipher aegis; docs/decisions/0002). The key is 32 random bytes, never a passphrase.
 */
import { accessSync, closeSync, constants, existsSync, openSync, readSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname } from "node:path";
import {
  HoldfastError,
  isHoldfastError,
  type SqliteDriver,
  type SqlStatement,
  storageFailure,
} from "@holdfast/core";
import { guardedFile } from "./files.ts";

/** What {@link openSqlite} takes. */
export interface OpenSqliteOptions {
  /** A path, or ":memory:". */
  readonly path: string;
  /** 32 bytes; `undefined` for a database that is not encrypted (in memory). */
  readonly pageKey: Uint8Array | undefined;
  readonly readOnly: boolean;
  /** Make the file when it is not there. */
  readonly create: boolean;
}

/** The part of the driver that is used here; its own types are not reachable through its exports. */
interface Db {
  readonly inTransaction: boolean;
  prepare(sql: string): DbStatement;
  exec(sql: string): unknown;
  pragma(source: string, options?: { readonly simple: true }): unknown;
  key(key: Buffer): void;
  close(): void;
}

interface DbStatement {
  run(...values: readonly unknown[]): { readonly changes: number };
  get(...values: readonly unknown[]): unknown;
  all(...values: readonly unknown[]): readonly unknown[];
}

interface DbOptions {
  readonly readonly: boolean;
  readonly fileMustExist: boolean;
  readonly timeout: number;
}

type DbConstructor = new (path: string, options: DbOptions) => Db;

let loaded: DbConstructor | undefined;

/** Loads the native driver; below Node-API 10 (Node 22.14) it would end the process. */
function loadDriver(): DbConstructor {
  if (loaded !== undefined) return loaded;
  const napi = Number(process.versions["napi"] ?? 0);
  if (napi < 10) throw new HoldfastError("sqlite_unsafe", { napi });
  loaded = createRequire(import.meta.url)("better-sqlite3-multiple-ciphers") as DbConstructor;
  return loaded;
}

interface SqliteError extends Error {
  readonly code: string;
}

function isSqliteError(error: unknown): error is SqliteError {
  return error instanceof Error && typeof (error as Partial<SqliteError>).code === "string";
}

/** Runs a call of the driver; its errors become ours. */
function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translated(error);
  }
}

function translated(error: unknown): unknown {
  return isSqliteError(error) && error.code.startsWith("SQLITE_")
    ? storageFailure(error.code, error)
    : error;
}

const plainMagic = "SQLite format 3\0";

function startsPlain(path: string): boolean {
  if (!existsSync(path)) return false;
  const descriptor = openSync(path, "r");
  try {
    const head = Buffer.alloc(16);
    return readSync(descriptor, head, 0, 16, 0) === 16 && head.toString("latin1") === plainMagic;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Opens a database. Throws the storage codes; `store_foreign` for a file that is not encrypted;
 * `encryption_missing` when the driver does not encrypt.
 */
export function openSqlite(options: OpenSqliteOptions): SqliteDriver {
  try {
    return openDatabase(options);
  } catch (error) {
    throw isHoldfastError(error, "store_io_error") && isProtected(dirname(options.path))
      ? new HoldfastError("store_read_only", error.details, { cause: error })
      : error;
  }
}

/** Even for reading, SQLite makes files beside a database with a WAL: where it cannot, that is the reason. */
function isProtected(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return false;
  } catch (error) {
    const { code } = error as { readonly code?: unknown };
    return code === "EROFS" || code === "EACCES" || code === "EPERM";
  }
}

function openDatabase(options: OpenSqliteOptions): SqliteDriver {
  const persistent = options.path !== ":memory:";
  if (persistent && guardedFile(() => startsPlain(options.path))) {
    throw new HoldfastError("store_foreign");
  }
  const Driver = loadDriver();
  const database = guarded(
    () =>
      new Driver(options.path, {
        readonly: options.readOnly,
        fileMustExist: !options.create,
        timeout: busyMs,
      }),
  );
  try {
    if (options.pageKey !== undefined) unlock(database, options.pageKey);
    // The first read proves the key: a wrong one, or a damaged first page, is SQLITE_NOTADB.
    guarded(() => database.prepare("SELECT count(*) FROM sqlite_schema").get());
  } catch (error) {
    database.close();
    throw error;
  }
  return driverOver(database, {
    encrypted: options.pageKey !== undefined,
    persistent,
    readOnly: options.readOnly,
  });
}

/** Other connections hold the write lock for one short transaction only. */
const busyMs = 5_000;

function unlock(database: Db, pageKey: Uint8Array): void {
  guarded(() => {
    database.pragma("cipher = 'aegis'");
    const raw = Buffer.concat([Buffer.from("raw:"), pageKey]);
    database.key(raw);
    raw.fill(0);
  });
  if (database.pragma("cipher", { simple: true }) !== "aegis") {
    throw new HoldfastError("encryption_missing");
  }
}

function driverOver(database: Db, capabilities: SqliteDriver["capabilities"]): SqliteDriver {
  const kept = new Map<string, SqlStatement>();
  return {
    capabilities,
    prepare(sql) {
      const known = kept.get(sql);
      if (known !== undefined) return known;
      const statement = statementOver(database, sql);
      kept.set(sql, statement);
      return statement;
    },
    exec(sql) {
      guarded(() => database.exec(sql));
    },
    get inTransaction() {
      return database.inTransaction;
    },
    close() {
      kept.clear();
      guarded(() => database.close());
    },
  };
}

function statementOver(database: Db, sql: string): SqlStatement {
  const statement = guarded(() => database.prepare(sql));
  // Not through `guarded`: an append makes thirty of these calls, and each would make a function.
  return {
    run(...values) {
      try {
        return statement.run(...values).changes;
      } catch (error) {
        throw translated(error);
      }
    },
    get<Row>(...values: readonly unknown[]) {
      try {
        return statement.get(...values) as Row | undefined;
      } catch (error) {
        throw translated(error);
      }
    },
    all<Row>(...values: readonly unknown[]) {
      try {
        return statement.all(...values) as readonly Row[];
      } catch (error) {
        throw translated(error);
      }
    },
  };
}
