/** Rows of the server's tables as databases give them, and what they stand for. */
import {
  type Bytes,
  type CompactRange,
  concat,
  fromUtf8,
  hashBytes,
  HoldfastError,
  type IndexRanges,
  type Role,
  utf8,
} from "@holdfast/core";
import type { AccessChange, DeviceLogRow, DeviceRow, PlacedEvent } from "./server-store.ts";

export interface DeviceSqlRow {
  readonly device: string;
  readonly role: Role;
  readonly status: "active" | "revoked";
  readonly enrolled_at: number;
  readonly code: string | null;
  readonly binding: string | null;
}

export interface LogSqlRow {
  readonly number: number;
  readonly device: string;
  readonly incarnation: string;
  readonly algorithm: "ed25519" | "ecdsa-p256";
  readonly spki: Uint8Array;
  readonly hpke: string;
  readonly opening: string;
  readonly size: number;
  readonly head: string;
  readonly range: Uint8Array;
  readonly note: string | null;
  readonly receipt: number | null;
  readonly received_at: number;
  readonly enrolment: number;
  readonly revocation: number | null;
  readonly owed: string;
  readonly cutoff: number | null;
}

export interface EventSqlRow {
  readonly position: number;
  readonly device: string;
  readonly incarnation: string;
  readonly leaf_index: number;
  readonly scope: string;
  readonly header: string;
  readonly frames: Uint8Array;
}

export interface AccessChangeSqlRow {
  readonly device: string;
  readonly position: number;
  readonly kind: "granted" | "revoked";
  readonly scopes: string;
  readonly by: string;
  readonly leaf_index: number;
}

/**
 * Bytes of a kept checkpoint that shows more than is here: the shard and the number of the log that it stops, and the
 * shard that it is of, where nobody knows that one.
 */
export function shownName(shard: string, log: number, lost?: string): Bytes {
  return utf8([shard, log, ...(lost === undefined ? [] : [lost])].join("/"));
}

/** Greatest number of a log of that shard that kept checkpoints stop; 0: none. */
export function shownLogIn(rows: readonly { readonly bytes: Uint8Array }[], shard: string): number {
  return rows.reduce((most, { bytes }) => {
    const [of, log] = fromUtf8(bytes).split("/");
    return of === shard ? Math.max(most, Number(log)) : most;
  }, 0);
}

/** Shards that nobody knows, of kept checkpoints that stopped a log of that shard before that one. */
export function lostShardsIn(
  kept: readonly Uint8Array[],
  shard: string,
  before: number,
): ReadonlySet<string> {
  const names = kept.map((bytes) => fromUtf8(bytes).split("/"));
  const answered = names.filter(([of, log]) => of === shard && Number(log) < before);
  return new Set(answered.flatMap(([, , lost]) => (lost === undefined ? [] : [lost])));
}

/** A BLOB in memory of its own: a driver may hand out a view of its own buffer. */
export function owned(bytes: Uint8Array): Bytes {
  return Uint8Array.from(bytes);
}

/** Hashes that lie one after the other. Throws `store_corrupt` when the last one is cut. */
function splitHashes(bytes: Uint8Array): readonly Bytes[] {
  if (bytes.length % hashBytes !== 0) throw new HoldfastError("store_corrupt", { part: "hashes" });
  const all = owned(bytes);
  return Array.from({ length: all.length / hashBytes }, (_, at) =>
    all.slice(at * hashBytes, (at + 1) * hashBytes),
  );
}

/** Leaves as they came: one row for each push, keyed by the index of its first leaf. */
export interface LeavesSqlRow {
  readonly first: number;
  readonly hashes: Uint8Array;
}

/** Leaves [from, to) among rows in order. Throws `proof_source_short`. */
export function leavesIn(
  rows: readonly LeavesSqlRow[],
  from: number,
  to: number,
): readonly Bytes[] {
  const out: Bytes[] = [];
  for (const row of rows) {
    const count = row.hashes.length / hashBytes;
    const start = Math.max(from, row.first);
    if (row.first + count <= start) continue;
    if (start !== from + out.length) break;
    const end = Math.min(to, row.first + count);
    for (let at = start - row.first; at < end - row.first; at++) {
      out.push(owned(row.hashes.subarray(at * hashBytes, (at + 1) * hashBytes)));
    }
  }
  if (out.length !== to - from) throw new HoldfastError("proof_source_short", { from, to });
  return out;
}

export function rangeOf(size: number, hashes: Uint8Array): CompactRange {
  return { size, hashes: splitHashes(hashes) };
}

export function rangeBytes(range: CompactRange): Bytes {
  return concat(...range.hashes);
}

export function deviceOf(row: DeviceSqlRow): DeviceRow {
  return {
    device: row.device,
    role: row.role,
    status: row.status,
    enrolledAt: row.enrolled_at,
    code: row.code ?? undefined,
    binding: row.binding ?? undefined,
  };
}

export function deviceLogOf(row: LogSqlRow): DeviceLogRow {
  return {
    device: row.device,
    incarnation: row.incarnation,
    algorithm: row.algorithm,
    spki: owned(row.spki),
    hpke: row.hpke,
    opening: row.opening,
    size: row.size,
    head: row.head,
    range: rangeOf(row.size, row.range),
    note: row.note ?? undefined,
    receipt: row.receipt ?? undefined,
    receivedAt: row.received_at,
    enrolment: row.enrolment,
    revocation: row.revocation ?? undefined,
    owed: JSON.parse(row.owed) as IndexRanges,
    cutoff: row.cutoff ?? undefined,
  };
}

export function placedEventOf(row: EventSqlRow): PlacedEvent {
  const { position, device, incarnation, leaf_index: index, scope, header, frames } = row;
  return { position, device, incarnation, index, scope, header, frames };
}

export function accessChangeOf(row: AccessChangeSqlRow): AccessChange {
  const { device, position, kind, by, leaf_index: index } = row;
  return { device, position, kind, by, index, scopes: JSON.parse(row.scopes) as readonly string[] };
}
