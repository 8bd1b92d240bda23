/**
 * The port to PostgreSQL: small and structural, so that a client library fits in one file. Every method throws a
 * {@link HoldfastError} of {@link postgresFailure} when the database fails. Columns come back as text, numbers, null,
 * or bytes for bytea; integers above 2^53−1 never occur in this schema.
 */
import { type ErrorCode, HoldfastError, isHoldfastError } from "@holdfast/core";

/** A value that can be bound; arrays are bound as the bytes of `postgres-arrays.ts`. */
export type PostgresValue = string | number | null | Uint8Array;

/** One connection. Statements may be sent before earlier ones have answered; they run in their order. */
export interface PostgresConnection {
  /** Rows of a statement, prepared once on each connection and kept. */
  rows<Row>(sql: string, ...values: readonly PostgresValue[]): Promise<readonly Row[]>;
  /** Runs a statement that returns no rows; the number of rows changed. */
  run(sql: string, ...values: readonly PostgresValue[]): Promise<number>;
  /** One or more statements without values or results. Answers the warnings that the database gave with them. */
  exec(sql: string): Promise<readonly string[]>;
}

/** A bounded set of connections to one database. */
export interface PostgresDriver {
  /**
   * Lends a connection; waits for one that is free, up to a bound. A connection on which `work` failed in any other
   * way than by a statement that the database refused is not lent again. Throws `store_busy` when none comes free.
   */
  lend<T>(work: (connection: PostgresConnection) => Promise<T>): Promise<T>;
  /**
   * Calls `listener` for each notification on the channel, and `lost` once when the connection that listens is gone.
   * Absent where the database has no such thing.
   */
  readonly listen?: (
    channel: string,
    listener: (payload: string) => void,
    lost: () => void,
  ) => Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** Codes by SQLSTATE or by its class (the first two characters); PostgreSQL, appendix A. */
const failures: Readonly<Record<string, ErrorCode>> = {
  "23": "store_constraint",
  // Privileges and row-level security stand for what triggers do on SQLite.
  "42501": "store_constraint",
  "40001": "store_busy",
  "40P01": "store_busy",
  "55P03": "store_busy",
  "57014": "store_busy",
  "53": "store_busy",
  "53100": "store_full",
  "25006": "store_read_only",
  "3F": "store_drifted",
  "42": "store_drifted",
  XX001: "store_corrupt",
  XX002: "store_corrupt",
  "28": "database_unreachable",
  "3D": "database_unreachable",
};

/**
 * Our error for an SQLSTATE; `undefined`: the connection failed, and the client library has no code for that. The
 * details name the state, never what the database said: its messages quote values.
 */
export function postgresFailure(state: string | undefined, cause: unknown): HoldfastError {
  const result = state ?? "connection";
  const code = failures[result] ?? failures[result.slice(0, 2)] ?? "store_io_error";
  return new HoldfastError(code, { result }, { cause });
}

/** SQLSTATE of one of our errors, or `connection`. */
function resultOf(error: unknown): string {
  if (!isHoldfastError(error)) return "";
  const { result } = error.details as { readonly result?: unknown };
  return typeof result === "string" ? result : "";
}

/** Did the database undo the transaction for reasons that may be gone at the next try? */
export function isUndone(error: unknown): boolean {
  // 25P03: this node stood still in the middle of it, and the database went on without it.
  return ["40001", "40P01", "25P03"].includes(resultOf(error));
}

/** Is the connection gone, and with it every transaction whose COMMIT was not sent? */
export function isLost(error: unknown): boolean {
  const result = resultOf(error);
  return ["connection", "57P01", "57P02", "57P03"].includes(result) || result.startsWith("08");
}
