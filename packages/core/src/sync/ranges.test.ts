import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { acknowledged, clipRanges, isInRanges, subtractRanges } from "./ranges.ts";

const members = fc.uniqueArray(fc.nat(40), { maxLength: 30 });

function rangesOf(indices: readonly number[]): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (const index of [...indices].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.[1] === index) last[1] = index + 1;
    else ranges.push([index, index + 1]);
  }
  return ranges;
}

describe("index ranges", () => {
  it("subtract as sets do", () => {
    fc.assert(
      fc.property(members, members, (a, b) => {
        const left = subtractRanges(rangesOf(a), rangesOf(b));
        expect(left).toEqual(rangesOf(a.filter((index) => !b.includes(index))));
      }),
    );
  });

  it("say who is in them, and are cut at a size", () => {
    fc.assert(
      fc.property(members, fc.nat(45), (a, index) => {
        const ranges = rangesOf(a);
        expect(isInRanges(ranges, index)).toBe(a.includes(index));
        expect(clipRanges(ranges, index)).toEqual(rangesOf(a.filter((each) => each < index)));
      }),
    );
    expect(acknowledged(0, [])).toEqual([]);
    expect(acknowledged(5, [[1, 3]])).toEqual([
      [0, 1],
      [3, 5],
    ]);
  });
});
