import fc from "fast-check";
import { createChance } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { backoffCeilingMs, backoffMs, outboxWaitMsMax } from "./backoff.ts";

const always = (byte: number) => ({ bytes: (length: number) => new Uint8Array(length).fill(byte) });

describe("backoff", () => {
  it("doubles from one second to five minutes", () => {
    const ceilings = [0, 1, 2, 3, 9, 10, 11, 1e9].map((attempt) => backoffCeilingMs(attempt));
    expect(ceilings).toEqual([1_000, 1_000, 2_000, 4_000, 256_000, 300_000, 300_000, 300_000]);
  });

  it("takes the whole range from nothing to the ceiling", () => {
    expect(backoffMs({ attempt: 3 }, always(0))).toBe(0);
    expect(backoffMs({ attempt: 3 }, always(255))).toBe(4_000);
  });

  it("spreads evenly: each quarter of the range has its share", () => {
    const chance = createChance(5);
    const quarters = [0, 0, 0, 0];
    for (let times = 0; times < 4_000; times++) {
      const wait = backoffMs({ attempt: 4 }, chance);
      quarters[Math.min(3, Math.floor(wait / 2_000))]! += 1;
    }
    for (const count of quarters) expect(count).toBeGreaterThan(850);
  });

  it("waits what the server asks for, up to the bound, and jitter on top", () => {
    const wait = (retryAfterMs: number, byte = 0): number =>
      backoffMs({ attempt: 1, retryAfterMs }, always(byte));
    expect(wait(7_000)).toBe(7_000);
    expect(wait(7_000.2)).toBe(7_001);
    expect(wait(7_000, 255)).toBe(8_000);
    expect(wait(86_400_000)).toBe(limits.retryAfterMsMax);
    expect(wait(-5)).toBe(0);
    expect(wait(Number.NaN)).toBe(0);
  });

  it("is a whole number within its bounds, whatever is asked", () => {
    const asked = fc.oneof(fc.constant(undefined), fc.double(), fc.integer());
    fc.assert(
      fc.property(fc.integer(), asked, fc.integer(), (attempt, retryAfterMs, seed) => {
        const failure = retryAfterMs === undefined ? { attempt } : { attempt, retryAfterMs };
        const wait = backoffMs(failure, createChance(seed));
        const floor = Math.min(Math.max(0, retryAfterMs ?? 0) || 0, limits.retryAfterMsMax);
        return Number.isSafeInteger(wait) && wait >= floor && wait <= outboxWaitMsMax;
      }),
    );
  });
});
