import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareVectors, covers, mergeVectors } from "./version-vector.ts";

const vectors = fc.dictionary(fc.constantFrom("a/1", "a/2", "b/1", "c/1"), fc.nat(4));
const opposite = {
  equal: "equal",
  before: "after",
  after: "before",
  concurrent: "concurrent",
} as const;

describe("version vectors", () => {
  it("tell before from concurrent", () => {
    expect(compareVectors({ a: 1 }, { a: 1 })).toBe("equal");
    expect(compareVectors({ a: 1 }, { a: 2 })).toBe("before");
    expect(compareVectors({ a: 1, b: 1 }, { a: 1 })).toBe("after");
    expect(compareVectors({ a: 2, b: 1 }, { a: 1, b: 2 })).toBe("concurrent");
    expect(compareVectors({ a: 1 }, { b: 1 })).toBe("concurrent");
    expect(compareVectors({ a: 0 }, {})).toBe("equal");
    expect(compareVectors({}, { a: 0 })).toBe("equal");
  });

  it("compare the other way round as the opposite", () => {
    fc.assert(
      fc.property(vectors, vectors, (a, b) => {
        expect(compareVectors(b, a)).toBe(opposite[compareVectors(a, b)]);
        expect(compareVectors(a, a)).toBe("equal");
      }),
    );
  });

  it("merge commutatively, associatively, idempotently", () => {
    fc.assert(
      fc.property(vectors, vectors, vectors, (a, b, c) => {
        const same = (x: typeof a, y: typeof a): void => {
          expect(compareVectors(x, y)).toBe("equal");
        };
        same(mergeVectors(a, b), mergeVectors(b, a));
        same(mergeVectors(mergeVectors(a, b), c), mergeVectors(a, mergeVectors(b, c)));
        same(mergeVectors(a, a), a);
      }),
    );
  });

  it("merge into the least vector that has seen both", () => {
    fc.assert(
      fc.property(vectors, vectors, vectors, (a, b, other) => {
        const merged = mergeVectors(a, b);
        const isUpper = (x: typeof a): boolean =>
          [a, b].every((v) =>
            Object.entries(v).every(([origin, count]) => covers(x, origin, count)),
          );
        expect(isUpper(merged)).toBe(true);
        if (isUpper(other)) expect(["equal", "before"]).toContain(compareVectors(merged, other));
      }),
    );
  });
});
