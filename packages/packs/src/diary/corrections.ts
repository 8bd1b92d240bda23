/**
 * Correcting and withdrawing diary entries. Nothing is changed in the log: a correction is an event that
 * holds the whole corrected payload, a withdrawal an event without one; both name the event concerned and a
 * reason code. {@link revisionsOf} shows what was said at each time, the original first.
 */
import type { Draft, RecordedEvent } from "@holdfast/core";

/** Who corrects, and why. */
export interface Correction {
  readonly actor: string;
  /** Reason code. */
  readonly why: string;
  /** Reason in words; kept inside the encrypted content. */
  readonly reason?: string;
}

/** The draft that corrects an entry: `data` is the whole payload as it should have been. */
export function amendmentOf(entry: RecordedEvent, data: unknown, correction: Correction): Draft {
  return {
    type: entry.type,
    stream: entry.stream,
    data,
    op: "amend",
    ref: [entry.leaf],
    ...correction,
  };
}

/** The draft that withdraws an entry. */
export function retractionOf(entry: RecordedEvent, correction: Correction): Draft {
  return {
    type: "DiaryEntryRetracted",
    stream: entry.stream,
    data: {},
    op: "retract",
    ref: [entry.leaf],
    ...correction,
  };
}

/** One event of an entry's life. */
export interface Revision {
  readonly event: RecordedEvent;
  /** Leaves of the events that correct, settle or withdraw this one; empty: nobody has. */
  readonly supersededBy: readonly string[];
  /** Does it hold now? A retraction holds, and shows nothing. */
  readonly holds: boolean;
}

/** The events of one stream, in the order given, each with what became of it. */
export function revisionsOf(events: readonly RecordedEvent[]): readonly Revision[] {
  const by = new Map<string, string[]>();
  for (const { leaf, op, header } of events) {
    if (op !== "amend" && op !== "retract" && op !== "resolve") continue;
    for (const ref of header.ref ?? []) by.set(ref, [...(by.get(ref) ?? []), leaf]);
  }
  return events.map((event) => {
    const supersededBy = by.get(event.leaf) ?? [];
    return { event, supersededBy, holds: supersededBy.length === 0 };
  });
}
