/**
 * Migrations by hand: what is due, a try on a copy, applying, taking back, and where the last one stands. Opening a
 * store for writing applies what is due by itself.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import {
  checkFormat,
  configure,
  formatOf,
  HoldfastError,
  type MigrationOutcome,
  type MigrationPlan,
  type MigrationRecord,
  type MigrationRecords,
  type Observer,
  planFormatMigration,
  silentObserver,
  storeFormat,
} from "@holdfast/core";
import { fromSystem } from "./files.ts";
import { type LiftDeps, liftDatabase, lowerDatabase, openPlan, tryLift } from "./lift-database.ts";
import { createMigrationRecords } from "./migration-files.ts";
import { finishSwitch } from "./salvage-files.ts";
import {
  checkInstalled,
  createStoreMedium,
  openKeyringAt,
  type StoreAccess,
  version,
} from "./store.ts";
import {
  checkFolder,
  databasePath,
  stateOf,
  storeIdIn,
  type StoreLocation,
} from "./store-place.ts";

/** What the calls on migrations take. */
export interface MigrateOptions extends StoreLocation, StoreAccess {
  /** Build id of the application. */
  readonly app?: string;
  readonly observer?: Observer;
}

/** Where a store stands. */
export interface MigrationStatus {
  readonly storeId: string;
  /** Format of the database, and the one of this release. */
  readonly format: number;
  readonly current: number;
  /** What opening for writing would do: go on with what was interrupted, or lift. */
  readonly due: MigrationPlan | undefined;
  readonly interrupted: boolean;
  readonly last: MigrationRecord | undefined;
}

/** Where a store stands; changes nothing. Throws what {@link openStore} throws of keyring and format. */
export function migrationStatus(options: MigrateOptions): Promise<MigrationStatus> {
  return withLift(options, async ({ keyring, medium, records }) => {
    const pageKey = keyring.pageKey();
    const driver = medium.openDriver(pageKey, { readOnly: true });
    pageKey.fill(0);
    try {
      configure(driver);
      checkFormat(driver);
      const format = formatOf(driver);
      const last = records.read();
      const open = openPlan(last);
      return {
        storeId: keyring.storeId,
        format,
        current: storeFormat,
        due: open ?? planFormatMigration(format),
        interrupted: open !== undefined,
        last,
      };
    } finally {
      driver.close();
    }
  });
}

/**
 * Does it on a copy, verifies that and removes it; `undefined`: nothing is due. Throws `migration_unfinished`,
 * `store_busy` while anybody has the store open, and the storage codes.
 */
export function dryRunMigration(options: MigrateOptions): Promise<MigrationOutcome | undefined> {
  return withLift(options, tryLift);
}

/** Applies what is due, or takes what was interrupted to its end; `undefined`: nothing is due. Throws `migration_failed`. */
export function applyMigration(options: MigrateOptions): Promise<MigrationRecord | undefined> {
  return withLift(options, liftDatabase);
}

/**
 * Takes the last migration back, for an earlier release to open the store. Throws `migration_none`,
 * `migration_irreversible`.
 */
export function rollBackMigration(options: MigrateOptions): Promise<MigrationRecord> {
  return withLift(options, lowerDatabase);
}

async function withLift<T>(
  options: MigrateOptions,
  use: (deps: LiftDeps) => Promise<T>,
): Promise<T> {
  checkInstalled();
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  finishSwitch(databasePath(directory));
  const storeId = storeIdIn(directory, state);
  const keyring = await openKeyringAt(directory, state, storeId, options);
  try {
    const database = databasePath(directory);
    if (!existsSync(database)) throw new HoldfastError("store_database_missing");
    const medium = createStoreMedium(directory, state, storeId, false);
    const { observer = silentObserver, app = version } = options;
    const records = createMigrationRecords(state, storeId);
    try {
      return await use({
        keyring,
        medium,
        database,
        records,
        observer,
        app,
        acceptRollback: false,
      });
    } finally {
      medium.close?.();
    }
  } catch (error) {
    throw fromSystem(error);
  } finally {
    keyring[Symbol.dispose]();
  }
}

/** The record of the upgrade of an event type's payload in that store. */
export function payloadRecords(
  storeId: string,
  type: string,
  stateDirectory?: string,
): MigrationRecords {
  const place = stateDirectory === undefined ? {} : { stateDirectory };
  return createMigrationRecords(stateOf({ directory: "", ...place }), storeId, type);
}
