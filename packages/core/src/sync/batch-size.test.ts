import fc from "fast-check";
import { expect, test } from "vitest";
import { limits } from "../std/limits.ts";
import { afterSuccess, type BatchSize, firstBatch, smaller, withAdvertised } from "./batch-size.ts";

const fast = 10;

function full({ bounds }: BatchSize, bytesEach = 100) {
  return { bodies: bounds.bodies, bytes: bounds.bodies * bytesEach, leaves: bounds.bodies };
}

test("begins with a few and reaches the most within a few fast exchanges", () => {
  let size = firstBatch();
  expect(size.bounds.bodies).toBe(limits.pushBodiesFirst);
  for (let round = 0; round < 4; round++) size = afterSuccess(size, full(size), fast);
  expect(size.bounds).toEqual({
    bodies: limits.pushBodiesMax,
    bytes: limits.pushBytesMax,
    leaves: limits.pushLeavesMax,
  });
});

test("settles near the target on a slow path", () => {
  const msPerBody = 20;
  let size = firstBatch();
  for (let round = 0; round < 20; round++) {
    size = afterSuccess(size, full(size), size.bounds.bodies * msPerBody);
  }
  const settled = size.bounds.bodies * msPerBody;
  expect(settled).toBeGreaterThan(limits.exchangeMsTarget / 2);
  expect(settled).toBeLessThanOrEqual(limits.exchangeMsTarget * 1.25);
});

test("an exchange that was not full changes nothing", () => {
  const size = firstBatch();
  expect(afterSuccess(size, { bodies: 3, bytes: 300, leaves: 3 }, fast)).toBe(size);
});

test("whatever is too large is halved down to one, in a bounded number of rounds", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: limits.pushBodiesMax }),
      fc.integer({ min: 0, max: limits.pushLeavesMax }),
      fc.integer({ min: 1, max: limits.pushBytesMax }),
      (bodies, between, bytes) => {
        let size: BatchSize = withAdvertised(firstBatch(), {
          pushBodies: bodies,
          pushBytes: bytes,
          pushLeaves: bodies + between,
        });
        let rounds = 0;
        for (;;) {
          const { bounds } = size;
          // As a store would fill it: the bodies that fit, at least one, and the leaves between them.
          const carried = { bodies: bounds.bodies, bytes: bounds.bytes, leaves: bounds.leaves };
          const next = smaller(size, carried);
          if (next === undefined) break;
          size = next;
          rounds += 1;
          expect(rounds).toBeLessThan(30);
        }
        expect(size.bounds.bodies).toBe(1);
        expect(size.bounds.leaves).toBe(1);
      },
    ),
  );
});

test("the server's bounds win, whatever they are, and never become less than one", () => {
  fc.assert(
    fc.property(
      fc.double(),
      fc.integer({ min: -5, max: 10_000_000 }),
      fc.array(fc.integer({ min: 0, max: 10_000 }), { maxLength: 12 }),
      (pushBodies, pushBytes, times) => {
        const advertised = { pushBodies, pushBytes, pushLeaves: 50 };
        let size = withAdvertised(firstBatch(), advertised);
        for (const elapsed of times) {
          size = afterSuccess(size, full(size), elapsed);
          expect(size.bounds.bodies).toBeGreaterThanOrEqual(1);
          expect(size.bounds.bodies).toBeLessThanOrEqual(limits.pushBodiesMax);
          expect(size.bounds.bytes).toBeLessThanOrEqual(Math.max(1, pushBytes));
          expect(size.bounds.leaves).toBeLessThanOrEqual(50);
        }
      },
    ),
  );
});
