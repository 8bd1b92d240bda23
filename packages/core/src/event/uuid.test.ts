import { createChance, createManualClock } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createUuidV7, isUuidV7, uuidTime } from "./uuid.ts";

const start = Date.UTC(2026, 0, 1);

describe("UUIDv7", () => {
  it("has the form of RFC 9562 and names its time", () => {
    const clock = createManualClock(start);
    const id = createUuidV7(clock, createChance(1))();
    expect(isUuidV7(id)).toBe(true);
    expect(uuidTime(id)).toBe(start);
  });

  it.each([
    "00000000-0000-4000-8000-000000000000",
    "01a1f9e4-37d1-76cd-759e-91fad92a05e4",
    "01A1F9E4-37D1-76CD-959E-91FAD92A05E4",
    "01a1f9e437d176cd959e91fad92a05e4",
    "",
  ])("does not take %s for one", (text) => {
    expect(isUuidV7(text)).toBe(false);
  });

  it("rises while the clock stands still, also past its counter", () => {
    const next = createUuidV7(createManualClock(start), createChance(2));
    const ids = Array.from({ length: 10_000 }, next);
    expect(ids.toSorted()).toEqual(ids);
    expect(new Set(ids).size).toBe(ids.length);
    expect(uuidTime(ids.at(-1) as string)).toBeLessThan(start + 10);
  });

  it("rises whatever the clock does", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: -5_000, max: 5_000 })),
        fc.integer(),
        (steps, seed) => {
          const clock = createManualClock(start);
          const next = createUuidV7(clock, createChance(seed));
          const ids = steps.map((step) => {
            clock.setWall(start + step);
            return next();
          });
          expect(ids.toSorted()).toEqual(ids);
          expect(new Set(ids).size).toBe(ids.length);
          for (const id of ids) expect(isUuidV7(id)).toBe(true);
        },
      ),
    );
  });

  it("stays in form for clocks before 1970, after 10889 and between milliseconds", () => {
    for (const wall of [-1, 2 ** 53, 1.5]) {
      const clock = createManualClock(wall);
      expect(isUuidV7(createUuidV7(clock, createChance(3))())).toBe(true);
    }
  });
});
