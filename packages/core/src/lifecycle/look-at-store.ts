/** Looking at an open connection for start-up checks: reads only, and names what is wrong. */
import { auditTrailTypes } from "../audit/audit-log.ts";
import type { Registry } from "../event/registry.ts";
import type { Keyring } from "../keys/keyring.ts";
import { isOver } from "../keys/rotation.ts";
import { isHoldfastError } from "../std/errors.ts";
import { schemaDrift, isOlderFormat } from "../store/schema.ts";
import { readOwnLog, type SessionDeps } from "../store/session.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { createSqliteEventLog } from "../store/sqlite-event-log.ts";
import { isDataKeyRotationOpen } from "./rotate-data-keys.ts";
import type { StartFinding } from "./start-checks.ts";

const recentEvents = 1_000;
const listedMax = 20;

/** Every check that an open database answers. Throws nothing that a store may be blamed for. */
export function lookAtStore(
  deps: Pick<SessionDeps, "crypto" | "keyring" | "medium">,
  driver: SqliteDriver,
  registry: Registry,
): readonly StartFinding[] {
  const found: StartFinding[] = [];
  const checking = (check: StartFinding["check"], look: () => readonly StartFinding[]): void => {
    try {
      found.push(...look());
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      found.push({ check, code: error.code });
    }
  };
  if (isOlderFormat(driver)) return [{ check: "format", code: "store_older" }];
  checking("format", () =>
    schemaDrift(driver)
      .slice(0, listedMax)
      .map((object) => ({ check: "format", code: "store_drifted", object })),
  );
  checking("tables", () => unreadableTables(driver));
  checking("history", () => historyFindings(deps, driver));
  checking("keys", () => keyFindings(deps.keyring, driver));
  checking("registry", () => typeFindings(driver, registry));
  checking("operations", () => openOperations(deps.keyring, driver));
  return found;
}

/** The first and the last row of each table: a page that fails its authentication is found where it is used. */
function unreadableTables(driver: SqliteDriver): readonly StartFinding[] {
  const tables = driver
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'search_*'")
    .all<{ name: string }>();
  return tables.flatMap(({ name }) => {
    const quoted = `"${name.replaceAll('"', '""')}"`;
    try {
      driver.prepare(`SELECT * FROM ${quoted} LIMIT 1`).all();
      return [];
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      return [{ check: "tables", code: error.code, object: name.slice(0, 64) } as const];
    }
  });
}

function historyFindings(
  deps: Pick<SessionDeps, "crypto" | "keyring" | "medium">,
  driver: SqliteDriver,
): readonly StartFinding[] {
  const log = createSqliteEventLog({ crypto: deps.crypto, driver });
  const findings = readOwnLog(deps, { driver, log })?.judgement.findings ?? [];
  return findings.map((code) => ({ check: "history", code }));
}

/** The signing key of the log that goes on, and the data keys of the newest own events. */
function keyFindings(keyring: Keyring, driver: SqliteDriver): readonly StartFinding[] {
  const found: StartFinding[] = [];
  const missing = (object: string): void => {
    found.push({ check: "keys", code: "keyring_record_missing", object });
  };
  const own = driver
    .prepare("SELECT incarnation FROM incarnations WHERE own = 1 ORDER BY number DESC LIMIT 1")
    .get<{ incarnation: string }>();
  const signing = new Set(keyring.signingKeys().map(({ incarnation }) => incarnation));
  if (own !== undefined && !signing.has(own.incarnation)) missing("signing");
  const keys = driver
    .prepare(
      `SELECT DISTINCT frames.key AS key FROM frames
       JOIN events ON events.position = frames.position
       JOIN incarnations ON incarnations.number = events.incarnation
       WHERE own = 1 AND state = 'present'
         AND frames.position > (SELECT coalesce(max(position), 0) FROM events) - ?`,
    )
    .all<{ key: string }>(recentEvents);
  const lost = keys.filter(({ key }) => keyring.dataKeyById(key) === undefined);
  for (const { key } of lost.slice(0, listedMax)) missing(`data ${key}`);
  for (const { code, copy } of keyring.findings) {
    found.push({ check: "keyring", code, object: copy });
  }
  if (keyring.recovery.list().length === 0) {
    found.push({ check: "keys", code: "recovery_key_absent" });
  }
  return found;
}

/** Types of events that this build does not know, and versions that are newer than what it knows. */
function typeFindings(driver: SqliteDriver, registry: Registry): readonly StartFinding[] {
  const known = new Set(auditTrailTypes);
  const rows = driver
    .prepare(
      `WITH RECURSIVE types (type) AS (
         SELECT min(type) FROM events
         UNION ALL
         SELECT (SELECT min(type) FROM events WHERE type > types.type) FROM types
         WHERE types.type IS NOT NULL)
       SELECT type,
         (SELECT max(own) FROM (SELECT own FROM events
            JOIN incarnations ON incarnations.number = events.incarnation
            WHERE events.type = types.type ORDER BY position DESC LIMIT 1000)) AS own,
         (SELECT header ->> '$.tv' FROM events WHERE events.type = types.type
            ORDER BY position DESC LIMIT 1) AS version
       FROM types WHERE type IS NOT NULL`,
    )
    .all<{ type: string; own: number; version: number }>();
  return rows.flatMap(({ type, own, version }): StartFinding[] => {
    if (known.has(type)) return [];
    const declared = registry.types.get(type);
    const object = type.slice(0, 128);
    if (declared === undefined) {
      const code = own === 1 ? "event_type_unknown" : "event_type_foreign_unknown";
      return [{ check: "registry", code, object }];
    }
    return version > declared.version && own === 1
      ? [{ check: "registry", code: "event_type_newer", object }]
      : [];
  });
}

function openOperations(keyring: Keyring, driver: SqliteDriver): readonly StartFinding[] {
  const found: StartFinding[] = [];
  const code = "rotation_interrupted";
  const state = keyring.rotation.state();
  if (state !== undefined && !isOver(state.phase)) {
    found.push({ check: "operations", code, object: `${state.key} ${state.phase}` });
  }
  if (isDataKeyRotationOpen(driver)) found.push({ check: "operations", code, object: "data" });
  const building = driver
    .prepare("SELECT name FROM projections WHERE state = 'building'")
    .all<{ name: string }>();
  for (const { name } of building) {
    found.push({ check: "operations", code: "read_model_unfinished", object: name });
  }
  return found;
}
