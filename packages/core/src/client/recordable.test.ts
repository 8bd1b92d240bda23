import { createManualClock } from "@holdfast/testkit";
import { expect, test } from "vitest";
import { recordable } from "./recordable.ts";

const latest = 2 ** 48 - 1;
const yearMs = 365 * 86_400_000;

function said(now: number): number {
  return recordable({ now: () => now, monotonic: () => 0 }).now();
}

test("what can be recorded is recorded, in whole milliseconds", () => {
  expect([0, 1.9, 1_767_225_600_000, latest].map((now) => said(now))).toEqual([
    0,
    1,
    1_767_225_600_000,
    latest,
  ]);
});

test("what a clock says that is none is recorded at the border", () => {
  expect([Number.NaN, -Infinity, Infinity].map((now) => said(now))).toEqual([0, 0, latest]);
});

test.each([
  ["before 1970", -20 * yearMs, 0, yearMs],
  ["after the last moment", latest + 20 * yearMs, latest - yearMs, latest],
])("a clock %s goes on within the outermost year", (_, start, least, most) => {
  const manual = createManualClock(start);
  const clock = recordable(manual);
  const before = clock.now();
  manual.advance(300_000);
  expect(clock.now() - before).toBe(300_000);
  for (let days = 0; days < 800; days++) {
    manual.advance(86_400_000);
    expect(clock.now()).toBeGreaterThanOrEqual(least);
    expect(clock.now()).toBeLessThanOrEqual(most);
  }
});
