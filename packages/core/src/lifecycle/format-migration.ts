/**
 * A store of an earlier format under the migration contract: the lifts of `store/schema-lifts.ts` in one transaction,
 * tried on a copy first, with every leaf, root and signature compared.
 *
 * The backup is a copy of the database by SQLite itself, encrypted under the same page key, made while nobody else has
 * the store open and compared row by row; not a backup of `back-up.ts`. That one is what people keep, and needs
 * somebody to be encrypted to: a store that lifts itself when it is opened has nobody to ask. The copy holds what
 * backups leave out (grants, read models), and so it ends with the migration.
 */
import type { Keyring } from "../keys/keyring.ts";
import { base64, type Bytes, utf8 } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { lowerSchema, raiseSchema, schemaLifts } from "../store/schema-lifts.ts";
import { formatOf, schemaDrift, storeFormat } from "../store/schema.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import type { SqliteDriver, SqlStatement, SqlValue } from "../store/sqlite-driver.ts";
import type { Migration, MigrationOutcome, MigrationPlan } from "./migration.ts";
import { checkLog } from "./check-log.ts";

/** The copy of a database beside it, and a second one to try on. Throws the storage codes. */
export interface DatabaseCopies {
  /** Makes the copy anew from the database: durable when it returns. */
  make(): void;
  exists(): boolean;
  /** Runs with the copy, opened for reading. */
  withCopy<T>(use: (driver: SqliteDriver) => T): T;
  /** Runs with a copy of the copy, opened for writing; it is removed afterwards. */
  withScratch<T>(use: (driver: SqliteDriver) => T): T;
  /** Puts the copy in the database's place, by one rename. The database is closed for good then. */
  putBack(): void;
  /** Removes whatever is there. */
  discard(): void;
}

/** What a lift stands on. Nobody else has the database open. */
export interface FormatGround {
  readonly crypto: Crypto;
  readonly keyring: Pick<Keyring, "tenant" | "signingKeys" | "dataKey" | "shreds">;
  readonly driver: SqliteDriver;
  readonly copies: DatabaseCopies;
}

/** What lifting a store of that format to this release's would be; `undefined`: it is of this format. */
export function planFormatMigration(from: number, to = storeFormat): MigrationPlan | undefined {
  const lifts = schemaLifts.filter((lift) => lift.from >= from && lift.to <= to);
  if (from >= to || lifts.length === 0) return undefined;
  return {
    id: formatMigrationId(from, to),
    from,
    to,
    description: lifts.map(({ description }) => description).join("; "),
    affected: [...new Set(lifts.flatMap(({ affected }) => affected))],
  };
}

/** Name of the migration between two formats. */
export function formatMigrationId(from: number, to: number): string {
  return `store-format-${from}-to-${to}`;
}

/** The migration of a store between that format and this release's. */
export function createFormatMigration(ground: FormatGround, plan: MigrationPlan): Migration {
  const { driver, copies } = ground;
  const { from, to } = plan;
  const raise = (target: SqliteDriver): void => {
    inTransaction(target, () => {
      raiseSchema(target, to);
    });
  };
  const stands = (): "before" | "after" => (formatOf(driver) === from ? "before" : "after");
  return {
    ...plan,
    stands,
    async backUp() {
      copies.discard();
      copies.make();
      const { problem } = copies.withCopy((copy) => compared(ground, driver, copy));
      if (problem !== undefined) throw new HoldfastError("store_corrupt", { copy: problem.object });
    },
    dryRun: async () =>
      copies.withScratch((scratch) => {
        raise(scratch);
        return checked(ground, driver, scratch);
      }),
    async migrate() {
      raise(driver);
      const { records } = contentOf(ground.crypto, driver);
      return { records, errors: 0 };
    },
    verify: async () =>
      copies.exists()
        ? copies.withCopy((copy) =>
            hasLastOf(driver, copy) ? checked(ground, copy, driver) : soundAlone(ground, driver),
          )
        : { records: 0, errors: 1, problem: { code: "copy_missing", object: plan.id } },
    async rollback() {
      if (stands() === "before") copies.discard();
      else if (copies.exists() && copies.withCopy((copy) => hasLastOf(driver, copy))) {
        copies.putBack();
      } else lowerAlike(ground, from);
    },
    async discard() {
      copies.discard();
    },
  };
}

/**
 * Has the copy the last event of the database? Where the record of a migration was elsewhere meanwhile, somebody may
 * have gone on with the lifted database: such a copy is none of it any more, and never takes its place.
 */
function hasLastOf(driver: SqliteDriver, copy: SqliteDriver): boolean {
  const last = driver
    .prepare("SELECT position, leaf FROM events ORDER BY position DESC LIMIT 1")
    .get<{ position: number; leaf: string }>();
  if (last === undefined) return true;
  const same = copy.prepare("SELECT leaf FROM events WHERE position = ?");
  return same.get<{ leaf: string }>(last.position)?.leaf === last.leaf;
}

/** A lifted database that others have gone on with, by itself: tables, and the log by the verifier. */
function soundAlone(ground: FormatGround, driver: SqliteDriver): MigrationOutcome {
  const { records } = contentOf(ground.crypto, driver);
  const [drift] = schemaDrift(driver);
  const problem = drift === undefined ? unverified(ground, driver) : driftOf(drift);
  return { records, errors: problem === undefined ? 0 : 1, ...(problem && { problem }) };
}

const driftOf = (object: string) => ({ code: "drift", object });

/** The lifted database against the one before: content, tables, and the log by the verifier. */
function checked(ground: FormatGround, before: SqliteDriver, after: SqliteDriver) {
  const outcome = compared(ground, before, after);
  if (outcome.problem !== undefined) return outcome;
  const [drift] = schemaDrift(after);
  const found = drift === undefined ? unverified(ground, after) : driftOf(drift);
  return found === undefined ? outcome : { records: outcome.records, errors: 1, problem: found };
}

/** The first thing that the verifier names: leaves, roots, signatures, and what follows from them. */
function unverified({ crypto, keyring }: FormatGround, driver: SqliteDriver) {
  // Frames are compared byte by byte: nothing needs to be opened.
  const { problems } = checkLog({ crypto, driver, keyring }, { openSections: false });
  return problems[0];
}

interface Carried {
  readonly table: string;
  /** What rows are read in the order of. */
  readonly key: string;
  readonly columns: string;
}

/** Tables that every format has with these columns, and that no lift may change. */
const carried: readonly Carried[] = [
  { table: "incarnations", key: "number", columns: "number, device, incarnation, own" },
  { table: "events", key: "position", columns: "position, leaf, incarnation, sequence, header" },
  { table: "frames", key: "rowid", columns: "position, section, key, state, bytes" },
  { table: "commits", key: "number", columns: "number, incarnation, size, root, note" },
  { table: "tiles", key: "rowid", columns: "incarnation, tile, root" },
  { table: "streams", key: "stream", columns: "stream, scope, vector, frontier" },
  { table: "outbox", key: "position", columns: "position, lane, enqueued_at, attempts" },
];

interface Content {
  readonly records: number;
  readonly digests: ReadonlyMap<string, string>;
}

/** A digest of each carried table. */
function contentOf(crypto: Crypto, driver: SqliteDriver): Content {
  let records = 0;
  const digests = new Map<string, string>();
  for (const { table, key, columns } of carried) {
    let digest: Bytes = new Uint8Array(32);
    for (const [, ...values] of rowsOf(
      driver,
      `SELECT ${key} AS place, ${columns} FROM ${table}`,
    )) {
      const parts = values.map((value) =>
        value instanceof Uint8Array ? value : utf8(JSON.stringify(value)),
      );
      const lengths = utf8(JSON.stringify(parts.map(({ length }) => length)));
      digest = crypto.sha256(digest, crypto.sha256(lengths, ...parts));
      records += 1;
    }
    digests.set(table, base64(digest));
  }
  return { records, digests };
}

/** Few: each may have the size of the largest event. */
const rowsRead = 64;

/** Rows in the order of their first column, few at a time. */
function* rowsOf(driver: SqliteDriver, sql: string): Generator<readonly SqlValue[]> {
  const [first, rest] = ["", ` WHERE place > ?`].map((where) =>
    driver.prepare(`SELECT * FROM (${sql})${where} ORDER BY place LIMIT ${rowsRead}`),
  ) as [SqlStatement, SqlStatement];
  for (let rows = first.all<Readonly<Record<string, SqlValue>>>(); rows.length > 0;) {
    const read = rows.map((row) => Object.values(row));
    yield* read;
    const place = read.at(-1)?.[0] ?? null;
    rows = rest.all<Readonly<Record<string, SqlValue>>>(place);
  }
}

/** Has one database what the other has? Leaves, headers, frames, notes with their roots, outbox entries. */
function compared(
  { crypto }: FormatGround,
  one: SqliteDriver,
  other: SqliteDriver,
): MigrationOutcome {
  const { records, digests } = contentOf(crypto, one);
  const found = contentOf(crypto, other).digests;
  const changed = [...digests].filter(([table, digest]) => found.get(table) !== digest);
  const [first] = changed;
  if (first === undefined) return { records, errors: 0 };
  const problem = { code: "rows_differ", object: `table ${first[0]}` };
  return { records, errors: changed.length, problem };
}

/** Takes the database down in one transaction that changes nothing of what is carried. */
function lowerAlike({ crypto, driver }: FormatGround, from: number): void {
  const { digests } = contentOf(crypto, driver);
  inTransaction(driver, () => {
    lowerSchema(driver, from);
    const after = contentOf(crypto, driver).digests;
    const alike = [...digests].every(([table, digest]) => after.get(table) === digest);
    invariant(alike && formatOf(driver) === from, "a lift has its way back");
  });
}
