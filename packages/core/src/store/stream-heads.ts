/**
 * Where each stream stands: its scope, what every device log added to it (`vector`), and the events that no
 * other event has in its past (`frontier`). Derived from the headers; kept in a table so that an append reads
 * one row.
 */
import { type CausalEvent, createCausalHistory, frontierOf } from "../event/causal-history.ts";
import { type Header, originKey, type VersionVector } from "../event/event.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

/** What is known of a stream without reading its events. */
export interface StreamHead {
  readonly scope: string;
  readonly vector: VersionVector;
  readonly frontier: VersionVector;
  /** Greatest recordedAt of its events. */
  readonly recorded: number;
  /**
   * Position of the last event that may not have come last in canonical order, as while causes are missing;
   * 0 when each came last.
   */
  readonly reorderedAt: number;
  /** Events that others name as their causes and that have not arrived. */
  readonly ahead: VersionVector;
}

/** Does everything that the stream held before lie in this event's past? */
export function comesLast(header: Header, frontier: VersionVector): boolean {
  const own = originKey(header.dev, header.inc);
  return Object.entries(frontier).every(
    ([origin, count]) => origin === own || (header.vv?.[origin] ?? 0) >= count,
  );
}

/**
 * The head after one more event of the stream. `headers` reads all headers of the stream, this one among
 * them: asked for only when a cause arrives behind its effect.
 */
export function advanceHead(
  before: StreamHead | undefined,
  header: Header,
  position: number,
  headers: () => readonly CausalEvent[],
): StreamHead {
  const origin = originKey(header.dev, header.inc);
  const frontier = before?.frontier ?? {};
  const last = comesLast(header, frontier);
  // Named by an effect that is here, or overtaken by a later event of its own log.
  const known = Math.max(before?.ahead[origin] ?? 0, before?.vector[origin] ?? 0);
  const isLateCause = known >= header.sseq;
  const seen = header.vv ?? {};
  const kept = Object.entries(frontier).filter(
    ([other, count]) => other !== origin && (seen[other] ?? 0) < count,
  );
  const vector = {
    ...before?.vector,
    [origin]: Math.max(before?.vector[origin] ?? 0, header.sseq),
  };
  const ahead = Object.entries({ ...before?.ahead, ...seen }).flatMap(([other]) => {
    const named = Math.max(before?.ahead[other] ?? 0, seen[other] ?? 0);
    return named > (vector[other] ?? 0) ? [[other, named] as const] : [];
  });
  // Order comes from the events that are here: while causes are missing, so are paths through them.
  const isWhole = Object.keys(ahead).length === 0;
  return {
    scope: before?.scope ?? header.scope,
    vector,
    frontier: isLateCause
      ? frontierOf(createCausalHistory(headers()))
      : { ...Object.fromEntries(kept), [origin]: header.sseq },
    recorded: Math.max(before?.recorded ?? 0, header.at),
    reorderedAt: last && !isLateCause && isWhole ? (before?.reorderedAt ?? 0) : position,
    ahead: Object.fromEntries(ahead),
  };
}

/** Events that a stream had in all as far as is known here: at least as many as this store holds. */
export function eventsOf(head: StreamHead | undefined): number {
  return Object.values(head?.vector ?? {}).reduce((sum, count) => sum + count, 0);
}

interface HeadRow {
  readonly scope: string;
  readonly vector: string;
  readonly frontier: string;
  readonly recorded: number;
  readonly reordered_at: number;
  readonly ahead: string;
}

export interface StreamHeads {
  get(stream: string): StreamHead | undefined;
  put(stream: string, head: StreamHead): void;
  hasScope(scope: string): boolean;
  /** Streams that several device logs added to, in order, after that one. */
  shared(after: string, limit: number): readonly string[];
}

const none: VersionVector = {};

/** Reads and writes heads inside the caller's transaction. */
export function createStreamHeads(driver: SqliteDriver): StreamHeads {
  const select = driver.prepare(
    "SELECT scope, vector, frontier, recorded, reordered_at, ahead FROM streams WHERE stream = ?",
  );
  const upsert = driver.prepare(
    `INSERT INTO streams (stream, scope, vector, frontier, recorded, reordered_at, ahead, devices)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (stream) DO UPDATE SET vector = excluded.vector, frontier = excluded.frontier,
       recorded = excluded.recorded, reordered_at = excluded.reordered_at, ahead = excluded.ahead,
       devices = excluded.devices`,
  );
  const shared = driver.prepare(
    "SELECT stream FROM streams WHERE devices > 1 AND stream > ? ORDER BY stream LIMIT ?",
  );
  const scope = driver.prepare("SELECT 1 AS found FROM streams WHERE scope = ? LIMIT 1");
  return {
    get(stream) {
      const row = select.get<HeadRow>(stream);
      return row === undefined
        ? undefined
        : {
            scope: row.scope,
            vector: JSON.parse(row.vector) as VersionVector,
            frontier: JSON.parse(row.frontier) as VersionVector,
            recorded: row.recorded,
            reorderedAt: row.reordered_at,
            ahead: row.ahead === "{}" ? none : (JSON.parse(row.ahead) as VersionVector),
          };
    },
    put(stream, head) {
      upsert.run(
        stream,
        head.scope,
        JSON.stringify(head.vector),
        JSON.stringify(head.frontier),
        head.recorded,
        head.reorderedAt,
        JSON.stringify(head.ahead),
        Object.keys(head.vector).length,
      );
    },
    hasScope: (text) => scope.get(text) !== undefined,
    shared: (after, limit) =>
      shared.all<{ stream: string }>(after, limit).map(({ stream }) => stream),
  };
}
