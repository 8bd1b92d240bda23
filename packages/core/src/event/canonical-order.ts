/**
 * Canonical order of the events of one stream: Kahn's algorithm, smallest (at, dev, inc, seq) first. Edges
 * come from version vectors, and from each event of a device log to its next in the stream. Every replica
 * with the same events folds them in the same order. For order only, never for truth.
 */
import { type Header, originKey } from "./event.ts";

type Ordered = Pick<Header, "at" | "dev" | "inc" | "seq" | "sseq" | "vv">;

function isBefore(a: Ordered, b: Ordered): boolean {
  if (a.at !== b.at) return a.at < b.at;
  if (a.dev !== b.dev) return a.dev < b.dev;
  if (a.inc !== b.inc) return a.inc < b.inc;
  return a.seq < b.seq;
}

/** The events in canonical order. Edges to events that are not given are ignored. */
export function canonicalOrder<Event extends { readonly header: Ordered }>(
  events: readonly Event[],
): readonly Event[] {
  const at = new Map<string, Event>();
  for (const event of events) at.set(placeOf(event.header), event);
  const waiting = new Map<Event, number>();
  const followers = new Map<Event, Event[]>();
  for (const event of events) {
    const causes = causesOf(event.header)
      .map((place) => at.get(place))
      .filter((cause) => cause !== undefined && cause !== event);
    waiting.set(event, causes.length);
    for (const cause of causes as Event[]) {
      const list = followers.get(cause);
      if (list === undefined) followers.set(cause, [event]);
      else list.push(event);
    }
  }
  const ready = createHeap<Event>((a, b) => isBefore(a.header, b.header));
  for (const event of events) if (waiting.get(event) === 0) ready.push(event);
  const ordered: Event[] = [];
  // Only forged vectors name each other in a circle. It is cut at its smallest event: none may be lost.
  const cut = createCircleCutter(events, at, waiting);
  for (let next = ready.pop() ?? cut(); next !== undefined; next = ready.pop() ?? cut()) {
    waiting.delete(next);
    ordered.push(next);
    for (const follower of followers.get(next) ?? []) {
      const causes = waiting.get(follower);
      if (causes === undefined) continue;
      const left = causes - 1;
      waiting.set(follower, left);
      if (left === 0) ready.push(follower);
    }
  }
  return ordered;
}

/**
 * Answers the smallest event of a circle among those that still wait, `undefined` when none does: from the
 * smallest, the way back along smallest causes ends in a circle.
 */
function createCircleCutter<Event extends { readonly header: Ordered }>(
  events: readonly Event[],
  at: ReadonlyMap<string, Event>,
  waiting: ReadonlyMap<Event, number>,
): () => Event | undefined {
  const order = (a: Event, b: Event): number => (isBefore(a.header, b.header) ? -1 : 1);
  let sorted: readonly Event[] | undefined;
  let first = 0;
  return () => {
    if (waiting.size === 0) return undefined;
    sorted ??= events.toSorted(order);
    while (!waiting.has(sorted[first] as Event)) first += 1;
    const path: Event[] = [];
    const steps = new Map<Event, number>();
    let event = sorted[first] as Event;
    while (!steps.has(event)) {
      steps.set(event, path.length);
      path.push(event);
      event = waitedFor(event, at, waiting).toSorted(order)[0] as Event;
    }
    return path.slice(steps.get(event)).toSorted(order)[0];
  };
}

function waitedFor<Event extends { readonly header: Ordered }>(
  event: Event,
  at: ReadonlyMap<string, Event>,
  waiting: ReadonlyMap<Event, number>,
): readonly Event[] {
  return causesOf(event.header)
    .map((place) => at.get(place))
    .filter((cause) => cause !== undefined && cause !== event && waiting.has(cause)) as Event[];
}

function placeOf(header: Pick<Ordered, "dev" | "inc" | "sseq">): string {
  return `${originKey(header.dev, header.inc)}/${header.sseq}`;
}

function causesOf(header: Ordered): readonly string[] {
  const own = originKey(header.dev, header.inc);
  const places = new Set<string>();
  if (header.sseq > 1) places.add(`${own}/${header.sseq - 1}`);
  for (const [origin, count] of Object.entries(header.vv ?? {})) places.add(`${origin}/${count}`);
  return [...places];
}

/** A binary heap; the smallest comes out first. */
function createHeap<T>(before: (a: T, b: T) => boolean) {
  const items: T[] = [];
  const swap = (i: number, j: number): void => {
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  };
  return {
    push(item: T): void {
      items.push(item);
      for (let i = items.length - 1; i > 0;) {
        const parent = (i - 1) >> 1;
        if (!before(items[i] as T, items[parent] as T)) return;
        swap(i, parent);
        i = parent;
      }
    },
    pop(): T | undefined {
      const top = items[0];
      const last = items.pop();
      if (items.length === 0 || last === undefined) return top;
      items[0] = last;
      for (let i = 0; ;) {
        const left = 2 * i + 1;
        const right = left + 1;
        let least = i;
        if (left < items.length && before(items[left] as T, items[least] as T)) least = left;
        if (right < items.length && before(items[right] as T, items[least] as T)) least = right;
        if (least === i) return top;
        swap(i, least);
        i = least;
      }
    },
  };
}
