/**
 * Compacting a store while it is used: what is no longer needed is taken away in slices, each a short transaction under
 * the writer's lease, and the pages that it filled are given back to the file system. The log is not touched: headers,
 * leaves, roots, signatures and frames are what they were.
 *
 * | Phase | What a slice does |
 * | --- | --- |
 * | `builds` | rows of builds of read models that nothing is read from |
 * | `snapshots` | snapshots of read models beyond the newest of each stream |
 * | `entries` | archived dead letters and attempts past their retention, as `purge` |
 * | `pages` | free pages at the end of the file (incremental vacuum) |
 * | `told` | the audit event |
 *
 * Where it stands is the row `compact` of the table `store`. A run that was interrupted is gone on with by the next;
 * each slice may be done again. A file that was made without incremental vacuum is not made smaller; `rewrite` writes
 * it anew, once, which keeps every writer waiting.
 */
import type { AuditTrail } from "../audit/audit-log.ts";
import {
  buildsIn,
  type SnapshotPlace,
  thinSnapshots,
  takeFromBuild,
  uselessBuilds,
} from "../projection/leftovers.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Timers } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";
import {
  checkRoom,
  cutOff,
  freeBytesIn,
  freeSomePages,
  isIncremental,
  type Room,
} from "../store/pages.ts";
import type { Writer } from "../store/writer.ts";
import type { Observer } from "../telemetry/observer.ts";
import { pause, type RotationOrder } from "./rotate-keys.ts";

/** What is no longer needed. */
export interface CompactPolicy {
  /** Newest snapshots that stay, of each stream and read model; older moments are then folded from further back. */
  readonly snapshotsKept: number;
  /** How long archived dead letters, and attempts without entries, stay; ms. Default: that of the outbox. */
  readonly retentionMs?: number;
  /** Write the file anew where it was made without incremental vacuum. */
  readonly rewrite: boolean;
}

/** The policy where nothing else is said. */
export const compactPolicyDefault: CompactPolicy = { snapshotsKept: 16, rewrite: false };

/** Phases of a run, in order; `done`: it is over. */
export const compactPhases = ["builds", "snapshots", "entries", "pages", "told", "done"] as const;
/** Phase of a run. */
export type CompactPhase = (typeof compactPhases)[number];

/** What was taken away. */
export interface Compacted {
  /** Builds of read models. */
  readonly builds: number;
  readonly snapshots: number;
  /** Dead letters. */
  readonly letters: number;
}

/** Where a run stands. */
export interface CompactState extends Compacted {
  readonly phase: CompactPhase;
  /** Bytes of the store's files when it began, and when it had freed what it could. */
  readonly bytesBefore: number;
  readonly bytesAfter: number | undefined;
}

interface CompactRow extends CompactState {
  /** Id of the audit event. */
  readonly eventId: string;
  readonly cursor: SnapshotPlace;
}

/** What a run answers. */
export interface CompactReport extends Compacted {
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Bytes in the file that are free and stay there: filled again before it grows. */
  readonly freeBytes: number;
  /** Was an earlier run gone on with? */
  readonly resumed: boolean;
}

/** What compacting an open store stands on. */
export interface CompactDeps {
  readonly writer: Writer;
  readonly timers: Timers;
  readonly observer: Observer;
  readonly audit: AuditTrail;
  readonly session: () => {
    readonly driver: SqliteDriver;
    readonly outbox: { purge(retentionMs?: number): number };
  };
  readonly newId: () => string;
  readonly stopped: () => boolean;
  /** Bytes of the store's files. */
  readonly bytes: () => number;
  readonly room: () => Room;
  readonly onProgress?: ((state: CompactState) => void) | undefined;
}

const rowName = "compact";

function readRow(driver: SqliteDriver): CompactRow | undefined {
  const row = driver
    .prepare("SELECT value FROM store WHERE name = ?")
    .get<{ value: string }>(rowName);
  return row === undefined ? undefined : (JSON.parse(row.value) as CompactRow);
}

function writeRow(driver: SqliteDriver, row: CompactRow): CompactRow {
  driver
    .prepare(
      `INSERT INTO store (name, value) VALUES (?, ?)
       ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    )
    .run(rowName, JSON.stringify(row));
  return row;
}

/**
 * Compacts, going on with a run that was interrupted. Throws `compact_no_room` where the file cannot be written anew,
 * `compact_unfinished` when the store is closed before the end, and what an append throws.
 */
export async function compact(
  deps: CompactDeps,
  policy: CompactPolicy,
  order: RotationOrder,
): Promise<CompactReport> {
  const begun = readRow(deps.session().driver);
  const resumed = begun !== undefined && begun.phase !== "done";
  let row = resumed ? begun : await transact(deps, (driver) => writeRow(driver, freshRow(deps)));
  while (row.phase !== "done") {
    if (deps.stopped()) throw new HoldfastError("compact_unfinished", { phase: row.phase });
    row = await step(deps, policy, order, row);
    deps.onProgress?.(row);
    await pause(deps.timers);
  }
  const { builds, snapshots, letters, bytesBefore, bytesAfter = bytesBefore } = row;
  const freeBytes = freeBytesIn(deps.session().driver);
  return { builds, snapshots, letters, bytesBefore, bytesAfter, freeBytes, resumed };
}

function freshRow({ newId, bytes }: CompactDeps): CompactRow {
  return {
    phase: "builds",
    builds: 0,
    snapshots: 0,
    letters: 0,
    bytesBefore: bytes(),
    bytesAfter: undefined,
    eventId: newId(),
    cursor: { build: 0, stream: "" },
  };
}

/** Runs work with the lease held, in one transaction. Where another process waits for the lease, it gets it now. */
async function transact<T>(
  { writer, session, timers }: CompactDeps,
  work: (driver: SqliteDriver, outbox: ReturnType<CompactDeps["session"]>["outbox"]) => T,
): Promise<T> {
  const { wanted, result } = await writer.exclusively(({ driver, lease }, token, tenure) => {
    const done = inTransaction(driver, () => {
      const held = lease.assertHeld(token);
      return { wanted: held.wanted, result: work(driver, session().outbox) };
    });
    if (done.wanted) tenure.forget();
    return done;
  });
  if (wanted) {
    await new Promise<void>((resolve) => timers.after(limits.compactGiveWayMs, resolve, false));
  }
  return result;
}

async function step(
  deps: CompactDeps,
  policy: CompactPolicy,
  order: RotationOrder,
  row: CompactRow,
): Promise<CompactRow> {
  switch (row.phase) {
    case "builds":
      return transact(deps, (driver) => {
        const [useless] = uselessBuilds(buildsIn(driver));
        if (useless === undefined) return writeRow(driver, { ...row, phase: "snapshots" });
        const isGone = takeFromBuild(driver, useless, limits.compactRowsPerSlice);
        return isGone ? writeRow(driver, { ...row, builds: row.builds + 1 }) : row;
      });
    case "snapshots":
      return transact(deps, (driver) => {
        const { snapshotsKept } = policy;
        const { compactStreamsPerSlice } = limits;
        const thinned = thinSnapshots(driver, row.cursor, snapshotsKept, compactStreamsPerSlice);
        const { removed, next } = thinned;
        const snapshots = row.snapshots + removed;
        return writeRow(driver, {
          ...row,
          snapshots,
          ...(next === undefined ? { phase: "entries" } : { cursor: next }),
        });
      });
    case "entries":
      return transact(deps, (driver, outbox) => {
        const letters = row.letters + outbox.purge(policy.retentionMs);
        return writeRow(driver, { ...row, letters, phase: "pages" });
      });
    case "pages":
      return freePages(deps, policy, row);
    case "told":
      await tell(deps, order, row);
      return transact(deps, (driver) => writeRow(driver, { ...row, phase: "done" }));
    case "done":
      return row;
    default:
      return row.phase satisfies never;
  }
}

async function freePages(
  deps: CompactDeps,
  policy: CompactPolicy,
  row: CompactRow,
): Promise<CompactRow> {
  const { driver } = deps.session();
  if (policy.rewrite && !isIncremental(driver)) await rewrite(deps);
  const hasMore = isIncremental(driver) && (await transact(deps, freeSomePages));
  if (hasMore) return row;
  // What is in the write-ahead log has not made the file smaller yet.
  await deps.writer.exclusively((session) => cutOff(session.driver));
  return transact(deps, (held) => {
    return writeRow(held, { ...row, bytesAfter: deps.bytes(), phase: "told" });
  });
}

/**
 * Writes the file anew, with incremental vacuum from then on. One transaction of SQLite's own: a crash leaves the old
 * file or the new one. The copy is in memory, as all that SQLite keeps aside (`temp_store`): never in the open on disk.
 */
async function rewrite(deps: CompactDeps): Promise<void> {
  await deps.writer.exclusively(({ driver, lease }, token) => {
    checkRoom(driver, deps.room());
    inTransaction(driver, () => lease.assertHeld(token));
    driver.exec("PRAGMA auto_vacuum = INCREMENTAL; VACUUM;");
  });
}

async function tell(
  { session, audit, observer }: CompactDeps,
  order: RotationOrder,
  row: CompactRow,
): Promise<void> {
  const { builds, snapshots, letters, bytesBefore, bytesAfter = bytesBefore, eventId } = row;
  const told = session().driver.prepare("SELECT 1 FROM events WHERE id = ?").get(eventId);
  if (told !== undefined) return;
  const facts = {
    bytes_before: bytesBefore,
    bytes_after: bytesAfter,
    builds,
    snapshots,
    letters,
  };
  await audit.record({ kind: "StoreCompacted", id: eventId, facts, ...order });
  observer.gauge("compact_freed_bytes", Math.max(0, bytesBefore - bytesAfter));
  observer.log("info", "store_compacted", { bytes: Math.max(0, bytesBefore - bytesAfter) });
}
