import { type Chance, createChance } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Header, originKey } from "../event/event.ts";
import { advanceHead, type StreamHead } from "./stream-heads.ts";

type Placed = Pick<Header, "dev" | "inc" | "sseq" | "scope"> & {
  readonly vv?: Record<string, number>;
};

/** Exclusive events of a stream: each names the frontier of what its device had seen, all of it or a part. */
function history(chance: Chance, size: number) {
  const events: { readonly header: Placed; readonly past: ReadonlySet<number> }[] = [];
  for (let at = 0; at < size; at++) {
    const dev = chance.pick(["a", "b", "c"]);
    const own = events.flatMap(({ header }, index) => (header.dev === dev ? [index] : []));
    const past = new Set<number>();
    // A device has seen its own events, and with each other event everything in that event's past.
    for (const index of [...own, ...events.keys()].filter(
      (i) => own.includes(i) || chance.oneIn(3),
    )) {
      past.add(index);
      for (const earlier of events[index]?.past ?? []) past.add(earlier);
    }
    const maximal = [...past].filter((i) => ![...past].some((j) => events[j]?.past.has(i)));
    const vv = Object.fromEntries(
      maximal.map((i) => [
        originKey(events[i]?.header.dev ?? "", "1"),
        events[i]?.header.sseq ?? 0,
      ]),
    );
    events.push({ header: { dev, inc: "1", sseq: own.length + 1, scope: "s", vv }, past });
  }
  return events;
}

describe("head of a stream", () => {
  it("knows every device log's last event, and which events nobody has seen yet", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 15 }), (seed, size) => {
        const events = history(createChance(seed), size);
        let head: StreamHead | undefined;
        for (const [at, { header }] of events.entries()) {
          head = advanceHead(head, header as Header, 1, () => []);
          const held = events.slice(0, at + 1);
          const last: Record<string, number> = {};
          for (const event of held) last[originKey(event.header.dev, "1")] = event.header.sseq;
          expect(head.vector).toEqual(last);
          const unseen = held.filter((_, i) => !held.some((later) => later.past.has(i)));
          const frontier = unseen.map(({ header: { dev, sseq } }) => [originKey(dev, "1"), sseq]);
          expect(head.frontier).toEqual(Object.fromEntries(frontier));
          expect(head.scope).toBe("s");
        }
      }),
    );
  });
});
