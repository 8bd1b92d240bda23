/**
 * What happened before what in one stream. An event's past is what its version vector names, its device
 * log's earlier events on the stream, and the pasts of all of these. Clocks play no part.
 *
 * Only the events that are given count, so a partial replica judges by what it holds; where a device log has
 * gaps, the nearest earlier event that is held stands for those that are not.
 */
import { canonicalOrder } from "./canonical-order.ts";
import { type Header, originKey } from "./event.ts";

/** The part of a header that tells before from concurrent. */
export type CausalHeader = Pick<Header, "at" | "dev" | "inc" | "seq" | "sseq" | "vv">;

/** An event of one stream, as much of it as causality needs. */
export interface CausalEvent {
  readonly leaf: string;
  readonly header: CausalHeader;
}

/** An event with its past. */
export interface PlacedEvent<Event> {
  readonly event: Event;
  /** Index into {@link CausalHistory.origins}. */
  readonly origin: number;
  /** Place in canonical order, from 0. */
  readonly place: number;
  /** For each origin: the last stream counter in the event's past, 0 for none. */
  readonly past: readonly number[];
  /** max(recordedAt, recordedAt of all in the past): an as-of by this value is causally closed. */
  readonly closedAt: number;
}

/** The causality of one stream; {@link createCausalHistory} makes it. */
export interface CausalHistory<Event> {
  /** In canonical order, each leaf once. */
  readonly events: readonly PlacedEvent<Event>[];
  /** For each device log: its events by stream counter. */
  readonly origins: readonly (readonly PlacedEvent<Event>[])[];
  readonly byLeaf: ReadonlyMap<string, PlacedEvent<Event>>;
}

interface Draft<Event> {
  event: Event;
  origin: number;
  place: number;
  past: number[];
  closedAt: number;
  state: "waiting" | "entered" | "done";
}

/** Computes the past of every event. Time grows with events × device logs. */
export function createCausalHistory<Event extends CausalEvent>(
  given: readonly Event[],
): CausalHistory<Event> {
  const byLeaf = new Map<string, Event>();
  for (const event of given) byLeaf.set(event.leaf, event);
  const originOf = new Map<string, number>();
  const origins: Draft<Event>[][] = [];
  const placed = canonicalOrder([...byLeaf.values()]).map((event, place): Draft<Event> => {
    const key = originKey(event.header.dev, event.header.inc);
    const origin = originOf.get(key) ?? originOf.size;
    originOf.set(key, origin);
    const closedAt = event.header.at;
    const draft: Draft<Event> = { event, origin, place, past: [], closedAt, state: "waiting" };
    (origins[origin] ??= []).push(draft);
    return draft;
  });
  for (const list of origins) list.sort((a, b) => a.event.header.sseq - b.event.header.sseq);
  const predecessors = new Map<Draft<Event>, Draft<Event>>();
  for (const list of origins) {
    for (const [at, draft] of list.entries()) {
      const previous = list[at - 1];
      if (previous !== undefined) predecessors.set(draft, previous);
    }
  }
  for (const draft of placed) {
    settle(draft, (of) => causesOf(of, originOf, origins, predecessors.get(of)), origins.length);
  }
  return {
    events: placed,
    origins,
    byLeaf: new Map(placed.map((draft) => [draft.event.leaf, draft])),
  };
}

function causesOf<Event extends CausalEvent>(
  draft: Draft<Event>,
  originOf: ReadonlyMap<string, number>,
  origins: readonly (readonly Draft<Event>[])[],
  predecessor: Draft<Event> | undefined,
): readonly Draft<Event>[] {
  const causes = predecessor === undefined ? [] : [predecessor];
  for (const [key, count] of Object.entries(draft.event.header.vv ?? {})) {
    const origin = originOf.get(key);
    if (origin === undefined || origin === draft.origin) continue;
    const list = origins[origin] as readonly Draft<Event>[];
    const cause = list[firstAfter(list, count) - 1];
    if (cause !== undefined) causes.push(cause);
  }
  return causes;
}

/** Computes pasts depth first without recursion: a stream may be longer than the call stack. */
function settle<Event extends CausalEvent>(
  start: Draft<Event>,
  causesOfDraft: (draft: Draft<Event>) => readonly Draft<Event>[],
  originCount: number,
): void {
  const stack = [start];
  for (let draft = stack.at(-1); draft !== undefined; draft = stack.at(-1)) {
    if (draft.state === "done") {
      stack.pop();
      continue;
    }
    const causes = causesOfDraft(draft);
    if (draft.state === "waiting") {
      draft.state = "entered";
      // A cause that is entered already would close a circle, which only a forged vector can: it is left out.
      const open = causes.filter(({ state }) => state === "waiting");
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
    }
    finish(draft, causes, originCount);
    stack.pop();
  }
}

function finish<Event extends CausalEvent>(
  draft: Draft<Event>,
  causes: readonly Draft<Event>[],
  originCount: number,
): void {
  const past = Array.from({ length: originCount }, () => 0);
  for (const cause of causes) {
    const { sseq } = cause.event.header;
    if (sseq > (past[cause.origin] as number)) past[cause.origin] = sseq;
    // Not done: it closes a circle, and its past is not known yet.
    for (const [origin, count] of cause.past.entries()) {
      if (count > (past[origin] as number)) past[origin] = count;
    }
    if (cause.closedAt > draft.closedAt) draft.closedAt = cause.closedAt;
  }
  past[draft.origin] = draft.event.header.sseq - 1;
  draft.past = past;
  draft.state = "done";
}

/** Index of the first event of a device log whose stream counter is above `count`. */
export function firstAfter(
  list: readonly { readonly event: CausalEvent }[],
  count: number,
): number {
  return firstIndex(list.length, (at) => (list[at]?.event.header.sseq ?? 0) > count);
}

/** The smallest index for which a monotone condition holds. */
export function firstIndex(length: number, holds: (at: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Is `a` in the past of `b`? */
export function isInPast<Event extends CausalEvent>(
  a: PlacedEvent<Event>,
  b: PlacedEvent<Event>,
): boolean {
  return a !== b && (b.past[a.origin] ?? 0) >= a.event.header.sseq;
}

/** The events that are neither in the past of this one nor have it in theirs, in canonical order. */
export function concurrentWith<Event extends CausalEvent>(
  history: CausalHistory<Event>,
  leaf: string,
): readonly PlacedEvent<Event>[] {
  const event = history.byLeaf.get(leaf);
  if (event === undefined) return [];
  return history.origins
    .flatMap((list, origin) =>
      origin === event.origin ? [] : list.slice(...concurrentRange(event, list, origin)),
    )
    .toSorted((a, b) => a.place - b.place);
}

/**
 * The events of another device log that are concurrent with this one are neighbours: from the first that is
 * not in its past to the last that does not have it in theirs. Answers [from, to).
 */
export function concurrentRange<Event extends CausalEvent>(
  event: PlacedEvent<Event>,
  list: readonly PlacedEvent<Event>[],
  origin: number,
): readonly [from: number, to: number] {
  const from = firstAfter(list, event.past[origin] ?? 0);
  const to = firstIndex(list.length, (at) => isInPast(event, list[at] as PlacedEvent<Event>));
  return [from, Math.max(from, to)];
}

/** The events that are in no other event's past, as a version vector. */
export function frontierOf<Event extends CausalEvent>(
  history: CausalHistory<Event>,
): Readonly<Record<string, number>> {
  const frontier: Record<string, number> = {};
  const lasts = history.origins.map((list) => list.at(-1));
  for (const [origin, last] of lasts.entries()) {
    if (last === undefined) continue;
    const { sseq, dev, inc } = last.event.header;
    const covered = lasts.some(
      (other, at) => at !== origin && other !== undefined && (other.past[origin] ?? 0) >= sseq,
    );
    if (!covered) frontier[originKey(dev, inc)] = sseq;
  }
  return frontier;
}
