/**
 * A database whose first page or schema cannot be read: read with the schema of a new one.
 *
 * Tables are made in one fixed order, so that the pages of the schema and the roots of its tables lie in the same places
 * in every store that this format made; and a page is encrypted by page key and place alone. So the schema's pages of a
 * new database fit into a copy of the damaged one. Where the store was made otherwise (lifted from an earlier format),
 * what is then read is nonsense, and nothing of it verifies: no row is believed for having been read.
 */
import { closeSync, openSync, readSync, statSync, truncateSync, writeSync } from "node:fs";
import {
  createSchema,
  inTransaction,
  type Keyring,
  preparePages,
  type SqliteDriver,
} from "@holdfast/core";
import { guardedFile } from "./files.ts";
import { openSqlite } from "./sqlite-driver.ts";

/** Puts the schema's pages of a new database, made at `donor`, into the one at `path`, which is a copy. */
export function lendSchema(path: string, donor: string, keyring: Pick<Keyring, "pageKey">): void {
  const pageKey = keyring.pageKey();
  const driver = openSqlite({ path: donor, pageKey, readOnly: false, create: true });
  pageKey.fill(0);
  let pages: readonly number[];
  let pageBytes: number;
  try {
    pageBytes = pragma(driver, "page_size");
    pages = fillDonor(driver, Math.ceil(statSync(path).size / pageBytes));
  } finally {
    driver.close();
  }
  guardedFile(() => {
    // As long as the new one says that it is; what it says is in its first page.
    truncateSync(path, statSync(donor).size);
    copyPages(donor, path, pages, pageBytes);
  });
}

/** Makes it at least that many pages long; the places of its schema. */
function fillDonor(driver: SqliteDriver, pages: number): readonly number[] {
  // As a new store is made: the pages that map the others lie between those of the schema.
  preparePages(driver);
  // With what belongs to a write-ahead log in its first page.
  driver.exec("PRAGMA journal_mode = WAL");
  inTransaction(driver, () => {
    createSchema(driver);
  });
  driver.exec("CREATE TABLE filler (bytes BLOB)");
  driver
    .prepare("INSERT INTO filler VALUES (zeroblob(?))")
    .run(pages * pragma(driver, "page_size"));
  driver.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
  return driver
    .prepare("SELECT pageno AS page FROM dbstat WHERE name = 'sqlite_schema'")
    .all<{ page: number }>()
    .map(({ page }) => page);
}

function pragma(driver: SqliteDriver, name: string): number {
  const row = driver.prepare(`PRAGMA ${name}`).get<Record<string, number>>();
  return Object.values(row ?? {})[0] ?? 0;
}

function copyPages(from: string, to: string, pages: readonly number[], pageBytes: number): void {
  const source = openSync(from, "r");
  const target = openSync(to, "r+");
  const bytes = Buffer.alloc(pageBytes);
  try {
    for (const page of pages) {
      const at = (page - 1) * pageBytes;
      readSync(source, bytes, 0, pageBytes, at);
      writeSync(target, bytes, 0, pageBytes, at);
    }
  } finally {
    closeSync(source);
    closeSync(target);
  }
}
