/**
 * The files of a migration: its record, `<state>/<store id>/migration`, and the copies of the database beside it.
 * The copies are databases under the same page key; names begin like the database's, so that whatever removes a store
 * removes them.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
} from "node:fs";
import { dirname, join } from "node:path";
import {
  type DatabaseCopies,
  fromUtf8,
  HoldfastError,
  isHoldfastError,
  type Keyring,
  type MigrationRecord,
  migrationPhases,
  type MigrationRecords,
  type SqliteDriver,
  utf8,
} from "@holdfast/core";
import { guardedFile, syncFolder } from "./files.ts";
import { createRecordFile } from "./record-file.ts";
import { openSqlite } from "./sqlite-driver.ts";

/** Name of the record in the state folder of a store. */
const recordName = "migration";

/** The record of the last migration of that store, or of a payload in it. */
export function createMigrationRecords(
  state: string,
  storeId: string,
  /** Of the upgrade of an event type's payload. */
  type?: string,
): MigrationRecords {
  const name = type === undefined ? recordName : `${recordName}-${type}`;
  const path = join(state, storeId, name);
  const file = createRecordFile(path);
  return {
    read: () => parseRecord(file.read()),
    write(record) {
      file.replace(utf8(`${JSON.stringify(record)}\n`));
    },
  };
}

/** A file is replaced as a whole: what is no record was not written here, and counts as none. */
function parseRecord(bytes: Uint8Array | undefined): MigrationRecord | undefined {
  if (bytes === undefined) return undefined;
  try {
    const record = JSON.parse(fromUtf8(bytes)) as MigrationRecord;
    const { v, id, from, to, phase } = record;
    const numbers = [from, to, record.startedAt, record.records, record.errors, record.durationMs];
    const whole = v === 1 && typeof id === "string" && numbers.every(Number.isSafeInteger);
    return whole && migrationPhases.includes(phase) ? record : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || isHoldfastError(error)) return undefined;
    throw error;
  }
}

/** The copies of the database at that path; `driver` is the one connection to it. */
export function createDatabaseCopies(
  database: string,
  driver: SqliteDriver,
  keyring: Pick<Keyring, "pageKey">,
): DatabaseCopies {
  const copy = `${database}.before-migration`;
  const partial = `${database}.copying`;
  const scratch = `${database}.dry-run`;

  function withDatabase<T>(path: string, readOnly: boolean, use: (opened: SqliteDriver) => T): T {
    const pageKey = keyring.pageKey();
    try {
      const opened = openSqlite({ path, pageKey, readOnly, create: false });
      try {
        return use(opened);
      } finally {
        opened.close();
      }
    } finally {
      pageKey.fill(0);
    }
  }

  return {
    make() {
      guardedFile(() => {
        remove(partial);
        // For its owner alone before anything is in it; SQLite takes an empty file.
        closeSync(openSync(partial, "wx", 0o600));
      });
      driver.prepare("VACUUM INTO ?").run(partial);
      guardedFile(() => {
        syncFile(partial);
        renameSync(partial, copy);
        syncFolder(dirname(copy));
      });
    },
    exists: () => existsSync(copy),
    withCopy: (use) => withDatabase(copy, true, use),
    withScratch(use) {
      try {
        guardedFile(() => {
          remove(scratch);
          copyFileSync(copy, scratch);
        });
        return withDatabase(scratch, false, use);
      } finally {
        guardedFile(() => {
          remove(scratch);
        });
      }
    },
    putBack() {
      becomeOneFile(driver);
      driver.exec("BEGIN EXCLUSIVE");
      guardedFile(() => {
        renameSync(copy, database);
        syncFolder(dirname(database));
      });
      driver.close();
    },
    discard() {
      guardedFile(() => {
        for (const path of [partial, scratch, copy]) remove(path);
        syncFolder(dirname(database));
      });
    },
  };
}

/** A database with what SQLite keeps beside it. */
function remove(path: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true });
}

/** Makes the content of a file durable. */
export function syncFile(path: string): void {
  const descriptor = openSync(path, "r+");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Leaves WAL mode, which SQLite does only for the one connection that there is: `store_busy` beside another. */
export function becomeOneFile(driver: SqliteDriver): void {
  const row = driver.prepare("PRAGMA journal_mode = DELETE").get<Record<string, string>>();
  if (Object.values(row ?? {})[0] !== "delete") throw new HoldfastError("store_busy");
}
