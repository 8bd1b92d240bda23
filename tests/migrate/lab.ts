/** What the suites of migrations share: a store of format 1 whose passphrase costs little, and what is in it. */
import { join } from "node:path";
import { formatOf, inTransaction, lowerSchema, type SqliteDriver } from "@holdfast/core";
import { openSqlite } from "@holdfast/node";
import { filledStore } from "../backup/lab.ts";
import { openKeyringIn, placeIn } from "../store/lab.ts";

/** Runs with the database of a store of the lab. */
async function withDatabase<T>(
  folder: string,
  readOnly: boolean,
  use: (driver: SqliteDriver) => T,
): Promise<T> {
  const { keyring } = await openKeyringIn(folder);
  const pageKey = keyring.pageKey();
  keyring[Symbol.dispose]();
  const path = join(placeIn(folder).directory, "store.db");
  const driver = openSqlite({ path, pageKey, readOnly, create: false });
  try {
    return use(driver);
  } finally {
    driver.close();
  }
}

/** A store of that many events, as the release of format 1 would have kept it; what it promises. */
export async function storeOfFormat1(folder: string, events: number): Promise<readonly string[]> {
  const promises = await filledStore(folder, events);
  await withDatabase(folder, false, (driver) => {
    inTransaction(driver, () => {
      lowerSchema(driver, 1);
    });
  });
  return promises;
}

export function formatIn(folder: string): Promise<number> {
  return withDatabase(folder, true, formatOf);
}

/** Leaves and notes, as they lie there. */
export function logIn(folder: string): Promise<unknown> {
  return withDatabase(folder, true, (driver) => [
    driver.prepare("SELECT position, leaf, header FROM events ORDER BY position").all(),
    driver.prepare("SELECT size, root, note FROM commits ORDER BY number").all(),
    driver.prepare("SELECT position, lane FROM outbox ORDER BY position").all(),
  ]);
}
