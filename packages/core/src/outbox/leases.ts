/**
 * Leases of outbox entries: rows `outbox/<worker>` of the table `leases`, and the token on each leased entry.
 *
 * Tokens rise over all workers, so that the later holder of an entry always has the higher one. A lease ends by
 * release, by force, by its worker leasing again, or by expiry; expiry alone takes nothing away: a late worker
 * may still renew until somebody takes its entries over. Whoever settles checks its token in that transaction.
 *
 * A heartbeat far in the future counts as expired: the clock went back, and the worker that wrote it would
 * otherwise hold its entries for as long.
 */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { OutboxPolicy } from "./policy.ts";

/** Facts that a worker leaves with its lease, for operators: identifiers and counts. */
export type LeaseMetadata = Readonly<Record<string, string | number>>;

/** A lease that ended because somebody else leased: its entries waited again from then on. */
export interface TakenOver {
  readonly worker: string;
  readonly token: number;
  readonly entries: number;
}

/** One lease as operators see it. */
export interface OutboxLeaseRow {
  /** `outbox/<worker>` */
  readonly name: string;
  /** `undefined`: it was released. */
  readonly holder: string | undefined;
  readonly token: number;
  readonly acquiredAt: number;
  readonly heartbeatAt: number;
  readonly expiresAt: number;
  readonly expired: boolean;
  readonly entries: number;
  readonly metadata: LeaseMetadata;
  /** Who released it by force, and why. */
  readonly released: ForcedRelease | undefined;
}

/** On whose authority a lease ends before its time, and why. */
export interface ForcedRelease {
  readonly actor: string;
  readonly reason: string;
}

interface LeaseRow {
  readonly name: string;
  readonly token: number;
  readonly holder: string | null;
  readonly acquired_at: number;
  readonly heartbeat_at: number;
  readonly expires_at: number;
  readonly metadata: string | null;
}

const prefix = "outbox/";

export interface OutboxLeases {
  /** Ends leases that expired, and an earlier one of this worker. */
  takeOver(worker: string, now: number): readonly TakenOver[];
  /** Enters a lease and returns its token. */
  enter(worker: string, metadata: LeaseMetadata | undefined, now: number): number;
  renew(token: number): void;
  assertHeld(token: number): void;
  release(token: number): void;
  force(worker: string, release: ForcedRelease): void;
  rows(): readonly OutboxLeaseRow[];
  /** When the first lease with entries expires. */
  nextExpiry(): number | undefined;
  /** Removes what is left of forced releases before that time. */
  forgetBefore(time: number): void;
}

/** Ports of the leases. */
export interface OutboxLeasesDeps {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policy: OutboxPolicy;
}

export function createOutboxLeases(deps: OutboxLeasesDeps): OutboxLeases {
  const { clock, observer, policy } = deps;
  const statements = prepareStatements(deps.driver);

  const isExpired = (row: LeaseRow, now: number): boolean =>
    now >= row.expires_at || row.heartbeat_at > now + policy.leaseExpiryMs;

  function heldRows(): readonly LeaseRow[] {
    return statements.held.all<LeaseRow>();
  }

  /** Gives the entries back and ends the attempts that were under way. */
  function end(row: LeaseRow, now: number, code: string): number {
    const entries = statements.freeEntries.run(row.token);
    statements.loseAttempts.run(now, code, row.token);
    statements.free.run(row.token);
    return entries;
  }

  function report(): void {
    observer.gauge("outbox_active_leases", heldRows().length);
  }

  function takeOver(worker: string, now: number): readonly TakenOver[] {
    const tookOver: TakenOver[] = [];
    for (const row of heldRows()) {
      const own = row.holder === worker;
      if (!own && !isExpired(row, now)) continue;
      const entries = end(row, now, own ? "outbox_lease_superseded" : "outbox_lease_taken_over");
      if (own) continue;
      tookOver.push({ worker: row.holder as string, token: row.token, entries });
      observer.count("outbox_takeovers", 1, { reason: "expired" });
      observer.log("warn", "outbox_lease_taken_over", { token: row.token, entries });
    }
    return tookOver;
  }

  function enter(worker: string, metadata: LeaseMetadata | undefined, now: number): number {
    const token = (statements.lastToken.get<{ value: number | null }>()?.value ?? 0) + 1;
    const kept = metadata === undefined ? null : JSON.stringify(metadata);
    const expires = now + policy.leaseExpiryMs;
    statements.enter.run(prefix + worker, token, worker, now, now, expires, kept);
    // Rows of workers that are gone; the new row carries the highest token on.
    statements.forgetFreed.run();
    report();
    return token;
  }

  function heldRow(token: number): LeaseRow {
    const row = statements.byToken.get<LeaseRow>(token);
    if (row === undefined || row.holder === null) {
      throw new HoldfastError("outbox_lease_lost", { token });
    }
    return row;
  }

  function force(worker: string, release: ForcedRelease): void {
    if (!isSaid(release.reason) || !isSaid(release.actor)) {
      throw new HoldfastError("outbox_reason_missing");
    }
    const row = heldRows().find(({ holder }) => holder === worker);
    if (row === undefined) throw new HoldfastError("outbox_lease_lost", { token: 0 });
    const now = clock.now();
    const entries = end(row, now, "outbox_lease_forced");
    const { actor, reason } = release;
    const metadata = { ...metadataOf(row).metadata, released_by: actor, release_reason: reason };
    statements.annotate.run(JSON.stringify(metadata), now, row.token);
    observer.count("outbox_takeovers", 1, { reason: "forced" });
    observer.log("warn", "outbox_lease_forced", { token: row.token, entries });
    report();
  }

  return {
    takeOver,
    enter,
    renew(token) {
      heldRow(token);
      const now = clock.now();
      statements.renew.run(now, now + policy.leaseExpiryMs, token);
    },
    assertHeld(token) {
      heldRow(token);
    },
    release(token) {
      const row = statements.byToken.get<LeaseRow>(token);
      if (row === undefined || row.holder === null) return;
      end(row, clock.now(), "outbox_lease_released");
      report();
    },
    force,
    rows: () =>
      statements.all
        .all<LeaseRow & { entries: number }>()
        .map((row) => viewOf(row, isExpired(row, clock.now()))),
    nextExpiry() {
      const now = clock.now();
      const times = statements.holding
        .all<LeaseRow>()
        .map((row) => (isExpired(row, now) ? now : row.expires_at));
      return times.length === 0 ? undefined : Math.min(...times);
    },
    forgetBefore(time) {
      statements.forgetForced.run(time);
    },
  };
}

function isSaid(text: unknown): boolean {
  return (
    typeof text === "string" &&
    text.trim() !== "" &&
    text.length <= limits.deadLetterMessageCharactersMax
  );
}

function metadataOf(row: LeaseRow): {
  readonly metadata: LeaseMetadata;
  readonly released: ForcedRelease | undefined;
} {
  const kept = JSON.parse(row.metadata ?? "{}") as Record<string, string | number>;
  const { released_by: actor, release_reason: reason, ...metadata } = kept;
  if (row.holder !== null || actor === undefined) return { metadata: kept, released: undefined };
  return { metadata, released: { actor: String(actor), reason: String(reason) } };
}

function viewOf(row: LeaseRow & { readonly entries: number }, expired: boolean): OutboxLeaseRow {
  return {
    name: row.name,
    holder: row.holder ?? undefined,
    token: row.token,
    acquiredAt: row.acquired_at,
    heartbeatAt: row.heartbeat_at,
    expiresAt: row.expires_at,
    expired: row.holder !== null && expired,
    entries: row.entries,
    ...metadataOf(row),
  };
}

function prepareStatements(driver: SqliteDriver) {
  const columns = "name, token, holder, acquired_at, heartbeat_at, expires_at, metadata";
  const ours = `name GLOB '${prefix}*'`;
  return {
    held: driver.prepare(
      `SELECT ${columns} FROM leases WHERE ${ours} AND holder IS NOT NULL ORDER BY token`,
    ),
    holding: driver.prepare(
      `SELECT ${columns} FROM leases WHERE ${ours} AND holder IS NOT NULL
         AND EXISTS (SELECT 1 FROM outbox WHERE outbox.token = leases.token)`,
    ),
    all: driver.prepare(
      `SELECT ${columns}, (SELECT count(*) FROM outbox WHERE outbox.token = leases.token) AS entries
       FROM leases WHERE ${ours} ORDER BY token`,
    ),
    byToken: driver.prepare(`SELECT ${columns} FROM leases WHERE ${ours} AND token = ?`),
    lastToken: driver.prepare(`SELECT max(token) AS value FROM leases WHERE ${ours}`),
    enter: driver.prepare(
      `INSERT INTO leases (name, token, holder, acquired_at, heartbeat_at, expires_at, metadata)
       VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET token = excluded.token, holder = excluded.holder,
         acquired_at = excluded.acquired_at, heartbeat_at = excluded.heartbeat_at,
         expires_at = excluded.expires_at, wanted_at = NULL, metadata = excluded.metadata`,
    ),
    renew: driver.prepare(
      `UPDATE leases SET heartbeat_at = ?, expires_at = ? WHERE ${ours} AND token = ?`,
    ),
    free: driver.prepare(`UPDATE leases SET holder = NULL WHERE ${ours} AND token = ?`),
    annotate: driver.prepare(
      `UPDATE leases SET metadata = ?, heartbeat_at = ? WHERE ${ours} AND token = ?`,
    ),
    forgetFreed: driver.prepare(
      `DELETE FROM leases WHERE ${ours} AND holder IS NULL
         AND json_extract(coalesce(metadata, '{}'), '$.released_by') IS NULL`,
    ),
    forgetForced: driver.prepare(
      `DELETE FROM leases WHERE ${ours} AND holder IS NULL AND heartbeat_at < ?
         AND token < (SELECT max(token) FROM leases WHERE ${ours})`,
    ),
    freeEntries: driver.prepare(
      "UPDATE outbox SET state = 'waiting', token = NULL WHERE token = ?",
    ),
    loseAttempts: driver.prepare(
      `UPDATE attempts SET ended_at = ?, result = 'lost', code = ?
       WHERE token = ? AND ended_at IS NULL`,
    ),
  };
}
