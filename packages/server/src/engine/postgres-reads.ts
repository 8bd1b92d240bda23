/** What is read from a server's PostgreSQL, within one transaction. */
import { base64url, type Bytes, type Role } from "@holdfast/core";
import { integerArray, textArray } from "./postgres-arrays.ts";
import { positionsOfScopes, positionsOfStream } from "./postgres-places.ts";
import { setCode } from "./postgres-session.ts";
import { hashesOf, inOneGo, serverLogReads } from "./postgres-server-logs.ts";
import { shredReads } from "./postgres-shreds.ts";
import type { PostgresTransaction } from "./postgres-transaction.ts";
import { lostReceiptCode, shownCode } from "./reading/kept-evidence.ts";
import type { PlacedEvent, QuarantineRow, ServerReads, StreamHeader } from "./server-store.ts";
import {
  type AccessChangeSqlRow,
  accessChangeOf,
  type DeviceSqlRow,
  deviceLogOf,
  deviceOf,
  type EventSqlRow,
  type LeavesSqlRow,
  leavesIn,
  type LogSqlRow,
  placedEventOf,
} from "./store-rows.ts";

/** Beyond so many scopes one pass over the log is cheaper than the rows of each. */
const scopesApartMax = 32;

export function createPostgresReads(tx: PostgresTransaction): ServerReads {
  return {
    ...tenantReads(tx),
    ...deviceLogReads(tx),
    ...eventReads(tx),
    ...accessReads(tx),
    ...serverLogReads(tx),
    ...shredReads(tx),
  };
}

function tenantReads(
  tx: PostgresTransaction,
): Pick<
  ServerReads,
  | "tenant"
  | "device"
  | "devices"
  | "code"
  | "grants"
  | "quarantine"
  | "quarantineOf"
  | "quarantined"
> {
  const deviceColumns = "device, role, status, enrolled_at, code, binding FROM holdfast.devices";
  return {
    async tenant(tenant) {
      const row = tenant === tx.tenant ? await tx.head() : undefined;
      if (row === undefined) return undefined;
      const { shard, founder, node } = row;
      return { tenant, shard, founder, node };
    },
    async device(tenant, device) {
      const row = await tx.row<DeviceSqlRow>(
        `SELECT ${deviceColumns} WHERE tenant = $1 AND device = $2`,
        tenant,
        device,
      );
      return row === undefined ? undefined : deviceOf(row);
    },
    async devices(tenant) {
      const rows = await tx.rows<DeviceSqlRow>(
        `SELECT ${deviceColumns} WHERE tenant = $1 ORDER BY enrolled_at, device`,
        tenant,
      );
      return rows.map(deviceOf);
    },
    async code(digest) {
      await tx.exec(setCode(digest));
      const row = await tx.row<{
        tenant: string | null;
        role: Role;
        expires: number;
        used_at: number | null;
      }>("SELECT tenant, role, expires, used_at FROM holdfast.codes WHERE digest = $1", digest);
      if (row === undefined) return undefined;
      const { role, expires } = row;
      const usedAt = row.used_at ?? undefined;
      return { digest, role, expires, usedAt, tenant: row.tenant ?? undefined };
    },
    grants: (tenant, recipient, after, limit) =>
      tx.rows<{ number: number; grant: string }>(
        `SELECT number, wrapped AS "grant" FROM holdfast.grants
         WHERE tenant = $1 AND recipient = $2 AND number > $3 ORDER BY number LIMIT $4`,
        tenant,
        recipient,
        after,
        limit,
      ),
    async quarantine(tenant, limit) {
      const rows = await tx.rows<Omit<QuarantineRow, "from" | "tenant"> & { first: number }>(
        `SELECT device, incarnation, code, note, first, bytes, at FROM holdfast.quarantine
         WHERE tenant = $1 ORDER BY number DESC LIMIT $2`,
        tenant,
        limit,
      );
      return rows.map(({ first, ...row }) => ({ ...row, tenant, from: first }));
    },
    async quarantineOf(tenant, code) {
      const rows = await tx.rows<Omit<QuarantineRow, "from" | "tenant"> & { first: number }>(
        `SELECT device, incarnation, code, note, first, bytes, at FROM holdfast.quarantine
         WHERE tenant = $1 AND code = $2 ORDER BY number`,
        tenant,
        code,
      );
      return rows.map(({ first, ...row }) => ({ ...row, tenant, from: first }));
    },
    async quarantined(tenant, device) {
      const row = await tx.row<{ bytes: number }>(
        `SELECT coalesce(sum(octet_length(bytes)), 0)::bigint AS bytes FROM holdfast.quarantine
         WHERE tenant = $1 AND device = $2 AND code NOT IN ($3, $4)`,
        tenant,
        device,
        shownCode,
        lostReceiptCode,
      );
      return row?.bytes ?? 0;
    },
  };
}

const theLog = `(SELECT number FROM holdfast.logs
  WHERE tenant = $1 AND device = $2 AND incarnation = $3)`;

function deviceLogReads(
  tx: PostgresTransaction,
): Pick<ServerReads, "deviceLog" | "deviceLogs" | "deviceHashes" | "leavesOf" | "receiptOf"> {
  const columns = `number, device, incarnation, algorithm, spki, hpke, opening, size, head, range,
    note, receipt, received_at, enrolment, revocation, owed, cutoff FROM holdfast.logs WHERE tenant = $1`;
  const leavesOf = async (log: LogName, from: number, to: number): Promise<readonly Bytes[]> => {
    if (from >= to) return [];
    return leavesIn(await tx.rows<LeavesSqlRow>(leafRows, ...log, to, from), from, to);
  };
  return {
    async deviceLog(tenant, device, incarnation) {
      const sql = `SELECT ${columns} AND device = $2 AND incarnation = $3`;
      const row = await tx.row<LogSqlRow>(sql, tenant, device, incarnation);
      if (row === undefined) return undefined;
      tx.logNumbers.set(`${device}/${incarnation}`, row.number);
      return deviceLogOf(row);
    },
    async deviceLogs(tenant, device) {
      const rows =
        device === undefined
          ? tx.rows<LogSqlRow>(`SELECT ${columns} ORDER BY number`, tenant)
          : tx.rows<LogSqlRow>(`SELECT ${columns} AND device = $2 ORDER BY number`, tenant, device);
      return (await rows).map(deviceLogOf);
    },
    deviceHashes: (tenant, device, incarnation, spans) => {
      const log = [tenant, device, incarnation] as const;
      return inOneGo(spans, ({ height, from, to }) =>
        height === 0
          ? leavesOf(log, from, to)
          : hashesOf(tx, deviceTiles, ...log, height, from, to),
      );
    },
    async leavesOf(tenant, device, incarnation, from, to) {
      const hashes = await leavesOf([tenant, device, incarnation], from, to);
      return hashes.map((hash) => base64url(hash));
    },
    async receiptOf(tenant, device, incarnation, noteDigest) {
      const row = await tx.row<{ value: number | null }>(
        `SELECT max(leaf_index) AS value FROM holdfast.receipts
         WHERE tenant = $1 AND log = ${theLog} AND note = $4 AND successions = $5`,
        tenant,
        device,
        incarnation,
        noteDigest,
        (await tx.head())?.successions ?? 0,
      );
      return row?.value ?? undefined;
    },
  };
}

type LogName = readonly [tenant: string, device: string, incarnation: string];

const leafRows = `SELECT first, hashes FROM holdfast.leaves
  WHERE tenant = $1 AND log = ${theLog} AND first < $4 AND first >= coalesce((
    SELECT max(first) FROM holdfast.leaves WHERE tenant = $1 AND log = ${theLog} AND first <= $5), 0)
  ORDER BY first`;
const deviceTiles = `SELECT root AS hash FROM holdfast.tiles
  WHERE tenant = $1 AND log = ${theLog} AND height = $4 AND tile >= $5 AND tile < $6 ORDER BY tile`;

function eventReads(
  tx: PostgresTransaction,
): Pick<ServerReads, "placedIds" | "events" | "headersOfStream" | "sharedStreams"> {
  const homeOf = async (tenant: string): Promise<string> =>
    (tenant === tx.tenant ? (await tx.head())?.home : undefined) ?? "";
  return {
    async placedIds(tenant, ids) {
      if (ids.length === 0) return new Set();
      const rows = await tx.rows<{ id: string }>(
        "SELECT id FROM holdfast.event_ids WHERE tenant = $1 AND id = ANY($2::text[])",
        tenant,
        textArray(ids),
      );
      return new Set(rows.map(({ id }) => id));
    },
    async events(tenant, scopes, after, limit, except, bytes) {
      const home = await homeOf(tenant);
      const most = bytes ?? Infinity;
      // No device has an empty name.
      const left = except ?? "";
      if (scopes !== "*" && scopes.length <= scopesApartMax) {
        const found = await positionsOfScopes(tx, tenant, scopes, after, limit, left);
        const placed = (some: readonly number[]) => [tenant, home, integerArray(some)] as const;
        return pageOf(found.length, most, (count, bound) =>
          tx.rows<EventSqlRow>(eventsAt, ...placed(found.slice(0, count)), bound),
        );
      }
      return pageOf(limit, most, (count, bound) => {
        const values = [tenant, home, after, bound, left, count] as const;
        return scopes === "*"
          ? tx.rows<EventSqlRow>(eventsOfAll, ...values)
          : tx.rows<EventSqlRow>(eventsOfMany, ...values, textArray([...new Set(scopes)]));
      });
    },
    async sharedStreams(tenant, after, limit) {
      const rows = await tx.rows<{ stream: string }>(
        `SELECT stream FROM holdfast.streams WHERE tenant = $1 AND stream > $2
         GROUP BY stream HAVING min(log) < max(log) ORDER BY stream LIMIT $3`,
        tenant,
        after,
        limit,
      );
      return rows.map(({ stream }) => stream);
    },
    async headersOfStream(tenant, stream, limit) {
      const home = await homeOf(tenant);
      const newest: StreamHeader[] = [];
      for await (const some of positionsOfStream(tx, tenant, stream)) {
        for (let at = 0; at < some.length && newest.length < limit; at += headersEach) {
          const positions = integerArray(some.slice(at, at + headersEach));
          const rows = await tx.rows<StreamHeader>(headersAt, tenant, home, positions);
          newest.push(...rows.filter(({ header }) => streamOf(header) === stream));
        }
        if (newest.length >= limit) break;
      }
      return newest.slice(0, limit).toReversed();
    },
  };
}

/** A frozen field of every version. */
function streamOf(header: string): unknown {
  return (JSON.parse(header) as { readonly stream?: unknown }).stream;
}

/** Headers of a stream that are read at once. */
const headersEach = 256;
const headersAt = `SELECT scope, header FROM holdfast.events
  WHERE tenant = $1 AND home = $2 AND position = ANY($3::bigint[]) ORDER BY position DESC`;

/** Rows up to so many bytes, and the one that goes beyond; never the first alone, so that more is seen. */
async function pageOf(
  limit: number,
  bytes: number,
  read: (limit: number, bytes: number) => Promise<readonly EventSqlRow[]>,
): Promise<readonly PlacedEvent[]> {
  if (limit === 0) return [];
  // A bound that is not met by any page is none.
  const rows = await read(limit, Math.min(bytes, Number.MAX_SAFE_INTEGER));
  const first = rows.length === 1 && limit > 1;
  return (first ? await read(2, Number.MAX_SAFE_INTEGER) : rows).map(placedEventOf);
}

const ofTenant = `events.tenant = $1 AND events.home = $2 AND events.position > $3
  AND events.log NOT IN (
    SELECT own.number FROM holdfast.logs AS own WHERE own.tenant = $1 AND own.device = $5)`;

/** What `found` selects, with the log of each, up to `$4` bytes and the one that goes beyond. */
function withinBytes(found: string): string {
  return `SELECT page.position, logs.device, logs.incarnation, page.leaf_index, page.scope,
      page.header, page.frames
    FROM (
      SELECT found.*, sum(octet_length(found.header) + octet_length(found.frames)) OVER (
        ORDER BY found.position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM (${found}) AS found
    ) AS page
    JOIN holdfast.logs AS logs ON logs.tenant = $1 AND logs.number = page.log
    WHERE page.before IS NULL OR page.before <= $4
    ORDER BY page.position`;
}

const columns = `SELECT events.position, events.log, events.leaf_index, events.scope,
  events.header, events.frames FROM holdfast.events AS events`;
const eventsOfAll = withinBytes(`${columns} WHERE ${ofTenant} ORDER BY events.position LIMIT $6`);
const eventsOfMany = withinBytes(`${columns}
  WHERE ${ofTenant} AND events.scope = ANY($7::text[]) ORDER BY events.position LIMIT $6`);
const eventsAt = withinBytes(`${columns}
  WHERE events.tenant = $1 AND events.home = $2 AND events.position = ANY($3::bigint[])`);

function accessReads(tx: PostgresTransaction): Pick<ServerReads, "access" | "accessChanges"> {
  return {
    async access(tenant, device) {
      const rows = await tx.rows<{ scope: string }>(
        "SELECT scope FROM holdfast.access WHERE tenant = $1 AND device = $2",
        tenant,
        device,
      );
      return rows.map(({ scope }) => scope).toSorted();
    },
    async accessChanges(tenant, device) {
      const rows = await tx.rows<AccessChangeSqlRow>(
        `SELECT device, position, kind, scopes, origin AS "by", leaf_index
         FROM holdfast.access_changes WHERE tenant = $1 AND device = $2 ORDER BY position`,
        tenant,
        device,
      );
      return rows.map(accessChangeOf);
    },
  };
}
