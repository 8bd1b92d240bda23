import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistry, type Holdfast, type RecordedEvent } from "@holdfast/core";
import { initStore, openStore } from "@holdfast/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { calendarRequest, diaryCalendar, diaryFrequency, frequencyRequest } from "./calendar.ts";
import { amendmentOf, retractionOf, revisionsOf } from "./corrections.ts";
import { diaryEvents, type Severity } from "./events.ts";
import { diaryProjection, isoWeek } from "./projections.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-calendar-"));
const place = {
  directory: join(folder, "store"),
  stateDirectory: join(folder, "state"),
  passphrase: "for tests",
};
let store: Holdfast;

const nosebleed = (day: string, minutes: number | null, severity: Severity | null) => ({
  type: "NosebleedRecorded",
  stream: `nosebleed/${day}/${minutes}`,
  scope: "ada",
  actor: "ada",
  data: { started_at: `${day}T08:00:00Z`, duration_minutes: minutes, severity },
});

beforeAll(async () => {
  await initStore({ ...place, tenant: "Calendar" });
  store = await openStore({
    ...place,
    registry: createRegistry(diaryEvents),
    projections: [diaryProjection],
  });
  await store.append([
    nosebleed("2026-12-31", 20, null),
    nosebleed("2026-12-30", 10, "dripping"),
    nosebleed("2026-12-30", null, "steady_stream"),
    nosebleed("2027-01-01", null, "spotting"),
    nosebleed("2027-01-01", 90, "gushing"),
  ]);
  const [twice] = store.read({ stream: "nosebleed/2027-01-01/90" });
  await store.retract(twice?.leaf ?? "", { actor: "ada", why: "entered-twice" });
});

afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

describe("the calendar", () => {
  test("has each day with its worst severity and its minutes, in order", () => {
    expect(diaryCalendar(store)).toEqual([
      { day: "2026-12-30", entries: 2, worst_severity: "steady_stream", minutes: 10 },
      { day: "2026-12-31", entries: 1, worst_severity: null, minutes: 20 },
      { day: "2027-01-01", entries: 1, worst_severity: "spotting", minutes: 0 },
    ]);
  });

  test("asks for what holds, within the days asked for", () => {
    expect(calendarRequest({ from: "2026-12-31" }).where).toEqual({
      kind: "NosebleedRecorded",
      status: { ne: "retracted" },
      day: { ne: null, gte: "2026-12-31" },
    });
  });

  test("leaves out what is before and after", () => {
    const range = { from: "2026-12-31", to: "2026-12-31" };
    expect(diaryCalendar(store, range).map(({ day }) => day)).toEqual(["2026-12-31"]);
  });
});

describe("the frequency", () => {
  test("per week: the days of one ISO week stand together across the year's end", () => {
    expect(diaryFrequency(store, "week")).toEqual([
      { period: "2026-W53", entries: 4, mean_minutes: 15, worst_severity: "steady_stream" },
    ]);
  });

  test("per month", () => {
    expect(diaryFrequency(store, "month").map(({ period, entries }) => [period, entries])).toEqual([
      ["2026-12", 3],
      ["2027-01", 1],
    ]);
    expect(frequencyRequest("month").groupBy).toEqual(["month"]);
  });

  test.each([
    ["2024-12-30", "2025-W01"],
    ["2026-01-01", "2026-W01"],
    ["2027-01-03", "2026-W53"],
    ["2027-01-04", "2027-W01"],
    ["2028-02-29", "2028-W09"],
  ])("%s is in %s", (day, week) => {
    expect(isoWeek(day)).toBe(week);
  });
});

describe("corrections", () => {
  const event = (leaf: string, op: RecordedEvent["op"], ref?: readonly string[]) =>
    ({ leaf, op, type: "NosebleedRecorded", stream: "s", header: { ref } }) as RecordedEvent;

  test("name the event, the actor and the reason code", () => {
    const correction = { actor: "ada", why: "typo" };
    expect(amendmentOf(event("a", "create"), { x: 1 }, correction)).toEqual({
      type: "NosebleedRecorded",
      stream: "s",
      data: { x: 1 },
      op: "amend",
      ref: ["a"],
      ...correction,
    });
    expect(retractionOf(event("a", "create"), correction)).toMatchObject({
      type: "DiaryEntryRetracted",
      op: "retract",
      ref: ["a"],
    });
  });

  test("leave the original visible and say what superseded it", () => {
    const log = [event("a", "create"), event("b", "amend", ["a"]), event("c", "retract", ["b"])];
    expect(revisionsOf(log).map(({ supersededBy, holds }) => [supersededBy, holds])).toEqual([
      [["b"], false],
      [["c"], false],
      [[], true],
    ]);
  });
});
