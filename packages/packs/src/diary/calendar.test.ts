import type { ModelRow, RecordedEvent } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import {
  type AggregateRow,
  calendarRequest,
  diaryCalendar,
  diaryFrequency,
  frequencyRequest,
  groupRows,
} from "./calendar.ts";
import { amendmentOf, retractionOf, revisionsOf } from "./corrections.ts";
import { isoWeek } from "./projections.ts";

const row = (day: string, minutes: number | null, rank: number | null): ModelRow => {
  const columns = {
    day,
    week: isoWeek(day),
    month: day.slice(0, 7),
    duration_minutes: minutes,
    severity_rank: rank,
  };
  return { stream: day, scope: "s", columns, state: {} };
};

const rows = [
  row("2026-12-31", 20, null),
  row("2026-12-30", 10, 2),
  row("2026-12-30", null, 4),
  row("2027-01-01", null, 1),
];
const reader = { query: () => rows as never, count: () => rows.length };

describe("the calendar", () => {
  test("has each day with its worst severity and its minutes, in order", () => {
    expect(diaryCalendar(reader)).toEqual([
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

  test("uses the store's aggregate where there is one", () => {
    const answers: AggregateRow[] = [{ day: "2026-01-01", entries: 3, minutes: null, worst: 6 }];
    const asked: unknown[] = [];
    const aggregate = (model: string, request: unknown) => {
      asked.push(model, request);
      return answers;
    };
    expect(diaryCalendar({ ...reader, aggregate }, { to: "2026-02-01" })).toEqual([
      { day: "2026-01-01", entries: 3, worst_severity: "gushing", minutes: 0 },
    ]);
    expect(asked).toEqual(["diary", calendarRequest({ to: "2026-02-01" })]);
  });
});

describe("the frequency", () => {
  test("per week: the days of one ISO week stand together across the year's end", () => {
    expect(diaryFrequency(reader, "week")).toEqual([
      { period: "2026-W53", entries: 4, mean_minutes: 15, worst_severity: "steady_stream" },
    ]);
  });

  test("per month", () => {
    expect(diaryFrequency(reader, "month").map(({ period, entries }) => [period, entries])).toEqual(
      [
        ["2026-12", 3],
        ["2027-01", 1],
      ],
    );
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

test("groups leave null values out, as SQL does", () => {
  const measures = {
    least: { min: "duration_minutes" },
    most: { max: "duration_minutes" },
  } as const;
  expect(groupRows(rows, { groupBy: ["month"], measures, limit: 1 })).toEqual([
    { month: "2026-12", least: 10, most: 20 },
  ]);
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
