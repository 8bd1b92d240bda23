/**
 * How a store of an earlier format becomes one of this format: a lift for each step, in the caller's transaction.
 * The migration contract (`lifecycle/format-migration.ts`) runs them; nothing else does.
 *
 * A new format is one more entry at the end of {@link schemaLifts}, from the format before to the new one, beside the
 * raised `storeFormat` and the changed text in `schema.ts`. What an entry makes is the text of its own format: where a
 * later one changes a table again, the earlier text stays here. A store that is several formats behind is lifted by all
 * entries in one transaction and verified once, by the code of the newest.
 */
import { HoldfastError } from "../std/errors.ts";
import { formatOf, outboxTables, shredTables, syncTables } from "./schema.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** One step from a format to the next. */
export interface SchemaLift {
  readonly from: number;
  readonly to: number;
  readonly description: string;
  /** Tables that it makes or changes. */
  readonly affected: readonly string[];
  raise(driver: SqliteDriver): void;
  /** The way back. Throws `migration_irreversible` when the earlier format has no place for what was recorded since. */
  lower(driver: SqliteDriver): void;
}

/** Tables of format 2 whose rows nothing else can give back. */
const onlyInFormat2 = [
  "attempts",
  "dead_letters",
  "sync",
  "pushed",
  "pulls",
  "checkpoints",
  "server_leaves",
  "note_links",
  "proofs",
  "grants",
];
/** Those that follow from the events or from what happens next. */
const derivedInFormat2 = ["breakers", "access"];

const outboxColumns = "position, lane, state, enqueued_at, attempts, next_at";

/** The outbox of format 1: no lease tokens. */
const outboxTablesOfFormat1 = `
CREATE TABLE outbox (
  position INTEGER PRIMARY KEY REFERENCES events (position),
  lane TEXT NOT NULL CHECK (lane IN ('normal', 'urgent')),
  state TEXT NOT NULL CHECK (state IN ('waiting', 'leased', 'dead')),
  enqueued_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER
) STRICT;
CREATE INDEX outbox_by_turn ON outbox (state, lane DESC, position);
`;

/** Another form of the outbox, with the entries that it has; a lease does not survive. */
function remakeOutbox(driver: SqliteDriver, tables: string): void {
  driver.exec(`
    CREATE TEMP TABLE kept_outbox AS SELECT * FROM outbox;
    DROP TABLE outbox;
    ${tables}
    INSERT INTO outbox (${outboxColumns})
      SELECT position, lane, CASE state WHEN 'leased' THEN 'waiting' ELSE state END,
        enqueued_at, attempts, next_at FROM kept_outbox;
    DROP TABLE kept_outbox;`);
}

const toFormat2: SchemaLift = {
  from: 1,
  to: 2,
  description: "Tables for sync, and lease tokens in the outbox",
  affected: ["outbox", ...onlyInFormat2, ...derivedInFormat2],
  raise(driver) {
    remakeOutbox(driver, outboxTables);
    driver.exec(syncTables);
  },
  lower(driver) {
    for (const table of onlyInFormat2) {
      if (driver.prepare(`SELECT 1 FROM ${table} LIMIT 1`).get() !== undefined) {
        throw new HoldfastError("migration_irreversible", { table });
      }
    }
    remakeOutbox(driver, outboxTablesOfFormat1);
    // Those that refer to others first.
    for (const table of [...onlyInFormat2, ...derivedInFormat2]) {
      driver.exec(`DROP TABLE IF EXISTS ${table}`);
    }
  },
};

const toFormat3: SchemaLift = {
  from: 2,
  to: 3,
  description: "What is shredded",
  affected: ["shreds"],
  raise(driver) {
    driver.exec(shredTables);
  },
  lower(driver) {
    if (driver.prepare("SELECT 1 FROM shreds LIMIT 1").get() !== undefined) {
      throw new HoldfastError("migration_irreversible", { table: "shreds" });
    }
    driver.exec("DROP TABLE shreds");
  },
};

/** Every step, in order. */
export const schemaLifts: readonly SchemaLift[] = [toFormat2, toFormat3];

/** Sets the format that the database says of itself. */
function noteFormat(driver: SqliteDriver, format: number): void {
  driver.exec(`PRAGMA user_version = ${format}`);
}

/** Lifts a store up to that format, in the caller's transaction. */
export function raiseSchema(driver: SqliteDriver, to: number): void {
  for (const lift of schemaLifts) {
    if (lift.from !== formatOf(driver) || lift.to > to) continue;
    lift.raise(driver);
    noteFormat(driver, lift.to);
  }
}

/** Takes a store back down to that format, in the caller's transaction. Throws `migration_irreversible`. */
export function lowerSchema(driver: SqliteDriver, to: number): void {
  for (const lift of schemaLifts.toReversed()) {
    if (lift.to !== formatOf(driver) || lift.from < to) continue;
    lift.lower(driver);
    noteFormat(driver, lift.from);
  }
}
