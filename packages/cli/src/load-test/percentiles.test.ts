import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { percentile, percentileLine, shownPercentiles, sorted, summarize } from "./percentiles.ts";

const samples = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 });

describe("percentiles", () => {
  it("of 1 to 100 are the numbers themselves, in any order", () => {
    const numbers = Array.from({ length: 100 }, (_, at) => ((at * 37) % 100) + 1);
    expect(summarize(numbers)).toEqual({
      count: 100,
      mean: 50.5,
      p50: 50,
      p90: 90,
      p95: 95,
      p99: 99,
      max: 100,
    });
  });

  it("of one sample are that sample; of none are no number", () => {
    expect(summarize([7])).toMatchObject({ p50: 7, p99: 7, max: 7, mean: 7 });
    expect(Object.values(summarize([])).slice(1).every(Number.isNaN)).toBe(true);
  });

  it("are exact: enough samples lie at or below them, and no smaller sample has that", () => {
    fc.assert(
      fc.property(samples, fc.constantFrom(...shownPercentiles, 100, 0.1), (all, percent) => {
        const value = percentile(sorted(all), percent);
        const needed = (percent / 100) * all.length;
        const upTo = (bound: number): number => all.filter((sample) => sample <= bound).length;
        const smaller = all.filter((sample) => sample < value);
        expect(all).toContain(value);
        expect(upTo(value)).toBeGreaterThanOrEqual(needed);
        for (const sample of smaller) expect(upTo(sample)).toBeLessThan(needed);
      }),
    );
  });

  it("never fall from one to the next, and the line ends at the maximum", () => {
    fc.assert(
      fc.property(samples, (all) => {
        const line = percentileLine(all, 50);
        expect(line.length).toBe(Math.min(50, all.length));
        for (const [at, [, y]] of line.entries()) {
          expect(y).toBeGreaterThanOrEqual(line[at - 1]?.[1] ?? 0);
        }
        expect(line.at(-1)).toEqual([100, Math.max(...all)]);
      }),
    );
  });
});
