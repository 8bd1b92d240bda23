/** What is read from a server's SQLite: one connection, inside or outside of a transaction. */
import {
  base64url,
  type Bytes,
  type Crypto,
  invariant,
  type LeafSource,
  type Role,
  spanFromTiles,
  type SqliteDriver,
} from "@holdfast/core";
import type {
  CheckpointRow,
  PlacedEvent,
  StreamHeader,
  ServerLogName,
  ServerReads,
  ShardRow,
  TenantRow,
} from "./server-store.ts";
import { lostReceiptCode, shownCode } from "./reading/kept-evidence.ts";
import { lostReads } from "./sqlite-lost.ts";
import { createSqliteShredReads } from "./sqlite-shreds.ts";
import {
  type AccessChangeSqlRow,
  accessChangeOf,
  type DeviceSqlRow,
  deviceOf,
  type EventSqlRow,
  type LogSqlRow,
  deviceLogOf,
  type LeavesSqlRow,
  leavesIn,
  owned,
  placedEventOf,
  rangeOf,
} from "./store-rows.ts";

/** Answers at once: what the port allows to be a promise never is one here. */
type AtOnce<Port> = {
  readonly [Name in keyof Port]: Port[Name] extends (...args: infer Args) => infer Answer
    ? (...args: Args) => Awaited<Answer>
    : never;
};

export type SqliteReads = AtOnce<ServerReads> & {
  /** Row numbers that stand for names; `undefined`: not there. */
  tenantNumber(tenant: string): number | undefined;
  logNumber(tenant: string, device: string, incarnation: string): number | undefined;
  shardOf(tenant: string): string;
  /** How often the tenant's server log went on in another one. */
  successionsOf(tenant: string): number;
};

/** Beyond so many scopes one query over all of them is cheaper than one for each. */
const scopesApartMax = 32;

const eventColumns = `events.position AS position, logs.device AS device,
  logs.incarnation AS incarnation, events.leaf_index AS leaf_index,
  events.scope AS scope, events.header AS header, events.frames AS frames
  FROM events JOIN logs ON logs.number = events.log`;
// The inner query names nothing of the outer one, so that it runs once and not for each row.
const notLogsOf = `AND log NOT IN
  (SELECT own.number FROM logs AS own WHERE own.tenant = ? AND own.device = ?)`;

export function createSqliteReads(
  crypto: Pick<Crypto, "sha256">,
  driver: SqliteDriver,
): SqliteReads {
  const names = nameReads(driver);
  return {
    ...names,
    ...tenantReads(driver, names),
    ...deviceLogReads(crypto, driver, names),
    ...eventReads(driver, names),
    ...accessReads(driver, names),
    ...serverLogReads(crypto, driver),
    ...shardReads(driver, names),
    ...lostReads(driver, names.tenantNumber),
    ...createSqliteShredReads(driver, names.tenantNumber),
    receiptOf(tenant, device, incarnation, noteDigest) {
      const number = names.logNumber(tenant, device, incarnation) ?? -1;
      const row = driver
        .prepare(
          `SELECT max(leaf_index) AS value FROM receipts
           WHERE log = ? AND note = ? AND successions = ?`,
        )
        .get<{ value: number | null }>(number, noteDigest, names.successionsOf(tenant));
      return row?.value ?? undefined;
    },
  };
}

type Names = Pick<SqliteReads, "tenantNumber" | "logNumber" | "shardOf" | "successionsOf">;

function nameReads(driver: SqliteDriver): Names {
  const tenantNumber = (tenant: string): number | undefined =>
    driver.prepare("SELECT number FROM tenants WHERE tenant = ?").get<{ number: number }>(tenant)
      ?.number;
  return {
    tenantNumber,
    logNumber: (tenant, device, incarnation) =>
      driver
        .prepare("SELECT number FROM logs WHERE tenant = ? AND device = ? AND incarnation = ?")
        .get<{ number: number }>(tenantNumber(tenant) ?? -1, device, incarnation)?.number,
    shardOf(tenant) {
      const row = driver
        .prepare("SELECT shard FROM tenants WHERE tenant = ?")
        .get<{ shard: string }>(tenant);
      invariant(row !== undefined, "the tenant was founded");
      return row.shard;
    },
    successionsOf: (tenant) =>
      driver
        .prepare("SELECT count(*) AS value FROM successions WHERE tenant = ?")
        .get<{ value: number }>(tenantNumber(tenant) ?? -1)?.value ?? 0,
  };
}

function tenantReads(
  driver: SqliteDriver,
  { tenantNumber }: Names,
): Pick<
  SqliteReads,
  "tenant" | "device" | "devices" | "code" | "grants" | "quarantine" | "quarantined"
> {
  const deviceColumns = "device, role, status, enrolled_at, code, binding FROM devices";
  return {
    tenant: (tenant) =>
      driver
        .prepare("SELECT tenant, shard, founder, node FROM tenants WHERE tenant = ?")
        .get<TenantRow>(tenant),
    device(tenant, device) {
      const row = driver
        .prepare(`SELECT ${deviceColumns} WHERE tenant = ? AND device = ?`)
        .get<DeviceSqlRow>(tenantNumber(tenant) ?? -1, device);
      return row === undefined ? undefined : deviceOf(row);
    },
    devices: (tenant) =>
      driver
        .prepare(`SELECT ${deviceColumns} WHERE tenant = ? ORDER BY enrolled_at, device`)
        .all<DeviceSqlRow>(tenantNumber(tenant) ?? -1)
        .map(deviceOf),
    code(digest) {
      const row = driver
        .prepare("SELECT digest, tenant, role, expires, used_at FROM codes WHERE digest = ?")
        .get<{
          digest: string;
          tenant: string | null;
          role: Role;
          expires: number;
          used_at: number | null;
        }>(digest);
      if (row === undefined) return undefined;
      const { role, expires } = row;
      const usedAt = row.used_at ?? undefined;
      return { digest, role, expires, usedAt, tenant: row.tenant ?? undefined };
    },
    grants: (tenant, recipient, after, limit) =>
      driver
        .prepare(
          `SELECT number, text AS "grant" FROM grants
           WHERE tenant = ? AND recipient = ? AND number > ? ORDER BY number LIMIT ?`,
        )
        .all<{ number: number; grant: string }>(
          tenantNumber(tenant) ?? -1,
          recipient,
          after,
          limit,
        ),
    quarantine: (tenant, limit) =>
      driver
        .prepare(
          `SELECT device, incarnation, code, note, first, bytes, at FROM quarantine
           WHERE tenant = ? ORDER BY number DESC LIMIT ?`,
        )
        .all<{
          device: string;
          incarnation: string;
          code: string;
          note: string;
          first: number;
          bytes: Uint8Array;
          at: number;
        }>(tenantNumber(tenant) ?? -1, limit)
        .map(({ first, bytes, ...row }) => ({ ...row, tenant, from: first, bytes: owned(bytes) })),
    quarantined: (tenant, device) =>
      driver
        .prepare(
          `SELECT coalesce(sum(length(bytes)), 0) AS bytes FROM quarantine
           WHERE tenant = ? AND device = ? AND code NOT IN (?, ?)`,
        )
        .get<{ bytes: number }>(tenantNumber(tenant) ?? -1, device, shownCode, lostReceiptCode)
        ?.bytes ?? 0,
  };
}

function deviceLogReads(
  crypto: Pick<Crypto, "sha256">,
  driver: SqliteDriver,
  { tenantNumber, logNumber }: Names,
): Pick<SqliteReads, "deviceLog" | "deviceLogs" | "deviceHashes" | "leavesOf"> {
  const columns = `number, device, incarnation, algorithm, spki, hpke, opening, size, head, range,
    note, receipt, received_at, enrolment, revocation, owed, cutoff FROM logs`;
  const logs = `SELECT ${columns} WHERE tenant = ? AND (? IS NULL OR device = ?) ORDER BY number`;
  const hashes = (log: number, from: number, to: number): readonly Bytes[] =>
    leafHashes(driver, log, from, to);
  return {
    deviceLog(tenant, device, incarnation) {
      const row = driver
        .prepare(`SELECT ${columns} WHERE tenant = ? AND device = ? AND incarnation = ?`)
        .get<LogSqlRow>(tenantNumber(tenant) ?? -1, device, incarnation);
      return row === undefined ? undefined : deviceLogOf(row);
    },
    deviceLogs: (tenant, device) =>
      driver
        .prepare(logs)
        .all<LogSqlRow>(tenantNumber(tenant) ?? -1, device ?? null, device ?? null)
        .map(deviceLogOf),
    deviceHashes(tenant, device, incarnation, spans) {
      const log = logNumber(tenant, device, incarnation) ?? -1;
      const source: LeafSource = {
        leaves: (from, to) => hashes(log, from, to),
        tileRoots: (from, to) =>
          driver
            .prepare(
              "SELECT root FROM tiles WHERE log = ? AND tile >= ? AND tile < ? ORDER BY tile",
            )
            .all<{ root: Uint8Array }>(log, from, to)
            .map(({ root }) => owned(root)),
      };
      return spans.map((span) => spanFromTiles(crypto, source, span));
    },
    leavesOf: (tenant, device, incarnation, from, to) =>
      hashes(logNumber(tenant, device, incarnation) ?? -1, from, to).map((hash) => base64url(hash)),
  };
}

/** Leaves [from, to) of a device log. */
export function leafHashes(
  driver: SqliteDriver,
  log: number,
  from: number,
  to: number,
): readonly Bytes[] {
  if (from >= to) return [];
  const rows = driver
    .prepare(
      `SELECT first, hashes FROM leaves WHERE log = ? AND first < ?
         AND first >= coalesce(
           (SELECT max(first) FROM leaves WHERE log = ? AND first <= ?), 0)
       ORDER BY first`,
    )
    .all<LeavesSqlRow>(log, to, log, from);
  return leavesIn(rows, from, to);
}

/** Rows of the largest events that are in memory at once beside a page. */
const rowsAtOnce = 64;

/** Events up to so many bytes, and the one that goes beyond; never the first alone, so that more is seen. */
function createPage(most: number) {
  const events: PlacedEvent[] = [];
  let bytes = 0;
  return {
    events,
    /** Is there room for another? */
    take(event: PlacedEvent): boolean {
      events.push(event);
      bytes += event.header.length + event.frames.length;
      return bytes <= most || events.length < 2;
    },
  };
}

function eventReads(
  driver: SqliteDriver,
  { tenantNumber }: Names,
): Pick<SqliteReads, "placedIds" | "events" | "headersOfStream" | "sharedStreams"> {
  const ofAll = `SELECT ${eventColumns}
    WHERE events.tenant = ? AND position > ? ${notLogsOf} ORDER BY position LIMIT ?`;
  const ofScope = `SELECT position FROM events
    WHERE tenant = ? AND scope = ? AND position > ? ${notLogsOf} ORDER BY position LIMIT ?`;
  const ofScopes = `SELECT position FROM events
    WHERE tenant = ? AND scope IN (SELECT value FROM json_each(?)) AND position > ? ${notLogsOf}
    ORDER BY position LIMIT ?`;
  const atPosition = `SELECT ${eventColumns} WHERE events.tenant = ? AND position = ?`;

  function positions(
    tenant: number,
    scopes: readonly string[],
    after: number,
    limit: number,
    except: string,
  ): readonly number[] {
    if (scopes.length > scopesApartMax) {
      return driver
        .prepare(ofScopes)
        .all<{ position: number }>(tenant, JSON.stringify(scopes), after, tenant, except, limit)
        .map(({ position }) => position);
    }
    return [...new Set(scopes)]
      .flatMap((scope) =>
        driver
          .prepare(ofScope)
          .all<{ position: number }>(tenant, scope, after, tenant, except, limit)
          .map(({ position }) => position),
      )
      .toSorted((a, b) => a - b)
      .slice(0, limit);
  }

  return {
    placedIds(tenant, ids) {
      const number = tenantNumber(tenant) ?? -1;
      const found = driver.prepare("SELECT 1 FROM events WHERE tenant = ? AND id = ?");
      return new Set(ids.filter((id) => found.get(number, id) !== undefined));
    },
    events(tenant, scopes, after, limit, except, bytes = Infinity) {
      const number = tenantNumber(tenant) ?? -1;
      // No device has an empty name.
      const left = except ?? "";
      const page = createPage(bytes);
      if (scopes === "*") {
        const found = driver.prepare(ofAll);
        for (let from = after; page.events.length < limit;) {
          const wanted = Math.min(rowsAtOnce, limit - page.events.length);
          const rows = found.all<EventSqlRow>(number, from, number, left, wanted);
          for (const row of rows) if (!page.take(placedEventOf(row))) return page.events;
          if (rows.length < wanted) break;
          from = page.events.at(-1)?.position ?? from;
        }
        return page.events;
      }
      const found = driver.prepare(atPosition);
      for (const position of positions(number, scopes, after, limit, left)) {
        const row = found.get<EventSqlRow>(number, position);
        invariant(row !== undefined, "an indexed event is there");
        if (!page.take(placedEventOf(row))) break;
      }
      return page.events;
    },
    sharedStreams: (tenant, after, limit) =>
      driver
        .prepare(
          `SELECT stream FROM events WHERE tenant = ? AND stream > ?
           GROUP BY stream HAVING min(log) < max(log) ORDER BY stream LIMIT ?`,
        )
        .all<{ stream: string }>(tenantNumber(tenant) ?? -1, after, limit)
        .map(({ stream }) => stream),
    headersOfStream: (tenant, stream, limit) =>
      driver
        .prepare(
          `SELECT scope, header FROM events WHERE tenant = ? AND stream = ?
           ORDER BY position DESC LIMIT ?`,
        )
        .all<StreamHeader>(tenantNumber(tenant) ?? -1, stream, limit)
        .toReversed(),
  };
}

function accessReads(
  driver: SqliteDriver,
  { tenantNumber }: Names,
): Pick<SqliteReads, "access" | "accessChanges"> {
  return {
    access: (tenant, device) =>
      driver
        .prepare("SELECT scope FROM access WHERE tenant = ? AND device = ? ORDER BY scope")
        .all<{ scope: string }>(tenantNumber(tenant) ?? -1, device)
        .map(({ scope }) => scope),
    accessChanges: (tenant, device) =>
      driver
        .prepare(
          `SELECT device, position, kind, scopes, by, leaf_index FROM access_changes
           WHERE tenant = ? AND device = ? ORDER BY position`,
        )
        .all<AccessChangeSqlRow>(tenantNumber(tenant) ?? -1, device)
        .map(accessChangeOf),
  };
}

/** Leaf hashes [from, to) of a server log. */
export function serverLeafHashes(
  driver: SqliteDriver,
  { shard, log }: ServerLogName,
  from: number,
  to: number,
): readonly Bytes[] {
  return driver
    .prepare(
      `SELECT hash FROM server_leaves WHERE shard = ? AND log = ? AND leaf_index >= ?
         AND leaf_index < ? ORDER BY leaf_index`,
    )
    .all<{ hash: Uint8Array }>(shard, log, from, to)
    .map(({ hash }) => owned(hash));
}

interface ShardSqlRow {
  readonly shard: string;
  readonly log: number;
  readonly events: number;
  readonly leaves: number;
  readonly range: Uint8Array;
}

function serverLogReads(
  crypto: Pick<Crypto, "sha256">,
  driver: SqliteDriver,
): Pick<SqliteReads, "head" | "serverLeaves" | "serverHashes" | "serverRange" | "checkpoint"> {
  function shardRow(shard: string): ShardSqlRow {
    const row = driver
      .prepare("SELECT shard, log, events, leaves, range FROM shards WHERE shard = ?")
      .get<ShardSqlRow>(shard);
    invariant(row !== undefined, "the shard is there");
    return row;
  }
  // Without a number, the newest log of the shard.
  const ofLog = `shard = ? AND log = coalesce(?, (SELECT log FROM shards WHERE shard = ?))`;
  const columns = `SELECT size, root, note, at FROM checkpoints WHERE ${ofLog}`;
  return {
    head(shard) {
      const { log, events, leaves } = shardRow(shard);
      return { shard, log, events, leaves };
    },
    serverRange(shard) {
      const { leaves, range } = shardRow(shard);
      return rangeOf(leaves, range);
    },
    serverLeaves: (shard, from, to, log) =>
      driver
        .prepare(
          `SELECT text FROM server_leaves WHERE ${ofLog} AND leaf_index >= ? AND leaf_index < ?
           ORDER BY leaf_index`,
        )
        .all<{ text: string }>(shard, log ?? null, shard, from, to)
        .map(({ text }) => text),
    serverHashes(shard, spans, log) {
      const of = { shard, log: log ?? shardRow(shard).log };
      const source: LeafSource = {
        leaves: (from, to) => serverLeafHashes(driver, of, from, to),
        tileRoots: (from, to) =>
          driver
            .prepare(
              `SELECT root FROM server_tiles WHERE shard = ? AND log = ? AND tile >= ? AND tile < ?
               ORDER BY tile`,
            )
            .all<{ root: Uint8Array }>(shard, of.log, from, to)
            .map(({ root }) => owned(root)),
      };
      return spans.map((span) => spanFromTiles(crypto, source, span));
    },
    checkpoint(shard, size, log) {
      const of = [shard, log ?? null, shard] as const;
      const row =
        size === undefined
          ? driver.prepare(`${columns} ORDER BY size DESC LIMIT 1`).get<CheckpointRow>(...of)
          : driver.prepare(`${columns} AND size = ?`).get<CheckpointRow>(...of, size);
      return row === undefined ? undefined : { ...row, root: owned(row.root) };
    },
  };
}

function shardReads(
  driver: SqliteDriver,
  { tenantNumber }: Names,
): Pick<SqliteReads, "shards" | "successions"> {
  return {
    shards: () =>
      driver
        .prepare(
          `SELECT tenants.tenant AS tenant, shards.shard AS shard, log, events, leaves, sealed
           FROM shards JOIN tenants ON tenants.number = shards.tenant
           ORDER BY tenants.number, shards.number`,
        )
        .all<Omit<ShardRow, "sealed"> & { readonly sealed: number }>()
        .map((row) => ({ ...row, sealed: row.sealed === 1 })),
    successions: (tenant) =>
      driver
        .prepare(
          `SELECT shard, log, size, next_shard, next_log FROM successions
           WHERE tenant = ? ORDER BY number`,
        )
        .all<{ shard: string; log: number; size: number; next_shard: string; next_log: number }>(
          tenantNumber(tenant) ?? -1,
        )
        .map(({ shard, log, size, next_shard, next_log }) => ({
          from: { shard, log },
          size,
          to: { shard: next_shard, log: next_log },
        })),
  };
}
