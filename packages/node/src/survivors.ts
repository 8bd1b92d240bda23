/**
 * The end of a salvage, with the next writer: events behind a gap are recorded anew, and the salvage is told in the
 * audit trail. The file that holds them goes when all of it is recorded; ids keep a repetition from doing it twice.
 */
import { existsSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import {
  createUuidV7,
  type Holdfast,
  type Keyring,
  lifeOf,
  type Registry,
  resealSurvivors,
  type SqliteDriver,
} from "@holdfast/core";
import { systemClock } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { guardedFile, syncFolder } from "./files.ts";
import { systemRandom } from "./random.ts";
import { survivorsPath } from "./salvage-files.ts";
import { openSqlite } from "./sqlite-driver.ts";

const newId = createUuidV7(systemClock, systemRandom);

/** What the audit trail is told. */
export interface ToldSalvage {
  readonly events: number;
  readonly missing: number;
}

/** Puts what is to be told into the file of survivors. */
export function noteSalvage(driver: SqliteDriver, told: ToldSalvage): void {
  driver.exec("CREATE TABLE told (id TEXT NOT NULL, events INTEGER, missing INTEGER) STRICT");
  driver.prepare("INSERT INTO told VALUES (?, ?, ?)").run(newId(), told.events, told.missing);
}

/** Records what a salvage left to be recorded; nothing to do without one. */
export async function recordSurvivors(
  database: string,
  keyring: Keyring,
  registry: Registry,
  store: Holdfast,
): Promise<void> {
  const path = survivorsPath(database);
  const { writer } = lifeOf(store);
  if (!existsSync(path) || writer === undefined) return;
  const pageKey = keyring.pageKey();
  const driver = openSqlite({ path, pageKey, readOnly: true, create: false });
  pageKey.fill(0);
  try {
    const deps = { crypto: createNodeCrypto(), keyring, registry, writer };
    const { recorded, closed } = await resealSurvivors(deps, driver);
    const told = driver
      .prepare("SELECT id, events, missing FROM told")
      .get<ToldSalvage & { id: string }>();
    if (told !== undefined) {
      const { id, events, missing } = told;
      const facts = { events, missing, recorded, closed };
      await store.audit.record({ id, kind: "StoreSalvaged", facts });
    }
  } finally {
    driver.close();
  }
  guardedFile(() => {
    rmSync(path, { force: true });
    syncFolder(dirname(path));
  });
}
