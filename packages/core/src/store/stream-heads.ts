/**
 * Where each stream stands: its scope, what every device log added to it (`vector`), and the events that no
 * other event has in its past (`frontier`). Derived from the headers; kept in a table so that an append reads
 * one row.
 */
import { type Header, originKey, type VersionVector } from "../event/event.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

export interface StreamHead {
  readonly scope: string;
  readonly vector: VersionVector;
  readonly frontier: VersionVector;
}

/** The head of a stream after one more event in an order that respects causality. */
export function advanceHead(head: StreamHead | undefined, header: Header): StreamHead {
  const origin = originKey(header.dev, header.inc);
  const seen = header.vv ?? {};
  const frontier: Record<string, number> = { [origin]: header.sseq };
  for (const [other, count] of Object.entries(head?.frontier ?? {})) {
    const inPast = other === origin ? count <= header.sseq : (seen[other] ?? 0) >= count;
    if (!inPast) frontier[other] = count;
  }
  const vector = { ...head?.vector, [origin]: Math.max(head?.vector[origin] ?? 0, header.sseq) };
  return { scope: head?.scope ?? header.scope, vector, frontier };
}

interface HeadRow {
  readonly scope: string;
  readonly vector: string;
  readonly frontier: string;
}

export interface StreamHeads {
  get(stream: string): StreamHead | undefined;
  put(stream: string, head: StreamHead): void;
  hasScope(scope: string): boolean;
}

/** Reads and writes heads inside the caller's transaction. */
export function createStreamHeads(driver: SqliteDriver): StreamHeads {
  const select = driver.prepare("SELECT scope, vector, frontier FROM streams WHERE stream = ?");
  const upsert = driver.prepare(
    `INSERT INTO streams (stream, scope, vector, frontier) VALUES (?, ?, ?, ?)
     ON CONFLICT (stream) DO UPDATE SET vector = excluded.vector, frontier = excluded.frontier`,
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
          };
    },
    put(stream, head) {
      upsert.run(stream, head.scope, JSON.stringify(head.vector), JSON.stringify(head.frontier));
    },
    hasScope: (text) => scope.get(text) !== undefined,
  };
}
