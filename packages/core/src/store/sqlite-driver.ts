/**
 * The port to SQLite: synchronous, small, and structural, so that each platform's driver fits in one file.
 *
 * Every method throws a {@link HoldfastError} of {@link storageFailure} when SQLite fails. Columns come back
 * as text, numbers, null, or bytes for BLOBs; integers above 2^53−1 never occur in this schema.
 */
import { type ErrorCode, HoldfastError } from "../std/errors.ts";

/** A value that can be bound or read. */
export type SqlValue = string | number | null | Uint8Array;

/** A compiled statement. Values are bound by position, each `?` in turn. */
export interface SqlStatement {
  /** Runs a statement that returns no rows; the number of rows changed. */
  run(...values: readonly SqlValue[]): number;
  get<Row>(...values: readonly SqlValue[]): Row | undefined;
  all<Row>(...values: readonly SqlValue[]): readonly Row[];
}

/** One connection to SQLite; see the module header. */
export interface SqliteDriver {
  readonly capabilities: {
    /** Every page is encrypted and authenticated. */
    readonly encrypted: boolean;
    /** What is committed outlives the process. */
    readonly persistent: boolean;
    readonly readOnly: boolean;
  };
  /** Compiled once per text and kept. */
  prepare(sql: string): SqlStatement;
  /** One or more statements without results. */
  exec(sql: string): void;
  readonly inTransaction: boolean;
  close(): void;
}

/** Opens the same medium again, after a failure whose outcome is unknown. */
export type DriverOpener = () => SqliteDriver;

const failures: readonly (readonly [prefix: string, code: ErrorCode])[] = [
  ["SQLITE_FULL", "store_full"],
  ["SQLITE_READONLY", "store_read_only"],
  ["SQLITE_IOERR_CORRUPTFS", "store_corrupt"],
  ["SQLITE_CORRUPT", "store_corrupt"],
  ["SQLITE_NOTADB", "store_corrupt"],
  ["SQLITE_IOERR", "store_io_error"],
  ["SQLITE_CANTOPEN", "store_io_error"],
  ["SQLITE_BUSY", "store_busy"],
  ["SQLITE_LOCKED", "store_busy"],
  ["SQLITE_CONSTRAINT", "store_constraint"],
];

/** Our error for a result code of SQLite, named as in sqlite3.h. */
export function storageFailure(result: string, cause: unknown): HoldfastError {
  const found = failures.find(([prefix]) => result.startsWith(prefix));
  return new HoldfastError(found?.[1] ?? "store_io_error", { result }, { cause });
}
