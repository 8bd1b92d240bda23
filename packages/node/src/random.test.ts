import { hex } from "@holdfast/core";
import { describe, expect, it } from "vitest";
import { systemClock, systemTimers } from "./clock.ts";
import { systemRandom } from "./random.ts";

describe("systemRandom", () => {
  it("gives the asked length and never the same bytes twice, across blocks", () => {
    const seen = new Set<string>();
    for (let i = 0; i < 2_000; i++) {
      const out = systemRandom.bytes(12);
      expect(out).toHaveLength(12);
      seen.add(hex(out));
    }
    expect(seen.size).toBe(2_000);
    for (const length of [0, 1, 255, 256, 257, 4096, 70_000])
      expect(systemRandom.bytes(length)).toHaveLength(length);
  });

  it("hands out memory of its own, and fills all of it", () => {
    const first = systemRandom.bytes(32);
    const before = hex(first);
    expect(first.buffer.byteLength).toBe(32);
    systemRandom.bytes(32).fill(0);
    expect(hex(first)).toBe(before);
    for (const length of [64, 256, 300]) {
      const out = systemRandom.bytes(length);
      // Eight zero bytes in a row are as likely as 2^-56 here.
      expect(hex(out)).not.toContain("0".repeat(16));
    }
  });

  it("refuses lengths that are none", () => {
    expect(() => systemRandom.bytes(-1)).toThrow("not negative");
    expect(() => systemRandom.bytes(1.5)).toThrow("not negative");
  });
});

describe("systemClock and systemTimers", () => {
  it("tell UTC milliseconds and a time that never goes back", () => {
    expect(Number.isInteger(systemClock.now())).toBe(true);
    let last = systemClock.monotonic();
    for (let i = 0; i < 1_000; i++) {
      const next = systemClock.monotonic();
      expect(next).toBeGreaterThanOrEqual(last);
      last = next;
    }
  });

  it("run once after the delay, and not at all when cancelled", async () => {
    const runs: string[] = [];
    const cancel = systemTimers.after(0, () => runs.push("cancelled"));
    cancel();
    systemTimers.after(2 ** 40, () => runs.push("far too early"))();
    await new Promise<void>((resolve) => {
      systemTimers.after(0, () => {
        runs.push("run");
        resolve();
      });
      // The timer under test does not keep a process alive; this one does until it has run.
      setTimeout(() => undefined, 50);
    });
    expect(runs).toEqual(["run"]);
  });
});
