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
  for (let next = ready.pop(); next !== undefined; next = ready.pop()) {
    ordered.push(next);
    for (const follower of followers.get(next) ?? []) {
      const left = (waiting.get(follower) as number) - 1;
      waiting.set(follower, left);
      if (left === 0) ready.push(follower);
    }
  }
  return ordered;
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
