/**
 * Putting a store together from a backup, in a staging place that nobody sees: rows as they were, what follows from the
 * events made again, and everything verified before the caller makes it visible.
 *
 * Only what is signed or authenticated is believed: the digest by the device's signature (`read-backup.ts`), the log by
 * its notes and commitments, receipts by the pinned key of the server.
 */
import type { Keyring } from "../keys/keyring.ts";
import { createOutboxWhole } from "../outbox/whole.ts";
import { equalBytes } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import { type MarksDeps, noteRestored } from "../store/restored.ts";
import { preparePages } from "../store/pragmas.ts";
import { createSchema, storeFormat } from "../store/schema.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { createShredTable } from "../store/shreds.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import { createAccessTable, readAccess } from "../sync/access-table.ts";
import { logsOf } from "./back-up.ts";
import {
  altered,
  type BackedUpTable,
  entryName,
  parseRows,
  tablesAfter,
  tablesBefore,
  unsound,
} from "./backup-rows.ts";
import { createEventLoader, orAltered } from "./load-events.ts";
import { type BackupManifest, formatManifest } from "./manifest.ts";
import { accountShreds } from "./shred-account.ts";
import { deleteFrames } from "./shred-rows.ts";
import type { TarEntry } from "./tar.ts";
import { checkLog } from "./check-log.ts";

/** What a restore needs: an empty database in a staging place, and the keyring of the backup's store. */
export interface RestoreDeps extends MarksDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
  readonly keyring: Keyring;
}

/** Puts a store together, entry by entry. */
export interface StoreLoader {
  /** Throws `backup_altered`. */
  entry(entry: TarEntry): void;
  /**
   * Once all entries have come and the digest was signed: makes what follows from the events, verifies everything,
   * and notes that the store was put back. Throws `backup_altered`, `backup_unsound`.
   */
  finish(onProgress?: (done: number, total: number) => void): void;
}

/**
 * Settings of a staging database: it is thrown away when anything fails, made durable as one file at the end, and
 * nobody else looks at it.
 */
export const stagingPragmas = `
  PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;
  PRAGMA foreign_keys = OFF; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -16384;`;

/** A loader into an empty database. Throws `backup_newer` for rows of a newer database format. */
export function createStoreLoader(deps: RestoreDeps, manifest: BackupManifest): StoreLoader {
  const { driver } = deps;
  // Rows go into columns by name: a database of an older format with the same rows needs no step.
  const { storeFormat: format } = manifest;
  if (format > storeFormat) throw new HoldfastError("backup_newer", { store_format: format });
  preparePages(driver);
  driver.exec(stagingPragmas);
  inTransaction(driver, () => {
    createSchema(driver);
  });
  const events = createEventLoader(deps, manifest.rows["events"] ?? 0);
  const order = createOrder();
  const tables = new Map([...tablesBefore, ...tablesAfter].map((table) => [table.name, table]));

  return {
    entry({ name, content }) {
      const table = order.next(name);
      inTransaction(driver, () => {
        if (table === "events") events.headers(name, content);
        else if (table === "frames") events.frames(name, content);
        else insertRows(driver, tables.get(table) as BackedUpTable, name, content);
      });
    },
    finish(onProgress) {
      inTransaction(driver, () => {
        events.finish();
        createAccessTable({ driver, keyring: deps.keyring }).rebuild();
        leaveShredded(deps);
      });
      checkAgainst(driver, manifest);
      verifyStaged(deps, onProgress);
      inTransaction(driver, () => {
        noteRestored(deps, driver);
      });
    },
  };
}

/**
 * What was shredded since the backup was made, the keyring remembers: its frames are not put back, and the table says
 * so before the store hears of it again from the server.
 */
export function leaveShredded({ driver, keyring }: RestoreDeps): void {
  const shreds = createShredTable(driver);
  const { orders } = accountShreds(readAccess(driver), keyring.shreds);
  if (orders.length === 0) return;
  for (const order of orders) shreds.put(order);
  const { head } = driver
    .prepare("SELECT coalesce(max(position), 0) AS head FROM events")
    .get<{ head: number }>() ?? { head: 0 };
  const { shredWindowEvents: window } = limits;
  for (let from = 1; from <= head; from += window) {
    deleteFrames(driver, orders, from, from + window - 1);
  }
}

/** Entries come in the order of the tables, each table's numbered from 1; those of events and frames by turns. */
function createOrder(): { next(name: string): string } {
  const names = [
    ...tablesBefore.map(({ name }) => name),
    "events",
    ...tablesAfter.map(({ name }) => name),
  ];
  let place = 0;
  let number = 0;
  let awaited: string | undefined;
  return {
    next(name) {
      if (awaited !== undefined) {
        if (name !== awaited) throw altered(name);
        awaited = undefined;
        return "frames";
      }
      const at = names.findIndex(
        (table, index) =>
          index >= place && name === entryName(table, index === place ? number + 1 : 1),
      );
      if (at < 0) throw altered(name);
      number = at === place ? number + 1 : 1;
      place = at;
      if (names[at] === "events") awaited = entryName("frames", number);
      return names[at] as string;
    },
  };
}

/** Rows as they were. */
function insertRows(
  driver: SqliteDriver,
  { name, columns }: BackedUpTable,
  entry: string,
  content: Uint8Array,
): void {
  const places = columns.map(() => "?").join(", ");
  const insert = driver.prepare(`INSERT INTO ${name} (${columns.join(", ")}) VALUES (${places})`);
  for (const row of parseRows(entry, content, columns.length)) {
    orAltered(entry, () => insert.run(...row));
  }
}

/** Is everything there that the manifest counts, with the heads and roots that it names? */
function checkAgainst(driver: SqliteDriver, manifest: BackupManifest): void {
  for (const name of [
    "events",
    "frames",
    ...[...tablesBefore, ...tablesAfter].map((t) => t.name),
  ]) {
    const row = driver.prepare(`SELECT count(*) AS n FROM ${name}`).get<{ n: number }>();
    if (row?.n !== manifest.rows[name]) throw altered(name);
  }
  const logs = logsOf(driver);
  const same = equalBytes(formatManifest({ ...manifest, logs }), formatManifest(manifest));
  if (!same) throw altered("logs");
}

/** The whole of the log, what the server stated of it, and what must agree with it. */
function verifyStaged(
  deps: RestoreDeps,
  onProgress: ((done: number, total: number) => void) | undefined,
): void {
  const { driver } = deps;
  const { problems } = checkLog(deps, {
    openSections: true,
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  const [problem] = problems;
  if (problem !== undefined) throw unsound(problem.code, problem.object);
  const [entry] = createOutboxWhole(driver).check(1);
  if (entry !== undefined) throw unsound(`outbox_entry_${entry.kind}`, `event ${entry.position}`);
  checkReferences(driver);
}

/** Events and frames were put where they refer to: rows of the other tables must refer to some. Throws `backup_unsound`. */
export function checkReferences(driver: SqliteDriver): void {
  for (const { name } of tablesAfter) {
    const check = driver.prepare(`PRAGMA foreign_key_check(${name})`);
    if (check.all().length > 0) throw unsound("reference_missing", `table ${name}`);
  }
}
