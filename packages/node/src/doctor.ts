/** Start-up checks of a store on disk: looks at everything, changes nothing, and says what to do. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import {
  checkFormat,
  configure,
  HoldfastError,
  interruptedMigration,
  isHoldfastError,
  judgeStart,
  type Keyring,
  lookAtStore,
  type Observer,
  type Registry,
  silentObserver,
  type SqliteDriver,
  type StartCheck,
  type StartFinding,
  type StartReport,
  startChecks,
} from "@holdfast/core";
import { createNodeCrypto } from "./crypto.ts";
import { refuseErased } from "./erase-plan-file.ts";
import { fromSystem } from "./files.ts";
import { createMigrationRecords } from "./migration-files.ts";
import { isSalvageOpen } from "./salvage-files.ts";
import { checkInstalled, createStoreMedium, openKeyringAt, type StoreAccess } from "./store.ts";
import {
  checkFolder,
  databasePath,
  stateOf,
  storeIdIn,
  type StoreLocation,
} from "./store-place.ts";

/** What {@link checkStart} takes. */
export interface CheckStartOptions extends StoreLocation, StoreAccess {
  /** The event types that the application knows. */
  readonly registry: Registry;
  readonly observer?: Observer;
}

interface Opened {
  keyring?: Keyring;
  driver?: SqliteDriver;
}

/**
 * Would the store start, and if not, what helps? Reads only: neither the store nor its folders are changed. What
 * is wrong with the store is in the report, never thrown.
 */
export async function checkStart(options: CheckStartOptions): Promise<StartReport> {
  const found: StartFinding[] = [];
  const opened: Opened = {};
  let at: StartCheck = "release";
  const reached = (check: StartCheck): void => {
    at = check;
  };
  try {
    found.push(...(await look(options, opened, reached)));
    at = "operations";
  } catch (error) {
    const told = fromSystem(error);
    if (!isHoldfastError(told)) throw error;
    found.push({ check: at, code: told.code });
  } finally {
    opened.driver?.close();
    opened.keyring?.[Symbol.dispose]();
  }
  const stopped = found.some(({ check }) => check === at) && at !== "operations";
  const skipped = stopped ? startChecks.slice(startChecks.indexOf(at) + 1) : [];
  const report = judgeStart(found, skipped);
  (options.observer ?? silentObserver).count("start_checks", 1, { status: report.status });
  return report;
}

async function look(
  options: CheckStartOptions,
  opened: Opened,
  reached: (check: StartCheck) => void,
): Promise<readonly StartFinding[]> {
  const crypto = createNodeCrypto();
  checkInstalled();
  reached("folder");
  const directory = resolve(options.directory);
  const state = stateOf(options);
  refuseErased(directory, state);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  reached("keyring");
  const storeId = storeIdIn(directory, state);
  const keyring = await openKeyringAt(directory, state, storeId, options);
  opened.keyring = keyring;
  reached("database");
  if (isSalvageOpen(databasePath(directory))) {
    return [{ check: "database", code: "salvage_interrupted" }];
  }
  if (!existsSync(databasePath(directory))) throw new HoldfastError("store_database_missing");
  const medium = createStoreMedium(directory, state, storeId, false);
  const pageKey = keyring.pageKey();
  try {
    const driver = medium.openDriver(pageKey, { readOnly: true });
    opened.driver = driver;
    configure(driver);
    reached("format");
    checkFormat(driver);
    const records = createMigrationRecords(state, storeId);
    return [
      ...interruptedMigration(records.read()),
      ...lookAtStore({ crypto, keyring, medium }, driver, options.registry),
    ];
  } finally {
    pageKey.fill(0);
    medium.close?.();
  }
}
