/**
 * What a connection is set to before it is used, and read back: a setting that did not take is a reason not to start.
 * Within a transaction a connection belongs to one tenant, which row-level security reads from a setting.
 */
import { HoldfastError } from "@holdfast/core";
import type { PostgresConnection } from "./postgres-driver.ts";
import { applicationRole } from "./postgres-schema.ts";

/** Times in milliseconds. */
export interface SessionTimes {
  readonly statementMs: number;
  /** How long a transaction may wait for its client. */
  readonly idleMs: number;
}

/** Puts a new connection into the server's role. Throws `database_setting_refused`. */
export async function prepareSession(
  connection: PostgresConnection,
  { statementMs, idleMs }: SessionTimes,
): Promise<void> {
  const wanted: Readonly<Record<string, string>> = {
    client_encoding: "UTF8",
    default_transaction_isolation: "read committed",
    idle_in_transaction_session_timeout: String(idleMs),
    standard_conforming_strings: "on",
    statement_timeout: String(statementMs),
    synchronous_commit: "on",
  };
  const statements = Object.entries(wanted).map(([name, value]) => `SET ${name} = '${value}';`);
  await connection.exec(`${statements.join(" ")} SET ROLE ${applicationRole};`);
  // Not the session's to set: without these an acknowledged event may be lost at a crash.
  const asserted = { ...wanted, fsync: "on", full_page_writes: "on" };
  const found = await connection.rows<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_settings WHERE name IN (${list(Object.keys(asserted))})`,
  );
  for (const { name, setting } of found) {
    if (setting !== asserted[name as keyof typeof asserted]) throw refused(name);
  }
  if (!Object.keys(wanted).every((name) => found.some((one) => one.name === name))) {
    throw refused("pg_settings");
  }
  const [role] = await connection.rows<{ name: string; exempt: boolean }>(
    `SELECT current_user::text AS name, (rolsuper OR rolbypassrls) AS exempt
     FROM pg_roles WHERE rolname = current_user`,
  );
  if (role?.name !== applicationRole || role.exempt) throw refused("role");
}

function list(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(", ");
}

function refused(setting: string): HoldfastError {
  return new HoldfastError("database_setting_refused", { setting });
}

const plainName = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Statement that binds the transaction to a tenant, or to none. `SET LOCAL` takes no parameters, and distributed
 * engines pass it on where they do not pass on what a function sets. Throws `request_malformed` for what is no id.
 */
export function setTenant(tenant: string | undefined): string {
  if (tenant !== undefined && !plainName.test(tenant)) throw malformed("tenant");
  return `SET LOCAL holdfast.tenant = '${tenant ?? ""}';`;
}

/** Statement that shows the code with that digest to the transaction. Throws `request_malformed`. */
export function setCode(digest: string): string {
  if (!plainName.test(digest)) throw malformed("digest");
  return `SET LOCAL holdfast.code = '${digest}';`;
}

/**
 * Statement that says what the transaction does beyond a tenant's everyday work, until it says otherwise: `shards` shows
 * those of all tenants, `shred` lets frames be replaced.
 */
export function setOperator(act: "shards" | "shred" | undefined): string {
  return `SET LOCAL holdfast.operator = '${act ?? ""}';`;
}

function malformed(part: string): HoldfastError {
  return new HoldfastError("request_malformed", { part });
}
