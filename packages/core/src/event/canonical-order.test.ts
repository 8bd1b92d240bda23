import { type Chance, createChance } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalOrder } from "./canonical-order.ts";
import { originKey, type VersionVector } from "./event.ts";

interface Made {
  readonly header: {
    readonly at: number;
    readonly dev: string;
    readonly inc: string;
    readonly seq: number;
    readonly sseq: number;
    readonly vv?: VersionVector;
  };
}

/** A stream that several devices wrote, each seeing some of what was there; clocks are wrong at will. */
function history(chance: Chance, size: number): readonly Made[] {
  const events: Made[] = [];
  const counts = new Map<string, number>();
  for (let at = 0; at < size; at++) {
    const dev = chance.pick(["a", "b", "c"]);
    const inc = chance.pick(["1", "2"]);
    const own = originKey(dev, inc);
    const sseq = (counts.get(own) ?? 0) + 1;
    counts.set(own, sseq);
    const seen = events.filter(() => chance.oneIn(2)).slice(-3);
    const vv: Record<string, number> = {};
    for (const { header } of seen) {
      const origin = originKey(header.dev, header.inc);
      if (origin !== own) vv[origin] = Math.max(vv[origin] ?? 0, header.sseq);
    }
    const header = { at: chance.integer(5), dev, inc, seq: sseq * 2, sseq };
    events.push({ header: chance.oneIn(3) ? header : { ...header, vv } });
  }
  return events;
}

const cases = fc.tuple(fc.integer(), fc.integer({ min: 0, max: 30 }));

describe("canonical order", () => {
  it("is the same for every order of arrival", () => {
    fc.assert(
      fc.property(cases, ([seed, size]) => {
        const chance = createChance(seed);
        const events = history(chance, size);
        const ordered = canonicalOrder(events);
        expect(ordered).toHaveLength(events.length);
        expect(canonicalOrder(chance.shuffle(events))).toEqual(ordered);
      }),
    );
  });

  it("puts causes before effects", () => {
    fc.assert(
      fc.property(cases, ([seed, size]) => {
        const ordered = canonicalOrder(history(createChance(seed), size));
        const seen: Record<string, number> = {};
        for (const { header } of ordered) {
          const own = originKey(header.dev, header.inc);
          expect(seen[own] ?? 0).toBe(header.sseq - 1);
          for (const [origin, count] of Object.entries(header.vv ?? {})) {
            expect(seen[origin] ?? 0).toBeGreaterThanOrEqual(count);
          }
          seen[own] = header.sseq;
        }
      }),
    );
  });

  it("takes the smallest (at, dev, inc, seq) of what may come next", () => {
    const one = { header: { at: 2, dev: "a", inc: "1", seq: 1, sseq: 1 } };
    const two = { header: { at: 1, dev: "b", inc: "2", seq: 1, sseq: 1 } };
    const three = { header: { at: 1, dev: "b", inc: "1", seq: 9, sseq: 1 } };
    const four = { header: { at: 1, dev: "b", inc: "1", seq: 4, sseq: 7 } };
    expect(canonicalOrder([one, two, three, four])).toEqual([four, three, two, one]);
  });

  it("passes over causes that are not there", () => {
    const late = { header: { at: 1, dev: "a", inc: "1", seq: 5, sseq: 5, vv: { "z/9": 3 } } };
    expect(canonicalOrder([late])).toEqual([late]);
  });
});
