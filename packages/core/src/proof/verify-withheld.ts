/**
 * Finds what the server kept back: a gap in the counters of a stream, or an event that another one names as
 * its cause and that is not here.
 *
 * What is not granted is not withheld: only streams of scopes are judged of which something was pulled, and
 * only when the pull had come to its end. Nor is what the other device still owes: a gap counts only where the
 * newest receipt of that log owes nothing between its neighbours; nor what this release cannot read. An omitted
 * tail cannot be seen.
 */
import { type Header, originKey } from "../event/event.ts";
import type { Report, SyncRows } from "./log-source.ts";
import { type IndexRanges, isIndexRanges, parseStatement } from "./server-leaf.ts";

interface Counter {
  readonly count: number;
  readonly index: number;
}

interface StreamGaps {
  readonly scope: string;
  /** Counters of foreign logs. */
  readonly foreign: Map<string, Counter[]>;
  /** The highest counter that an event of another device names. */
  readonly named: Map<string, number>;
}

export interface WithheldWalk {
  event(header: Header, own: boolean): void;
  finish(): void;
}

export function walkWithheld(sync: SyncRows, report: Report): WithheldWalk {
  const streams = new Map<string, StreamGaps>();
  const scopes = new Set<string>();
  const ownOrigins = new Set<string>();
  const owedOf = new Map<string, ReturnType<typeof newestOwed>>();

  function checkCounters(stream: string, origin: string, counters: readonly Counter[]): void {
    const [device = "", incarnation = ""] = origin.split("/");
    if (!owedOf.has(origin)) owedOf.set(origin, newestOwed(sync, device, incarnation));
    const owed = owedOf.get(origin);
    let before: Counter = { count: 0, index: -1 };
    for (const next of counters.toSorted((a, b) => a.count - b.count)) {
      const between: readonly [number, number] = [before.index + 1, next.index];
      const isGap = next.count !== before.count + 1;
      if (isGap && owed !== undefined && next.index < owed.size && !overlaps(owed.owed, between)) {
        const object = `stream ${stream}`;
        report("withheld", object, `counter ${before.count + 1} of ${incarnation} is not here`);
      }
      before = next;
    }
  }

  return {
    event(header, own) {
      const origin = originKey(header.dev, header.inc);
      if (own) ownOrigins.add(origin);
      else if (header.type !== "IncarnationOpened") scopes.add(header.scope);
      const known = streams.get(header.stream);
      const { scope } = header;
      const gaps: StreamGaps = known ?? {
        scope,
        foreign: new Map<string, Counter[]>(),
        named: new Map<string, number>(),
      };
      if (known === undefined) streams.set(header.stream, gaps);
      if (!own) {
        const counters = gaps.foreign.get(origin) ?? [];
        counters.push({ count: header.sseq, index: header.seq - 1 });
        gaps.foreign.set(origin, counters);
      }
      for (const [other, count] of Object.entries(header.vv ?? {})) {
        // A device knows its own events before the server does.
        if (other.startsWith(`${header.dev}/`)) continue;
        gaps.named.set(other, Math.max(gaps.named.get(other) ?? 0, count));
      }
    },
    finish() {
      if (!isComplete(sync)) return;
      // What is missing there may be an event whose header this release cannot read.
      const unread = new Set(sync.newerStreams());
      for (const [stream, { scope, foreign, named }] of streams) {
        if (!scopes.has(scope) || unread.has(stream)) continue;
        for (const [origin, counters] of foreign) checkCounters(stream, origin, counters);
        for (const [origin, count] of named) {
          if (ownOrigins.has(origin)) continue;
          const held = foreign.get(origin) ?? [];
          if (held.some((each) => each.count >= count)) continue;
          report("withheld", `stream ${stream}`, `counter ${count} of ${origin} is not here`);
        }
      }
    },
  };
}

/** Had the pull come to the end of what there was, in everything that it follows? */
function isComplete(sync: SyncRows): boolean {
  const { head, positions } = sync.pulled();
  return positions.length > 0 && positions.every((position) => position >= head);
}

function newestOwed(
  sync: SyncRows,
  device: string,
  incarnation: string,
): { readonly size: number; readonly owed: IndexRanges } | undefined {
  const receipts = sync
    .serverLeaves(device, incarnation)
    .filter(({ kind }) => kind === "receipt")
    .toSorted((a, b) => b.size - a.size || b.leafIndex - a.leafIndex);
  try {
    const statement = parseStatement(receipts[0]?.leaf ?? "");
    const { size, owed } = statement;
    return isIndexRanges(owed, size) ? { size, owed } : undefined;
  } catch {
    return undefined;
  }
}

function overlaps(ranges: IndexRanges, [from, to]: readonly [number, number]): boolean {
  return ranges.some(([start, end]) => start < to && end > from);
}
