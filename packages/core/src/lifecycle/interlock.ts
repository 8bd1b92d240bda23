/**
 * What stands between a person and the destruction of events that exist nowhere else.
 *
 * A destructive act (restoring over a store, erasing one) takes a {@link Release}. There are two kinds, and only their
 * verification makes them: a drain proof, which is a receipt of the server at the full size of every own log with
 * nothing owed; and a rescue bundle, whose content was verified to hold every event that was not delivered. The type
 * has a brand that no other module can write, and at run time an object counts only if it was made here.
 *
 * A release speaks of one state of one store: its own logs with their sizes and roots. The act compares them with the
 * store again, under its lease, and is refused when anything was recorded since, or when the receipts that proved it are
 * of a server log whose end a restored server has lost.
 */
import { auditKinds, isAuditType } from "../audit/audit-events.ts";
import { incarnationOpenedType } from "../event/system.ts";
import type { Keyring } from "../keys/keyring.ts";
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import type { SyncRows } from "../proof/log-source.ts";
import { noteDigest } from "../proof/server-leaf.ts";
import { type ServerLogWalk, walkServerLog } from "../proof/verify-server-log.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { Crypto } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { createSyncRows } from "../sync/sync-rows.ts";
import { logsOf } from "./back-up.ts";
import type { BackedUpLog } from "./manifest.ts";

declare const verified: unique symbol;

/** What {@link proveDrained} or the verification of a rescue bundle has made; see the module header. */
export interface Release<Kind extends "drained" | "rescued" = "drained" | "rescued"> {
  readonly [verified]: Kind;
  readonly kind: Kind;
  readonly store: string;
  /** Own logs, each at the size and root that it spoke of. */
  readonly logs: readonly BackedUpLog[];
}

/** Every own event is with the server: receipts at full size, nothing owed. */
export type DrainProof = Release<"drained">;
/** Every own event that is not with the server is in a bundle that was read back. */
export type RescueProof = Release<"rescued">;

/** Ports of the interlock. */
export interface InterlockDeps {
  readonly crypto: Crypto;
  readonly driver: SqliteDriver;
  readonly keyring: Pick<Keyring, "storeId" | "tenant">;
}

const made = new WeakSet<object>();

/** For the modules that verify, and for nobody else. */
export function makeRelease<Kind extends "drained" | "rescued">(
  kind: Kind,
  deps: InterlockDeps,
): Release<Kind> {
  const release = { kind, store: deps.keyring.storeId, logs: ownLogs(deps.driver) };
  made.add(release);
  return Object.freeze(release) as Release<Kind>;
}

function ownLogs(driver: SqliteDriver): readonly BackedUpLog[] {
  return logsOf(driver).filter(({ own }) => own);
}

/** What asking for a drain proof answers. */
export type DrainAnswer =
  | { readonly status: "drained"; readonly proof: DrainProof }
  /** `logs`: the own logs that the server does not hold in full, as incarnations. */
  | {
      readonly status: "undrained";
      readonly undelivered: number;
      readonly logs: readonly string[];
    };

/**
 * Does the server hold every own event? Receipts are verified from what is stored: the signature of their checkpoint by
 * the pinned key, their place in the server log, and that they speak of exactly the log that is here.
 */
export function proveDrained(deps: InterlockDeps): DrainAnswer {
  const { driver } = deps;
  const count = undeliveredCount(driver);
  const sync = createSyncRows(driver, () => undefined);
  // A checkpoint that does not fit proves nothing; whoever wants to know what is wrong runs verify.
  const serverLog = walkServerLog(deps.crypto, sync, () => undefined);
  const open = ownLogs(driver).filter((log) => !isDrained(deps, sync, serverLog, log));
  if (open.length > 0 || count > 0) {
    return {
      status: "undrained",
      undelivered: count,
      logs: open.map(({ incarnation }) => incarnation),
    };
  }
  return { status: "drained", proof: makeRelease("drained", deps) };
}

function isDrained(
  { crypto, driver, keyring }: InterlockDeps,
  sync: SyncRows,
  serverLog: ServerLogWalk,
  log: BackedUpLog,
): boolean {
  const { device, incarnation } = log;
  const origin = deviceLogOrigin({ tenant: keyring.tenant, device, incarnation });
  const note = noteAt(driver, log);
  return sync.serverLeaves(device, incarnation).some((row) => {
    if (row.kind !== "receipt" || row.size !== log.size || note === undefined) return false;
    // What a restored server does not know any more proves nothing of what it holds.
    if (serverLog.isLost(row)) return false;
    const statement = serverLog.statement(row, "");
    return (
      statement?.origin === origin &&
      statement.root === log.root &&
      statement.note === noteDigest(crypto, note) &&
      Array.isArray(statement.owed) &&
      statement.owed.length === 0
    );
  });
}

/** Text of the newest note of an own log. */
export function noteAt(driver: SqliteDriver, log: BackedUpLog): string | undefined {
  return driver
    .prepare(
      `SELECT note FROM commits JOIN incarnations ON incarnations.number = commits.incarnation
       WHERE device = ? AND incarnations.incarnation = ? AND size = ?`,
    )
    .get<{ note: string }>(log.device, log.incarnation, log.size)?.note;
}

const undelivered = `position IN (SELECT position FROM outbox)
  OR position IN (SELECT position FROM dead_letters WHERE purged_at IS NOT NULL)`;

/** How many own events no server has acknowledged. */
export function undeliveredCount(driver: SqliteDriver): number {
  const row = driver.prepare(`SELECT count(*) AS n FROM events WHERE ${undelivered}`);
  return row.get<{ n: number }>()?.n ?? 0;
}

/** Positions of own events that no server has acknowledged, in order; purged dead letters among them. */
export function undeliveredPositions(
  driver: SqliteDriver,
  after: number,
  limit: number,
): readonly number[] {
  return driver
    .prepare(
      `SELECT position FROM events WHERE position > ? AND (${undelivered})
       ORDER BY position LIMIT ?`,
    )
    .all<{ position: number }>(after, limit)
    .map(({ position }) => position);
}

/**
 * The run-time half, in the act itself: throws `interlock_unproven` for anything that verification has not made, and
 * `interlock_stale` for a release of another store or state.
 */
export function assertRelease(deps: InterlockDeps, release: Release): void {
  if (typeof release !== "object" || release === null || !made.has(release)) {
    throw new HoldfastError("interlock_unproven");
  }
  const now = ownLogs(deps.driver);
  const same =
    release.store === deps.keyring.storeId && canonicalJson(release.logs) === canonicalJson(now);
  // A server that was put back to an older copy has taken back what it had receipted.
  const holds = release.kind === "rescued" || proveDrained(deps).status === "drained";
  if (!same || !holds) throw new HoldfastError("interlock_stale");
}

/**
 * For an act that first records itself, and may have been interrupted since: the own logs go on from where a release
 * saw them, and what came since is the store's own audit trail, which whoever calls has kept. Throws
 * `interlock_stale`.
 */
export function assertOnlyTrailSince(driver: SqliteDriver, released: readonly BackedUpLog[]): void {
  const noteOf = driver.prepare(
    `SELECT root FROM commits JOIN incarnations ON incarnations.number = commits.incarnation
     WHERE device = ? AND incarnations.incarnation = ? AND size = ?`,
  );
  const typesSince = driver.prepare(
    `SELECT DISTINCT type FROM events JOIN incarnations ON incarnations.number = events.incarnation
     WHERE device = ? AND incarnations.incarnation = ? AND sequence > ?`,
  );
  const stale = new HoldfastError("interlock_stale");
  for (const { device, incarnation, size, root } of released) {
    const now = size === 0 ? "" : noteOf.get<{ root: string }>(device, incarnation, size)?.root;
    if (now !== root) throw stale;
  }
  for (const { device, incarnation } of ownLogs(driver)) {
    const before = released.find((log) => log.incarnation === incarnation && log.device === device);
    const since = typesSince.all<{ type: string }>(device, incarnation, before?.size ?? 0);
    const isTrail = since.every(({ type }) => isAuditType(type) || type === incarnationOpenedType);
    if (!isTrail) throw stale;
  }
}

/**
 * How many data keys of delivered events this device alone holds: none was granted to another installation, or came
 * from one. What a server has under them is custody of bytes that nobody opens once this device is gone. Those of the
 * audit trail are not counted.
 */
export function keysHeldAlone(driver: SqliteDriver): number {
  const row = driver
    .prepare(
      `SELECT count(DISTINCT frames.key) AS n FROM frames
       JOIN events ON events.position = frames.position
       JOIN incarnations ON incarnations.number = events.incarnation
       WHERE own = 1 AND state = 'present' AND type NOT IN (SELECT value FROM json_each(?))
         AND frames.position NOT IN (SELECT position FROM outbox)
         AND frames.position NOT IN (
           SELECT position FROM dead_letters WHERE purged_at IS NOT NULL)
         AND frames.key NOT IN (SELECT key FROM grants WHERE state IN ('sent', 'received'))`,
    )
    .get<{ n: number }>(JSON.stringify(auditKinds));
  return row?.n ?? 0;
}
