/**
 * The steps that bring a database to the newest schema, and the runner that applies them: each in order, once, with a
 * checksum, all that are missing in one transaction, while a lock row keeps other nodes waiting. What a newer release
 * wrote, what was not written by Holdfast, and what was altered since are refused; nothing is changed then.
 */
import { type Crypto, hex, HoldfastError, isHoldfastError, utf8 } from "@holdfast/core";
import type { PostgresConnection, PostgresDriver } from "./postgres-driver.ts";
import {
  applicationRole,
  schemaName,
  shredsSql,
  type TableLayout,
  tablesSql,
} from "./postgres-schema.ts";

/** One step; never changed after its release. */
export interface Migration {
  readonly id: number;
  readonly description: string;
  readonly sql: (layout: TableLayout) => string;
}

/** All steps, numbered from 1. */
export const migrations: readonly Migration[] = [
  { id: 1, description: "tables, privileges, row-level security", sql: tablesSql },
  { id: 2, description: "shreds", sql: shredsSql },
];

/** What migrating takes. */
export interface MigrationDeps {
  readonly crypto: Pick<Crypto, "sha256">;
  /** Connections of the role that owns the tables, or is to own them. */
  readonly owner: PostgresDriver;
  /** Of a database that is made new; the one that is there stays as it is. */
  readonly layout: TableLayout;
  readonly steps?: readonly Migration[];
}

interface AppliedRow {
  readonly id: number;
  readonly checksum: string;
  readonly layout: TableLayout;
}

/**
 * Brings the database up to date; answers the numbers of the steps that were applied. Throws `store_foreign` for a
 * schema of something else, `store_newer`, `store_drifted` when an applied step is not the one that is known, and
 * `store_older` when steps are missing and the role may not apply them.
 */
export function migratePostgres(deps: MigrationDeps): Promise<readonly number[]> {
  const steps = deps.steps ?? migrations;
  return deps.owner.lend(async (connection) => {
    const before = await appliedSteps(connection);
    if (before !== undefined && missingSteps(deps, steps, before).length === 0) return [];
    try {
      await prepareSchema(connection);
      return await applyMissing(deps, steps, connection);
    } catch (error) {
      if (!isHoldfastError(error, "store_constraint")) throw error;
      throw new HoldfastError("store_older", { readable: steps.length }, { cause: error });
    }
  });
}

/** `undefined`: there is nothing yet. Throws `store_foreign`. */
async function appliedSteps(
  connection: PostgresConnection,
): Promise<readonly AppliedRow[] | undefined> {
  const found = await connection.rows<{ name: string }>(
    "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = $1",
    schemaName,
  );
  // The role sees only tables that it has a right to: ours are readable to the server's role.
  if (!found.some(({ name }) => name === "migrations")) {
    if (found.length > 0) throw new HoldfastError("store_foreign");
    return undefined;
  }
  return connection.rows<AppliedRow>(
    "SELECT id, checksum, layout FROM holdfast.migrations ORDER BY id",
  );
}

/** Throws `store_newer`, `store_drifted`. */
function missingSteps(
  { crypto }: MigrationDeps,
  steps: readonly Migration[],
  applied: readonly AppliedRow[],
): readonly Migration[] {
  for (const [at, row] of applied.entries()) {
    const step = steps[at];
    if (step === undefined) {
      throw new HoldfastError("store_newer", { format: row.id, readable: steps.length });
    }
    if (row.id !== step.id || row.checksum !== checksumOf(crypto, step, row.layout)) {
      throw new HoldfastError("store_drifted", { step: step.id });
    }
  }
  return steps.slice(applied.length);
}

function checksumOf(
  crypto: MigrationDeps["crypto"],
  { id, sql }: Migration,
  layout: TableLayout,
): string {
  return hex(crypto.sha256(utf8(`${id}\n${sql(layout)}`)));
}

/** What the runner itself needs; made beside other nodes that do the same. */
async function prepareSchema(connection: PostgresConnection): Promise<void> {
  const [role] = await connection.rows<{ there: boolean; usable: boolean }>(
    `SELECT count(*) > 0 AS there, coalesce(bool_or(pg_has_role(rolname, 'SET')), false) AS usable
     FROM pg_roles WHERE rolname = $1`,
    applicationRole,
  );
  if (role?.there !== true) {
    await tolerant(connection, `CREATE ROLE ${applicationRole} NOLOGIN NOSUPERUSER NOBYPASSRLS`);
  }
  if (role?.usable !== true) {
    await tolerant(connection, `GRANT ${applicationRole} TO CURRENT_USER`);
  }
  // The table that says whose schema it is comes first: without it the schema would look foreign to other nodes.
  for (const sql of [
    `CREATE SCHEMA IF NOT EXISTS ${schemaName}`,
    `CREATE TABLE IF NOT EXISTS holdfast.migrations (
       id bigint NOT NULL, description text NOT NULL, checksum text NOT NULL, layout text NOT NULL,
       applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id))`,
    `CREATE TABLE IF NOT EXISTS holdfast.migration_lock (
       number bigint NOT NULL CHECK (number = 1), PRIMARY KEY (number))`,
    "INSERT INTO holdfast.migration_lock (number) VALUES (1) ON CONFLICT (number) DO NOTHING",
    `GRANT USAGE ON SCHEMA holdfast TO ${applicationRole}`,
    `GRANT SELECT ON holdfast.migrations TO ${applicationRole}`,
  ]) {
    await tolerant(connection, sql);
  }
}

const duplicateObject = "42710";
/** Further states of "somebody else did this at the same moment": duplicates, unique violation, changed meanwhile. */
const raced = ["42P06", "42P07", "23505", "XX000"];
/** As many nodes as may start at once, and each may be in the way of the others once. */
const racesMax = 20;

async function tolerant(connection: PostgresConnection, sql: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await connection.exec(sql);
      return;
    } catch (error) {
      const { result } = isHoldfastError(error) ? error.details : {};
      // What has no IF NOT EXISTS, another node has made.
      if (result === duplicateObject) return;
      if (tries === racesMax || !raced.includes(String(result))) throw error;
    }
  }
}

async function applyMissing(
  deps: MigrationDeps,
  steps: readonly Migration[],
  connection: PostgresConnection,
): Promise<readonly number[]> {
  await connection.exec("BEGIN");
  try {
    await connection.rows("SELECT number FROM holdfast.migration_lock WHERE number = 1 FOR UPDATE");
    const applied = (await appliedSteps(connection)) ?? [];
    const layout = applied[0]?.layout ?? deps.layout;
    const missing = missingSteps(deps, steps, applied);
    for (const step of missing) {
      await connection.exec(step.sql(layout));
      await connection.run(
        `INSERT INTO holdfast.migrations (id, description, checksum, layout)
         VALUES ($1, $2, $3, $4)`,
        step.id,
        step.description,
        checksumOf(deps.crypto, step, layout),
        layout,
      );
    }
    await connection.exec("COMMIT");
    return missing.map(({ id }) => id);
  } catch (error) {
    await connection.exec("ROLLBACK").catch(() => undefined);
    throw error;
  }
}
