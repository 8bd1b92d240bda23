/** Verifies streams: one scope each, counters without a gap, and stored heads that agree with the headers. */
import { type CausalEvent, createCausalHistory, frontierOf } from "../event/causal-history.ts";
import { type Header, originKey } from "../event/event.ts";
import { isCurrentHeader, type NewerHeader, parseHeader } from "../event/header.ts";
import { isHoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { type LogSource, pageRows, type Report, type StreamRow } from "./log-source.ts";

/** One stream while it is walked. */
interface StreamWalk {
  readonly scope: string;
  readonly counters: Map<string, number>;
  /** Events that no other event has in its past. */
  frontier: Map<string, number>;
  /** Holds an event of a newer header version, whose counter cannot be read. */
  unreadable: boolean;
}

export interface StreamsWalk {
  /** `whole`: of a log without gaps, as own ones are. */
  event(header: Header | NewerHeader, object: string, whole: boolean): void;
  /** Compares the stored heads with what was walked. */
  finish(): void;
}

export function walkStreams(source: LogSource, report: Report): StreamsWalk {
  const streams = new Map<string, StreamWalk>();

  function streamOf(header: Header | NewerHeader): StreamWalk {
    const known = streams.get(header.stream);
    if (known !== undefined) return known;
    const fresh = {
      scope: header.scope,
      counters: new Map<string, number>(),
      frontier: new Map<string, number>(),
      unreadable: false,
    };
    streams.set(header.stream, fresh);
    return fresh;
  }

  return {
    event(header, object, whole) {
      const stream = streamOf(header);
      if (stream.scope !== header.scope) report("scope_changed", object, "a stream has one scope");
      if (!isCurrentHeader(header)) {
        // Its counter is not a frozen field: the next one that can be read goes on from anywhere.
        stream.unreadable = true;
        return;
      }
      const origin = originKey(header.dev, header.inc);
      const last = stream.counters.get(origin) ?? 0;
      if (whole && header.sseq !== last + 1 && !stream.unreadable) {
        report("stream_gap", object, `expected counter ${last + 1}`);
      }
      stream.counters.set(origin, whole ? header.sseq : Math.max(last, header.sseq));
      if (stream.frontier.size === 1 && stream.frontier.has(origin)) {
        stream.frontier.set(origin, header.sseq);
        return;
      }
      const left = [...stream.frontier].filter(
        ([other, count]) => other !== origin && (header.vv?.[other] ?? 0) < count,
      );
      stream.frontier = new Map([...left, [origin, header.sseq]]);
    },
    finish() {
      if (source.streams === undefined) return;
      const left = new Set(streams.keys());
      const suspects = new Map<string, StreamRow>();
      for (let after = ""; ;) {
        const rows = source.streams(after, pageRows);
        for (const row of rows) {
          left.delete(row.stream);
          const walked = streams.get(row.stream);
          if (walked === undefined || !agreesWithWalk(row, walked)) suspects.set(row.stream, row);
        }
        const last = rows.at(-1);
        if (last === undefined) break;
        after = last.stream;
      }
      for (const [stream, row] of suspects) {
        const walked = streams.get(stream);
        const agrees =
          walked !== undefined &&
          walked.scope === row.scope &&
          sameCounters(row.vector, Object.fromEntries(walked.counters)) &&
          sameCounters(row.frontier, frontierOf(createCausalHistory(headersOf(source, stream))));
        const object = `stream ${stream.slice(0, 22)}`;
        if (!agrees) report("stream_wrong", object, "its head is not what its events add up to");
      }
      for (const stream of left) report("stream_missing", `stream ${stream}`, "its head is gone");
    },
  };
}

/** Exact where every cause arrived before its effects, as in the log of one device. */
function agreesWithWalk(row: StreamRow, walked: StreamWalk): boolean {
  if (row.scope !== walked.scope) return false;
  if (walked.unreadable) return true;
  return (
    sameCounters(row.vector, Object.fromEntries(walked.counters)) &&
    sameCounters(row.frontier, Object.fromEntries(walked.frontier))
  );
}

/** All headers of a stream, by a second reading of the log. */
function headersOf(source: LogSource, stream: string): readonly CausalEvent[] {
  const headers: CausalEvent[] = [];
  for (let after = 0; ;) {
    const rows = source.events(after, pageRows);
    for (const row of rows) {
      const header = row.stream === stream ? currentHeader(row.header) : undefined;
      if (header !== undefined) headers.push({ leaf: row.leaf, header });
    }
    const last = rows.at(-1);
    if (last === undefined) return headers;
    after = last.position;
  }
}

/** A header that can be read; what cannot was reported when it was walked. */
function currentHeader(text: string): Header | undefined {
  try {
    const header = parseHeader(text);
    return isCurrentHeader(header) ? header : undefined;
  } catch (error) {
    if (isHoldfastError(error, "header_invalid")) return undefined;
    throw error;
  }
}

function sameCounters(stored: string, walked: Readonly<Record<string, number>>): boolean {
  try {
    return canonicalJson(JSON.parse(stored)) === canonicalJson(walked);
  } catch {
    return false;
  }
}
