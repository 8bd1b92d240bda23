/** The log of a store as the verifier reads it: rows as they are stored. */
import type {
  EventRow,
  FrameRow,
  LogSource,
  NoteRow,
  OriginRow,
  StreamRow,
} from "../proof/log-source.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { createSyncRows } from "../sync/sync-rows.ts";

/** Rows as they are stored; after a failure, `lastRead` names the first object that could not be read. */
export function createStoredLog(driver: SqliteDriver): LogSource & { lastRead(): string } {
  let reading = "events";
  const events = driver.prepare(
    `SELECT position, leaf, id, device, incarnations.incarnation AS incarnation, own, sequence,
            type, stream, actor, recorded_at AS recordedAt, header
     FROM events JOIN incarnations ON incarnations.number = events.incarnation
     WHERE position > ? ORDER BY position LIMIT ?`,
  );
  const frames = driver.prepare(
    "SELECT section, key, state, bytes FROM frames WHERE position = ? ORDER BY section",
  );
  const ahead = createFramesAhead(driver);
  const notes = driver.prepare(
    `SELECT size, root, note FROM commits JOIN incarnations
       ON incarnations.number = commits.incarnation
     WHERE device = ? AND incarnations.incarnation = ? AND size > ? ORDER BY size LIMIT ?`,
  );
  const origins = driver.prepare(
    "SELECT device, incarnation, own FROM incarnations ORDER BY number",
  );
  const streams = driver.prepare(
    "SELECT stream, scope, vector, frontier FROM streams WHERE stream > ? ORDER BY stream LIMIT ?",
  );
  /** Reads row by row, so that the first one that cannot be read is named. */
  function nameFirstUnreadable(after: number, limit: number): void {
    for (let position = after; position - after < limit; position++) {
      reading = `event ${position + 1}`;
      if (events.all<EventRow>(position, 1).length === 0) break;
    }
  }
  const sync = createSyncRows(driver, (object) => {
    reading = object;
  });
  return {
    sync,
    lastRead: () => reading,
    origins() {
      reading = "incarnations";
      return origins.all<OriginRow>();
    },
    count() {
      try {
        return driver.prepare("SELECT count(*) AS n FROM events").get<{ n: number }>()?.n ?? 0;
      } catch (error) {
        nameFirstUnreadable(0, Number.MAX_SAFE_INTEGER);
        reading = "table events";
        throw error;
      }
    },
    events(after, limit) {
      try {
        reading = `event ${after + 1}`;
        return events.all<EventRow>(after, limit);
      } catch (error) {
        nameFirstUnreadable(after, limit);
        throw error;
      }
    },
    frames(position) {
      reading = `frames of event ${position}`;
      try {
        return ahead(position);
      } catch (error) {
        for (let at = position; at < position + framesAhead; at++) {
          reading = `frames of event ${at}`;
          frames.all<FrameRow>(at);
        }
        reading = `frames of event ${position}`;
        throw error;
      }
    },
    notes(device, incarnation, after, limit) {
      try {
        reading = `commit after ${after} of ${incarnation}`;
        return notes.all<NoteRow>(device, incarnation, after, limit);
      } catch (error) {
        for (let size = after; ;) {
          reading = `commit after ${size} of ${incarnation}`;
          const next = notes.all<NoteRow>(device, incarnation, size, 1)[0];
          if (next === undefined) throw error;
          size = next.size;
        }
      }
    },
    streams(after, limit) {
      reading = "table streams";
      return streams.all<StreamRow>(after, limit);
    },
  };
}

/** Few: each may have the size of the largest event. */
const framesAhead = 32;

/**
 * The frames of events that are asked for in order, read for several at once (measured: a query for each event was a
 * tenth of a run of verify).
 */
function createFramesAhead(driver: SqliteDriver): (position: number) => readonly FrameRow[] {
  const page = driver.prepare(
    `SELECT position, section, key, state, bytes
     FROM frames WHERE position >= ? AND position < ? ORDER BY position, section`,
  );
  let from = -framesAhead;
  let read: ReadonlyMap<number, readonly FrameRow[]> = new Map();
  return (position) => {
    if (position < from || position >= from + framesAhead) {
      from = -framesAhead;
      const rows = page.all<FrameRow & { readonly position: number }>(
        position,
        position + framesAhead,
      );
      read = Map.groupBy(rows, (row) => row.position);
      from = position;
    }
    return read.get(position) ?? [];
  };
}
