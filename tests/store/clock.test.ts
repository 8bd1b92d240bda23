/** The clock is evidence, never order: whatever it says, nothing is refused and the log keeps its order. */
import { systemClock } from "@holdfast/node";
import { expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { draftOf, makeStore, open, openWith } from "./lab.ts";

const hour = 3_600_000;
const year = 365 * 24 * hour;
const start = Date.UTC(2026, 0, 1);
const latest = 2 ** 48 - 1;
const readings = [
  start,
  start + 3 * hour,
  start - 5 * hour,
  start + 50 * year,
  start - 20 * year,
  0,
  -hour,
  2 ** 48,
  start + 0.75,
  start,
];

test("jumps of hours and years, backwards, to 1970 and before", async () => {
  await withScratch("store-clock", async (folder) => {
    await makeStore(folder);
    let now = start;
    const clock = { ...systemClock, now: () => now };
    let n = 0;
    const told: number[] = [];
    // Within one opening, and with a new opening at each reading.
    let store = await openWith(folder, { clock });
    for (const reopens of [false, true]) {
      for (const reading of readings) {
        now = reading;
        if (reopens) {
          await store.close();
          store = await openWith(folder, { clock });
        }
        const result = await store.append(draftOf(n++));
        expect(result.status).toBe("appended");
        told.push(Math.floor(reading));
      }
    }
    await store.close();
    const later = await open(folder);
    const events = later.read({ type: "NoteRecorded", limit: 1_000 });
    expect(events.map(({ data }) => (data as { readonly n: number }).n)).toEqual(
      readings.concat(readings).map((_, at) => at),
    );
    // What no header can hold goes round within the first or the last year that one can: such a clock still runs.
    const recorded = events.map(({ recordedAt }) => recordedAt);
    for (const [at, reading] of told.entries()) {
      const [least, most] =
        reading < 0 ? [0, year] : reading > latest ? [latest - year, latest] : [reading, reading];
      expect(recorded[at]).toBeGreaterThanOrEqual(least);
      expect(recorded[at]).toBeLessThanOrEqual(most);
    }
    expect(events.every(({ position }, at) => position === at + 2)).toBe(true);
    expect(later.verify().problems).toEqual([]);
    await later.close();
  });
});
