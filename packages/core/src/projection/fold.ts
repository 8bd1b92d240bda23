/**
 * Folding streams: onto the stored state, or anew from the last snapshot before the place where an event came
 * in.
 *
 * A snapshot is the state after the first events of a stream in canonical order, together with the position
 * of the last of them and the greatest recordedAt so far. It holds as long as nothing is inserted before its
 * end; what an insertion makes untrue is deleted. In canonical order the greatest recordedAt so far never
 * decreases, so "as of T" is a prefix as well (spec/event.md, "Canonical order").
 */
import { canonicalOrder } from "../event/canonical-order.ts";
import type { RecordedEvent } from "../event/event.ts";
import { limits } from "../std/limits.ts";
import type { StoredEvent } from "../store/event-log.ts";
import { headerOf, type SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { Moment, Projection } from "./projection.ts";

/** A fold under way. */
export interface FoldPoint {
  readonly state: unknown;
  /** Events of the stream so far, folded or not of the projection's types. */
  readonly folded: number;
  readonly position: number;
  /** Greatest recordedAt so far. */
  readonly recorded: number;
}

/** Before the first event. */
export const foldStart: FoldPoint = { state: undefined, folded: 0, position: 0, recorded: 0 };

/** What became of a fold: where it ended, and the event that the projection refused, if any. */
export interface FoldOutcome {
  readonly point: FoldPoint;
  readonly refusedAt: number | undefined;
  /** An event of the projection's types that the registry does not know (yet), or that does not open. */
  readonly incomplete: boolean;
}

const absent: ReadonlySet<RecordedEvent["content"]> = new Set([
  "closed",
  "unopened",
  "owed",
  "shredded",
  "evicted",
]);

/** Folds events in the order given. */
export function foldEvents(
  projection: Pick<Projection, "fold" | "types">,
  from: FoldPoint,
  events: readonly RecordedEvent[],
  each?: (point: FoldPoint) => void,
): FoldOutcome {
  let point = from;
  let incomplete = false;
  for (const event of events) {
    let { state } = point;
    // Content that is not here is passed over; a closed event is folded when its key has come.
    if (projection.types.includes(event.type) && event.content === "unopened") incomplete = true;
    if (projection.types.includes(event.type) && !absent.has(event.content)) {
      if (event.known) {
        try {
          state = projection.fold(state, event);
        } catch {
          return { point, refusedAt: event.position, incomplete };
        }
      } else incomplete = true;
    }
    point = {
      state,
      folded: point.folded + 1,
      position: Math.max(point.position, event.position),
      recorded: Math.max(point.recorded, event.recordedAt),
    };
    each?.(point);
  }
  return { point, refusedAt: undefined, incomplete };
}

/** Snapshots of one build of a read model. */
export interface Snapshots {
  put(stream: string, point: FoldPoint): void;
  /** The last snapshot within the first `folded` events, up to a position, up to a recordedAt. */
  before(stream: string, bounds: SnapshotBounds): FoldPoint;
  /** Deletes what no longer holds: snapshots that reach beyond the first `folded` events. */
  cutAfter(stream: string, folded: number): void;
  drop(): void;
}

export interface SnapshotBounds {
  readonly folded?: number;
  readonly position?: number;
  readonly recorded?: number;
}

interface SnapshotRow {
  readonly state: string | null;
  readonly folded: number;
  readonly position: number;
  readonly recorded: number;
}

export function createSnapshots(driver: SqliteDriver, build: number): Snapshots {
  const insert = driver.prepare(
    `INSERT OR REPLACE INTO snapshots (build, stream, folded, position, recorded, state)
     VALUES (?, ?, ?, ?, ?, ?)`,
  );
  const select = driver.prepare(
    `SELECT folded, position, recorded, state FROM snapshots
     WHERE build = ? AND stream = ? AND folded <= ? AND position <= ? AND recorded <= ?
     ORDER BY folded DESC LIMIT 1`,
  );
  const cut = driver.prepare("DELETE FROM snapshots WHERE build = ? AND stream = ? AND folded > ?");
  const count = driver.prepare(
    "SELECT count(*) AS value FROM snapshots WHERE build = ? AND stream = ?",
  );
  const thin = driver.prepare(
    `DELETE FROM snapshots WHERE build = ? AND stream = ? AND folded IN (
       SELECT folded FROM (
         SELECT folded, row_number() OVER (ORDER BY folded) AS nth FROM snapshots
         WHERE build = ? AND stream = ?)
       WHERE nth % 2 = 0 AND nth <= ?)`,
  );
  return {
    put(stream, { folded, position, recorded, state }) {
      const text = state === undefined ? null : JSON.stringify(state);
      insert.run(build, stream, folded, position, recorded, text);
      const kept = count.get<{ value: number }>(build, stream)?.value ?? 0;
      if (kept <= limits.snapshotsPerStreamMax) return;
      // Every second one of the older half: the further back, the longer the way from one to the next.
      thin.run(build, stream, build, stream, Math.floor(kept / 2));
    },
    before(stream, bounds) {
      const max = Number.MAX_SAFE_INTEGER;
      const { folded = max, position = max, recorded = max } = bounds;
      const row = select.get<SnapshotRow>(build, stream, folded, position, recorded);
      if (row === undefined) return foldStart;
      return { ...row, state: row.state === null ? undefined : (JSON.parse(row.state) as unknown) };
    },
    cutAfter(stream, folded) {
      cut.run(build, stream, folded);
    },
    drop() {
      driver.prepare("DELETE FROM snapshots WHERE build = ?").run(build);
    },
  };
}

/** Everything that folding a stream needs. */
export interface StreamReader {
  readonly log: SqliteEventLog;
  readonly open: (stored: StoredEvent) => RecordedEvent;
}

/** The events of a stream behind a position, in canonical order, opened. */
function eventsAfter(
  reader: StreamReader,
  stream: string,
  position: number,
): readonly RecordedEvent[] {
  return inCanonicalOrder(readAll(reader.log, stream, position)).map((stored) =>
    reader.open(stored),
  );
}

/** Stored events in canonical order; edges to events that are not among them count as met. */
export function inCanonicalOrder(events: readonly StoredEvent[]): readonly StoredEvent[] {
  const headed = events.map((stored) => ({ stored, header: headerOf(stored) }));
  return canonicalOrder(headed).map(({ stored }) => stored);
}

/** All events of a stream behind a position, page by page. */
export function readAll(
  log: SqliteEventLog,
  stream: string,
  position: number,
): readonly StoredEvent[] {
  const events: StoredEvent[] = [];
  for (let after = position; ;) {
    const page = log.read({ stream, after, limit: limits.queryRowsDefault });
    events.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < limits.queryRowsDefault) return events;
    after = last.position;
  }
}

/** The state of one stream at a moment. `undefined`: no row then. */
export function stateAsOf(
  reader: StreamReader,
  projection: Projection,
  snapshots: Snapshots,
  stream: string,
  moment: Moment,
): unknown {
  if ("occurred" in moment) {
    const events = eventsAfter(reader, stream, 0).filter(
      (event) => (event.occurredAt ?? event.recordedAt) <= moment.occurred,
    );
    return foldEvents(projection, foldStart, events).point.state;
  }
  const reorderedAt = reader.log.streams.get(stream)?.reorderedAt ?? 0;
  if ("recorded" in moment) {
    const from = snapshots.before(stream, { recorded: moment.recorded });
    const ordered =
      reorderedAt > from.position
        ? inCanonicalOrder(readAll(reader.log, stream, from.position))
        : readInOrder(reader.log, stream, from.position);
    return foldWhile(reader, projection, from, ordered, (recorded) => recorded <= moment.recorded);
  }
  const { position } = moment;
  if (reorderedAt === 0) {
    const from = snapshots.before(stream, { position });
    const ordered = readInOrder(reader.log, stream, from.position);
    return foldWhile(reader, projection, from, ordered, (_, at) => at <= position);
  }
  const held = readAll(reader.log, stream, 0).filter((stored) => stored.position <= position);
  return foldWhile(reader, projection, foldStart, inCanonicalOrder(held), () => true);
}

/** Goes on from a point as long as the greatest recordedAt so far and the position allow it. */
function foldWhile(
  reader: StreamReader,
  projection: Projection,
  from: FoldPoint,
  ordered: Iterable<StoredEvent>,
  allowed: (recorded: number, position: number) => boolean,
): unknown {
  const events: RecordedEvent[] = [];
  let { recorded } = from;
  for (const stored of ordered) {
    recorded = Math.max(recorded, headerOf(stored).at);
    if (!allowed(recorded, stored.position)) break;
    events.push(reader.open(stored));
  }
  return foldEvents(projection, from, events).point.state;
}

/** The events of a stream whose arrivals all came last: by position, a few at a time. */
function* readInOrder(
  log: SqliteEventLog,
  stream: string,
  position: number,
): Generator<StoredEvent, void, undefined> {
  for (let after = position; ;) {
    const page = log.read({ stream, after, limit: limits.snapshotEvery });
    yield* page;
    const last = page.at(-1);
    if (last === undefined || page.length < limits.snapshotEvery) return;
    after = last.position;
  }
}
