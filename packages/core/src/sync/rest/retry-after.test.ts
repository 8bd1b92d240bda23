import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { retryAfterMs } from "./retry-after.ts";

describe("Retry-After", () => {
  const date = "Wed, 21 Oct 2026 07:28:00 GMT";
  const at = Date.UTC(2026, 9, 21, 7, 28);

  it.each([
    ["120", undefined, 0, 120_000],
    [date, "Wed, 21 Oct 2026 07:27:30 GMT", 0, 30_000],
    [date, undefined, at - 5_000, 5_000],
    [date, undefined, at + 5_000, 0],
    [date, "nonsense", at - 1_000, 1_000],
    [undefined, undefined, 0, undefined],
    ["soon", undefined, 0, undefined],
    ["1.5", undefined, 0, undefined],
    ["-1", undefined, 0, undefined],
    ["Wednesday, 21-Oct-26 07:28:00 GMT", undefined, 0, undefined],
  ])("%s, Date %s, at %d: %s", (wish, own, now, expected) => {
    const headers = {
      ...(wish === undefined ? {} : { "retry-after": wish }),
      ...(own === undefined ? {} : { date: own }),
    };
    expect(retryAfterMs(headers, now)).toBe(expected);
  });

  it("reads what toUTCString writes, and never asks for a negative wait", () => {
    const time = fc.integer({ min: 0, max: 4_102_444_800 }).map((seconds) => seconds * 1_000);
    fc.assert(
      fc.property(time, time, (until, now) => {
        const headers = { "retry-after": new Date(until).toUTCString() };
        expect(retryAfterMs(headers, now)).toBe(Math.max(0, until - now));
      }),
    );
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.nat(), (wish, own, now) => {
        const wait = retryAfterMs({ "retry-after": wish, date: own }, now);
        expect(wait === undefined || wait >= 0).toBe(true);
      }),
    );
  });
});
