/**
 * Settings of every connection, set and read back: SQLite takes unknown pragmas in silence, and drivers
 * have defaults of their own (WAL with `synchronous=NORMAL` loses acknowledged commits at a power cut).
 */
import { HoldfastError } from "../std/errors.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** SQLite before 3.51.3 has the WAL-reset corruption bug; 3.52.0 was withdrawn. */
export function checkSqliteVersion(version: string): void {
  const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
  const number = major * 1_000_000 + minor * 1_000 + patch;
  if (number < 3_051_003 || number === 3_052_000) {
    throw new HoldfastError("sqlite_unsafe", { version });
  }
}

const settings: readonly (readonly [pragma: string, set: string, read: string | number])[] = [
  ["synchronous", "FULL", 2],
  ["foreign_keys", "ON", 1],
  ["temp_store", "MEMORY", 2],
  ["trusted_schema", "OFF", 0],
  ["cell_size_check", "ON", 1],
  ["recursive_triggers", "ON", 1],
  ["secure_delete", "ON", 1],
];

function readPragma(driver: SqliteDriver, pragma: string): string | number | undefined {
  const row = driver.prepare(`PRAGMA ${pragma}`).get<Record<string, string | number>>();
  return row === undefined ? undefined : Object.values(row)[0];
}

/** Configures a connection. Throws `pragma_refused` when a setting does not read back as set. */
export function configure(driver: SqliteDriver): void {
  const row = driver.prepare("SELECT sqlite_version() AS version").get<{ version: string }>();
  checkSqliteVersion(row?.version ?? "0");
  const { persistent, readOnly } = driver.capabilities;
  if (persistent && !readOnly) {
    const mode = driver.prepare("PRAGMA journal_mode = WAL").get<Record<string, string>>();
    if (Object.values(mode ?? {})[0] !== "wal") {
      throw new HoldfastError("pragma_refused", { pragma: "journal_mode" });
    }
  }
  for (const [pragma, set, read] of settings) {
    driver.exec(`PRAGMA ${pragma} = ${set}`);
    if (readPragma(driver, pragma) !== read) throw new HoldfastError("pragma_refused", { pragma });
  }
  driver.exec("PRAGMA cache_size = -4096; PRAGMA journal_size_limit = 67108864;");
}

/**
 * In an empty file, before anything else is written to it: its pages can be given back a few at a time. Later only
 * writing the whole file anew changes that.
 */
export function preparePages(driver: SqliteDriver): void {
  driver.exec("PRAGMA auto_vacuum = INCREMENTAL");
}

/**
 * What a killed process had committed may still be in the system's memory only. Nothing is acknowledged
 * before this has moved it to the medium.
 */
export function durableBarrier(driver: SqliteDriver): void {
  if (!driver.capabilities.persistent) return;
  driver.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
}
