/**
 * Salvage of a damaged store: looked at on a copy, read twice, copied aside, built anew beside it, and switched by one
 * rename. The damaged store is not touched before, and a copy of it stays for a person to remove.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  buildSalvaged,
  type BuiltStore,
  createBackupGatherer,
  createBackupReader,
  createGathered,
  type Damage,
  gatherFrames,
  type Gathered,
  gatherStore,
  gatherSurvivors,
  HoldfastError,
  isHoldfastError,
  judgeOwnLogs,
  type Keyring,
  keepSurvivors,
  lostOfSurvivors,
  lookForDamage,
  type MissingEvents,
  type Observer,
  type Registry,
  type SalvagedLog,
  salvageMode,
  signAttested,
  silentObserver,
  type SqliteDriver,
  type StoreMedium,
  unsoundPages,
} from "@holdfast/core";
import type { AgeIdentities } from "./age.ts";
import { readBackupFile } from "./backup-file.ts";
import { createNodeCrypto } from "./crypto.ts";
import { fromSystem, guardedFile, placeBeside, syncFolder } from "./files.ts";
import { keyringFileName } from "./keyring-files.ts";
import { lendSchema } from "./lent-schema.ts";
import {
  copyDatabase,
  copyKeyrings,
  finishSwitch,
  hasSurvivors,
  isSameDatabase,
  makeDurable,
  moveInto,
  quarantineFolder,
  pendingPath,
  salvagedPath,
  stampOf,
  survivorsPath,
} from "./salvage-files.ts";
import { openSqlite } from "./sqlite-driver.ts";
import { createStoreMedium, openKeyringAt, openStore, type StoreAccess } from "./store.ts";
import {
  checkFolder,
  databasePath,
  stateOf,
  storeIdIn,
  type StoreLocation,
} from "./store-place.ts";
import { noteSalvage } from "./survivors.ts";

const crypto = createNodeCrypto();

/** What {@link salvageStore} takes. */
export interface SalvageOptions extends StoreLocation, StoreAccess {
  /** The event types that the application knows. */
  readonly registry: Registry;
  /** A backup that fills in what the store has lost. */
  readonly backup?: { readonly file: string; readonly by: AgeIdentities };
  /** Asked before anything is changed, where something is missing or is recorded anew; else it goes on by itself. */
  readonly agree: (report: SalvageReport) => Promise<boolean>;
  readonly observer?: Observer;
}

/** What was found, and what would become of it. */
export interface SalvageReport {
  readonly storeId: string;
  readonly damage: readonly Damage[];
  /** Nothing is missing and nothing is recorded anew. */
  readonly lossless: boolean;
  /** As it was, or the own logs alone: what came from the server is fetched from it again. */
  readonly mode: BuiltStore["mode"];
  /** Events of the new store's logs. */
  readonly events: number;
  /** Own events behind a gap, recorded anew under their ids. */
  readonly survivors: number;
  readonly missing: readonly MissingEvents[];
  /** Events whose header is there and whose content no source had. */
  readonly lostSections: BuiltStore["lostSections"];
  readonly foreignLeftOut: number;
  /** Keys of rows that could not be read, by table. */
  readonly unreadable: Readonly<Record<string, number>>;
}

/** What came of it. */
export type Salvage =
  | { readonly status: "healthy" }
  | { readonly status: "declined"; readonly report: SalvageReport }
  | {
      readonly status: "salvaged";
      readonly report: SalvageReport;
      /** Where the damaged store lies now. */
      readonly quarantine: string;
    };

interface Place {
  readonly directory: string;
  readonly state: string;
  readonly storeId: string;
  readonly database: string;
  readonly keyring: Keyring;
  readonly medium: StoreMedium;
}

/**
 * Looks whether a store is damaged and, if it is, builds another one out of what is left of it, of its backup and, with
 * the next sync, of its server. Throws `store_busy` when somebody writes to it meanwhile, `store_io_error` when two
 * readings of it differ, `backup_other_store`, the `backup_*` and `keyring_*` codes; the store is then as it was.
 */
export async function salvageStore(options: SalvageOptions): Promise<Salvage> {
  const { observer = silentObserver } = options;
  const end = observer.span("salvage");
  let result = "failed";
  try {
    const done = await salvageIn(options);
    result = done.status;
    return done;
  } catch (error) {
    throw fromSystem(error);
  } finally {
    end(result === "failed" ? "error" : "ok");
    observer.count("salvages", 1, { result });
  }
}

async function salvageIn(options: SalvageOptions): Promise<Salvage> {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  const database = databasePath(directory);
  finishSwitch(database);
  if (!existsSync(database)) throw new HoldfastError("store_database_missing");
  const storeId = storeIdIn(directory, state);
  const keyring = await openKeyringAt(directory, state, storeId, options);
  const medium = createStoreMedium(directory, state, storeId, false);
  const staging = guardedFile(() => placeBeside(directory, "restoring"));
  try {
    guardedFile(() => {
      mkdirSync(staging, { mode: 0o700 });
    });
    const place = { directory, state, storeId, database, keyring, medium };
    return await salvageBeside(options, place, staging);
  } finally {
    medium.close?.();
    keyring[Symbol.dispose]();
    rmSync(staging, { recursive: true, force: true });
  }
}

async function salvageBeside(
  options: SalvageOptions,
  place: Place,
  staging: string,
): Promise<Salvage> {
  const { directory, state, storeId, database } = place;
  const copy = join(staging, "read");
  const stamp = stampOf(database);
  copyDatabase(database, copy);
  if (look(place, copy).length === 0) {
    // A salvage that was interrupted behind its switch.
    if (hasSurvivors(database)) await finish(options);
    return { status: "healthy" };
  }
  // An error of the medium may have been in the reading: only what a second reading finds too is damage.
  const aside = join(staging, "quarantine");
  copyDatabase(database, aside);
  copyKeyrings(directory, join(state, storeId, keyringFileName), aside);
  const same = isSameDatabase(database, aside);
  const damage = look(place, aside);
  if (damage.length === 0) return { status: "healthy" };
  if (!same && stampOf(database) !== stamp) throw new HoldfastError("store_busy");
  if (!same) throw new HoldfastError("store_io_error", { reason: "readings differ" });
  const report = await build(options, place, staging, join(aside, "store.db"), damage);
  if (!report.lossless && !(await options.agree(report))) return { status: "declined", report };
  const quarantine = quarantineFolder(directory);
  guardedFile(() => {
    renameSync(aside, quarantine);
    syncFolder(dirname(quarantine));
  });
  switchTo(place, staging, stamp);
  await finish(options);
  return { status: "salvaged", report, quarantine };
}

function look(place: Place, folder: string): readonly Damage[] {
  const path = join(folder, "store.db");
  const looking = (
    object: string,
    of: string,
    find: (driver: SqliteDriver) => readonly Damage[],
  ): readonly Damage[] => {
    try {
      return withDatabase(place, of, "read", find);
    } catch (error) {
      // A database that does not open at all.
      if (!isHoldfastError(error) || !unopened.has(error.code)) throw error;
      return [{ code: error.code, object }];
    }
  };
  const found = looking("database", path, (driver) => lookForDamage({ ...place, crypto, driver }));
  if (!hasSurvivors(path)) return found;
  // Without them, nobody could open the store for writing.
  return [...found, ...looking("survivors", survivorsPath(path), unsoundPages)];
}

const unopened: ReadonlySet<string> = new Set(["store_corrupt", "store_io_error"]);

function withDatabase<T>(
  { keyring }: Pick<Place, "keyring">,
  path: string,
  how: "read" | "make",
  use: (driver: SqliteDriver) => T,
): T {
  const pageKey = keyring.pageKey();
  const make = how === "make";
  const driver = openSqlite({ path, pageKey, readOnly: !make, create: make });
  pageKey.fill(0);
  let result: T;
  try {
    result = use(driver);
  } catch (error) {
    driver.close();
    throw error;
  }
  if (result instanceof Promise) {
    return result.finally(() => {
      driver.close();
    }) as T;
  }
  driver.close();
  return result;
}

/** Gathers, judges and builds `store.db` and `survivors.db` in the staging folder; both durable. */
async function build(
  options: SalvageOptions,
  place: Place,
  staging: string,
  copy: string,
  damage: readonly Damage[],
): Promise<SalvageReport> {
  const path = join(staging, "survivors.db");
  const report = await withDatabase(place, path, "make", async (driver) => {
    const gathered = createGathered({ crypto, driver, keyring: place.keyring });
    const damaged = openDamaged(place, copy, staging);
    try {
      const read = gatherStore(damaged, gathered);
      if (options.backup !== undefined) await fill(place, gathered, options.backup);
      const frames = gatherFrames(damaged, gathered);
      const earlier = gatherEarlier(place, copy, gathered);
      const logs = judgeOwnLogs({ ...place, crypto }, gathered, read.receipts);
      await signAttested({ crypto, keyring: place.keyring }, gathered, logs);
      const built = buildAnyhow(place, staging, damaged, gathered, logs, read.lost);
      const unreadable = {
        ...read.lost,
        ...(frames.lost > 0 && { frames: frames.lost }),
        ...(earlier > 0 && { survivors: earlier }),
      };
      keepSurvivors(driver, logs);
      const behind = lostOfSurvivors(driver, place.keyring);
      const lostSections = [...built.lostSections, ...behind];
      const told = reportOf(place, damage, logs, { ...built, lostSections }, unreadable);
      noteSalvage(driver, { events: built.events, missing: countOf(told.missing) });
      return told;
    } finally {
      damaged.close();
    }
  });
  for (const name of ["store.db", "survivors.db"]) makeDurable(join(staging, name));
  return report;
}

/** What an earlier salvage of this store left to be recorded; how many rows of it could not be read. */
function gatherEarlier(place: Place, copy: string, gathered: Gathered): number {
  if (!hasSurvivors(copy)) return 0;
  const earlier = openedCopy(place, survivorsPath(copy));
  if (earlier === undefined) return 1;
  try {
    return gatherSurvivors(earlier, gathered);
  } finally {
    earlier.close();
  }
}

/** The copy; with a schema of another database where its own cannot be read, and with nothing where that fails too. */
function openDamaged(place: Place, path: string, staging: string): SqliteDriver {
  const own = openedCopy(place, path);
  if (own !== undefined) return own;
  const lent = join(staging, "lent");
  copyDatabase(path, lent);
  const lentPath = join(lent, "store.db");
  lendSchema(lentPath, join(staging, "donor.db"), place.keyring);
  return (
    openedCopy(place, lentPath) ??
    openSqlite({ path: ":memory:", pageKey: undefined, readOnly: false, create: true })
  );
}

function openedCopy({ keyring }: Place, path: string): SqliteDriver | undefined {
  const pageKey = keyring.pageKey();
  try {
    return openSqlite({ path, pageKey, readOnly: true, create: false });
  } catch (error) {
    if (!isHoldfastError(error) || !unopened.has(error.code)) throw error;
    return undefined;
  } finally {
    pageKey.fill(0);
  }
}

async function fill(
  place: Place,
  gathered: Gathered,
  backup: NonNullable<SalvageOptions["backup"]>,
): Promise<void> {
  const reader = createBackupReader(crypto, "store");
  let gatherer: ReturnType<typeof createBackupGatherer> | undefined;
  gathered.driver.exec("BEGIN");
  try {
    for await (const piece of readBackupFile(backup.file, backup.by)) {
      const entries = reader.push(piece);
      const manifest = reader.manifest();
      if (manifest === undefined) continue;
      gatherer ??= createBackupGatherer(gathered, manifest, place.storeId);
      for (const entry of entries) gatherer.entry(entry);
    }
    reader.finish(place.keyring.signingKeys());
  } catch (error) {
    gathered.driver.exec("ROLLBACK");
    throw error;
  }
  gathered.driver.exec("COMMIT");
}

/** As it was, if that verifies; else of its own logs, with or without what the server stated of them. */
function buildAnyhow(
  place: Place,
  staging: string,
  damaged: SqliteDriver,
  gathered: Gathered,
  logs: readonly SalvagedLog[],
  lost: Readonly<Record<string, number>>,
): BuiltStore {
  const path = join(staging, "store.db");
  const attempt = (mode: BuiltStore["mode"]): BuiltStore =>
    withDatabase(place, path, "make", (driver) =>
      buildSalvaged({ ...place, crypto, driver }, damaged, gathered, logs, mode),
    );
  const first = salvageMode(gathered, logs, lost);
  const modes = ["whole", "own", "bare"] as const;
  for (const mode of modes.slice(modes.indexOf(first), -1)) {
    try {
      return attempt(mode);
    } catch (error) {
      const unsound = isHoldfastError(error, "backup_unsound");
      if (!unsound && !isHoldfastError(error, "backup_altered")) throw error;
      rmSync(path);
    }
  }
  return attempt("bare");
}

function countOf(missing: readonly MissingEvents[]): number {
  return missing
    .filter(({ withServer }) => !withServer)
    .reduce((sum, { from, to }) => sum + to - from + 1, 0);
}

function reportOf(
  { storeId }: Place,
  damage: readonly Damage[],
  logs: readonly SalvagedLog[],
  { mode, events, lostSections, foreignLeftOut }: BuiltStore,
  unreadable: SalvageReport["unreadable"],
): SalvageReport {
  const missing = logs.flatMap((log) => log.missing);
  const survivors = logs.reduce((sum, log) => sum + log.survivors, 0);
  const complete = missing.length === 0 && survivors === 0 && lostSections.length === 0;
  // Nobody else attests what stood among survivors that cannot be read.
  const lossless = complete && mode === "whole" && unreadable["survivors"] === undefined;
  return {
    storeId,
    damage,
    lossless,
    mode,
    events,
    survivors,
    missing,
    lostSections,
    foreignLeftOut,
    unreadable,
  };
}

/** Keeps everybody out while the new database takes the place of the damaged one. */
function switchTo({ keyring, database }: Place, staging: string, stamp: string): void {
  const held = holdAlone(keyring, database);
  try {
    // With everybody kept out: what was recorded before that is not in what was built.
    if (stampOf(database) !== stamp) throw new HoldfastError("store_busy");
    moveInto(join(staging, "survivors.db"), pendingPath(database));
    moveInto(join(staging, "store.db"), salvagedPath(database));
    finishSwitch(database);
  } finally {
    held?.close();
  }
}

/**
 * A connection that keeps others out; `undefined` where the damaged database opens for nobody. Throws `store_busy`, and
 * the storage codes for whatever else hinders: then nobody knows who has it open.
 */
function holdAlone(keyring: Keyring, database: string): SqliteDriver | undefined {
  const pageKey = keyring.pageKey();
  let driver: SqliteDriver | undefined;
  try {
    driver = openSqlite({ path: database, pageKey, readOnly: false, create: false });
    driver.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    return driver;
  } catch (error) {
    driver?.close();
    if (!isHoldfastError(error, "store_corrupt")) throw error;
    return undefined;
  } finally {
    pageKey.fill(0);
  }
}

/** The first opening records what is to be recorded, and opens an incarnation where one is due. */
async function finish(options: SalvageOptions): Promise<void> {
  const { directory, stateDirectory, passphrase, keys, registry } = options;
  const store = await openStore({
    directory,
    ...(stateDirectory === undefined ? {} : { stateDirectory }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(keys === undefined ? {} : { keys }),
    registry,
    projections: [],
  });
  await store.close();
}
