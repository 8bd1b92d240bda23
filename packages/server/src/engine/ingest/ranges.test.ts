import fc from "fast-check";
import { expect, test } from "vitest";
import { holdsIndex, withIndices, withoutIndices } from "./ranges.ts";

const indices = fc.uniqueArray(fc.nat(60), { maxLength: 40 });

function inOrder(set: Iterable<number>): readonly number[] {
  return [...set].toSorted((a, b) => a - b);
}

test("ranges are sets of indices, in the one form that statements have", () => {
  fc.assert(
    fc.property(indices, indices, indices, (first, more, fewer) => {
      const ranges = withoutIndices(withIndices(withIndices([], first), more), fewer);
      const set = new Set([...first, ...more].filter((index) => !fewer.includes(index)));
      const listed = ranges.flatMap(([from, to]) =>
        Array.from({ length: to - from }, (_, at) => from + at),
      );
      expect(listed).toEqual(inOrder(set));
      for (const [at, [from, to]] of ranges.entries()) {
        expect(from).toBeLessThan(to);
        expect(from).toBeGreaterThan(ranges[at - 1]?.[1] ?? -1);
      }
      for (let index = 0; index <= 61; index++) {
        expect(holdsIndex(ranges, index)).toBe(set.has(index));
      }
    }),
  );
});
