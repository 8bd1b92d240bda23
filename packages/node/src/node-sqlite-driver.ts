/**
 * The `SqliteDriver` port on `node:sqlite`, which has no encryption: for tests, where a second driver shows
 * that nothing depends on the first. Stores are never opened with it.
 */
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { type SqliteDriver, type SqlStatement, storageFailure } from "@holdfast/core";

/** What {@link openPlainSqlite} takes. */
export interface OpenPlainSqliteOptions {
  /** A path, or ":memory:". */
  readonly path: string;
  readonly readOnly: boolean;
}

/** What `node:sqlite` throws: `errcode` is the extended result code of SQLite. */
interface NodeSqliteError extends Error {
  readonly code: "ERR_SQLITE_ERROR";
  readonly errcode: number;
}

/** Primary result codes of sqlite3.h; the low byte of an extended one. */
const resultNames: Readonly<Record<number, string>> = {
  5: "SQLITE_BUSY",
  6: "SQLITE_LOCKED",
  8: "SQLITE_READONLY",
  10: "SQLITE_IOERR",
  11: "SQLITE_CORRUPT",
  13: "SQLITE_FULL",
  14: "SQLITE_CANTOPEN",
  19: "SQLITE_CONSTRAINT",
  26: "SQLITE_NOTADB",
};
/** SQLITE_IOERR_CORRUPTFS, the one extended code that is told apart. */
const ioerrCorruptFs = 10 | (33 << 8);

function resultName(code: number): string {
  if (code === ioerrCorruptFs) return "SQLITE_IOERR_CORRUPTFS";
  return resultNames[code & 0xff] ?? `SQLITE_${code}`;
}

function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (error instanceof Error && (error as Partial<NodeSqliteError>).code === "ERR_SQLITE_ERROR") {
      throw storageFailure(resultName((error as NodeSqliteError).errcode), error);
    }
    throw error;
  }
}

/** Other connections hold the write lock for one short transaction only. */
const busyMs = 5_000;

/** Opens a database that is not encrypted. Throws the storage codes. */
export function openPlainSqlite(options: OpenPlainSqliteOptions): SqliteDriver {
  const database = guarded(
    () => new DatabaseSync(options.path, { readOnly: options.readOnly, timeout: busyMs }),
  );
  try {
    guarded(() => database.prepare("SELECT count(*) FROM sqlite_schema").get());
  } catch (error) {
    database.close();
    throw error;
  }
  const kept = new Map<string, SqlStatement>();
  return {
    capabilities: {
      encrypted: false,
      persistent: options.path !== ":memory:",
      readOnly: options.readOnly,
    },
    prepare(sql) {
      const known = kept.get(sql);
      if (known !== undefined) return known;
      const statement = statementOver(database, sql);
      kept.set(sql, statement);
      return statement;
    },
    exec(sql) {
      guarded(() => {
        database.exec(sql);
      });
    },
    get inTransaction() {
      return database.isTransaction;
    },
    close() {
      kept.clear();
      guarded(() => {
        database.close();
      });
    },
  };
}

function statementOver(database: DatabaseSync, sql: string): SqlStatement {
  const statement = guarded(() => database.prepare(sql));
  return {
    run: (...values) => guarded(() => Number(statement.run(...inputs(values)).changes)),
    get: <Row>(...values: readonly unknown[]) =>
      guarded(() => statement.get(...inputs(values)) as Row | undefined),
    all: <Row>(...values: readonly unknown[]) =>
      guarded(() => statement.all(...inputs(values)) as readonly unknown[] as readonly Row[]),
  };
}

function inputs(values: readonly unknown[]): SQLInputValue[] {
  return values as SQLInputValue[];
}
