/**
 * Lifting a store's database to the format of this release, and back: the migration contract of `@holdfast/core` over
 * the one connection that may have it open meanwhile.
 */
import {
  checkFormat,
  checkStoreId,
  configure,
  createFormatMigration,
  createSqliteEventLog,
  type DatabaseCopies,
  durableBarrier,
  formatOf,
  HoldfastError,
  isMigrationOver,
  type Keyring,
  type Migration,
  type MigrationOutcome,
  type MigrationPlan,
  type MigrationRecord,
  type MigrationRecords,
  type Observer,
  planFormatMigration,
  readOwnLog,
  runMigration,
  type SqliteDriver,
  type StoreMedium,
} from "@holdfast/core";
import { systemClock } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { createDatabaseCopies } from "./migration-files.ts";

const crypto = createNodeCrypto();

/** What a lift stands on. */
export interface LiftDeps {
  readonly keyring: Keyring;
  readonly medium: StoreMedium;
  /** Path of the database. */
  readonly database: string;
  readonly records: MigrationRecords;
  readonly observer: Observer;
  readonly app: string;
  readonly acceptRollback: boolean;
}

interface Ground {
  readonly driver: SqliteDriver;
  readonly copies: DatabaseCopies;
  migration(plan: MigrationPlan): Migration;
}

/** The migration that was interrupted, as a plan. */
export function openPlan(record: MigrationRecord | undefined): MigrationPlan | undefined {
  if (record === undefined || isMigrationOver(record.phase)) return undefined;
  return planOf(record);
}

function planOf({ from, to }: MigrationRecord): MigrationPlan | undefined {
  return planFormatMigration(from, to);
}

/**
 * Takes an interrupted migration to its end, then lifts a database of an earlier format; `undefined`: there was
 * nothing to do. Throws `migration_failed`, `store_busy` while anybody else has the store open, `store_newer`,
 * `store_rolled_back`, `store_rewritten` and the storage codes.
 */
export async function liftDatabase(deps: LiftDeps): Promise<MigrationRecord | undefined> {
  return withGround(deps, async (ground) => {
    // Read with the database held: another process may just have been at it.
    const interrupted = openPlan(deps.records.read());
    const finished =
      interrupted && (await runMigration(portsOf(deps), ground.migration(interrupted)));
    // A rollback that went on put another database in place.
    if (finished?.phase === "rolled-back") return finished;
    const due = planFormatMigration(formatOf(ground.driver));
    if (due === undefined) return finished;
    checkHistory(deps, ground.driver);
    return runMigration(portsOf(deps), ground.migration(due));
  });
}

/**
 * Takes the last migration back. Throws `migration_none`, `migration_irreversible` when the earlier format has no
 * place for what was recorded since, and what {@link liftDatabase} throws.
 */
export async function lowerDatabase(deps: LiftDeps): Promise<MigrationRecord> {
  const record = deps.records.read();
  const plan = record === undefined ? undefined : planOf(record);
  if (plan === undefined || record?.phase === "rolled-back") {
    throw new HoldfastError("migration_none");
  }
  return withGround(deps, (ground) => {
    if (formatOf(ground.driver) !== plan.to && formatOf(ground.driver) !== plan.from) {
      throw new HoldfastError("migration_none");
    }
    return runMigration(portsOf(deps), ground.migration(plan), "rollback");
  });
}

/** Tries the lift on a copy; `undefined`: there is none to try. Throws `migration_unfinished`. */
export async function tryLift(deps: LiftDeps): Promise<MigrationOutcome | undefined> {
  if (openPlan(deps.records.read()) !== undefined) throw new HoldfastError("migration_unfinished");
  return withGround(deps, async (ground) => {
    const due = planFormatMigration(formatOf(ground.driver));
    if (due === undefined) return undefined;
    const migration = ground.migration(due);
    try {
      await migration.backUp();
      return await migration.dryRun();
    } finally {
      await migration.discard();
    }
  });
}

function portsOf({ records, observer, app }: LiftDeps) {
  return { records, observer, app, clock: systemClock };
}

/** Runs with the one connection to the database: nobody else reads or writes until it is closed. */
async function withGround<T>(deps: LiftDeps, use: (ground: Ground) => Promise<T>): Promise<T> {
  const { keyring, medium, database } = deps;
  const pageKey = keyring.pageKey();
  const driver = medium.openDriver(pageKey, { readOnly: false });
  pageKey.fill(0);
  try {
    configure(driver);
    checkFormat(driver);
    checkStoreId(driver, keyring);
    driver.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;");
    durableBarrier(driver);
    const copies = createDatabaseCopies(database, driver, keyring);
    const migration = (plan: MigrationPlan): Migration =>
      createFormatMigration({ crypto, keyring, driver, copies }, plan);
    return await use({ driver, copies, migration });
  } finally {
    driver.close();
  }
}

/** A store that is refused stays as it is: one behind its mark is not lifted. */
function checkHistory(deps: LiftDeps, driver: SqliteDriver): void {
  const log = createSqliteEventLog({ crypto, driver });
  const own = readOwnLog({ ...deps, crypto }, { driver, log });
  const verdict = own?.judgement.verdict;
  if (verdict === "rewritten") throw new HoldfastError("store_rewritten");
  if (verdict === "rolled-back" && !deps.acceptRollback) {
    throw new HoldfastError("store_rolled_back");
  }
}

/** Does opening for writing have something to finish first? One small file is read. */
export function isLiftOpen(records: MigrationRecords): boolean {
  return openPlan(records.read()) !== undefined;
}
