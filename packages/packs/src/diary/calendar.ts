/**
 * Calendar and frequency of nosebleeds: answers over the rows of the read model `diary`.
 *
 * Rows are keyed by stream, so a day, a week or a month is a group of rows, and each answer is one aggregate.
 * Retracted entries do not count.
 */
import type { AggregateQuery, AggregateRow, ColumnValue, Holdfast, Where } from "@holdfast/core";
import { severities, type Severity } from "./events.ts";

/** Days `YYYY-MM-DD`, both inclusive; left out: no bound. */
export interface DayRange {
  readonly from?: string;
  readonly to?: string;
}

/** What happened on one day. */
export interface CalendarDay {
  /** `YYYY-MM-DD`, where the person was. */
  readonly day: string;
  readonly entries: number;
  /** Null when no entry of the day has one. */
  readonly worst_severity: Severity | null;
  /** Minutes of bleeding, of the entries whose duration is known. */
  readonly minutes: number;
}

/** How often, and how long, in one week or month. */
export interface Frequency {
  /** ISO week `YYYY-Www` or month `YYYY-MM`. */
  readonly period: string;
  readonly entries: number;
  /** Null when no duration is known. */
  readonly mean_minutes: number | null;
  readonly worst_severity: Severity | null;
}

/** Groups of one answer; ten thousand days are 27 years. */
const groupsMax = 10_000;

function nosebleedsIn({ from, to }: DayRange): Where {
  return {
    kind: "NosebleedRecorded",
    status: { ne: "retracted" },
    day: {
      ne: null,
      ...(from === undefined ? {} : { gte: from }),
      ...(to === undefined ? {} : { lte: to }),
    },
  };
}

/** The aggregate that {@link calendarFrom} reads. */
export function calendarRequest(range: DayRange = {}): AggregateQuery {
  return {
    where: nosebleedsIn(range),
    groupBy: ["day"],
    measures: {
      entries: "count",
      minutes: { sum: "duration_minutes" },
      worst: { max: "severity_rank" },
    },
    order: ["day"],
    limit: groupsMax,
  };
}

/** The aggregate that {@link frequencyFrom} reads. */
export function frequencyRequest(per: "week" | "month", range: DayRange = {}): AggregateQuery {
  return {
    where: nosebleedsIn(range),
    groupBy: [per],
    measures: {
      entries: "count",
      mean_minutes: { avg: "duration_minutes" },
      worst: { max: "severity_rank" },
    },
    order: [per],
    limit: groupsMax,
  };
}

/** Groups as days. */
export function calendarFrom(groups: readonly AggregateRow[]): readonly CalendarDay[] {
  return groups.map((group) => ({
    day: String(group["day"]),
    entries: Number(group["entries"]),
    worst_severity: severityOf(group["worst"]),
    minutes: Number(group["minutes"] ?? 0),
  }));
}

/** Groups as weeks or months. */
export function frequencyFrom(
  per: "week" | "month",
  groups: readonly AggregateRow[],
): readonly Frequency[] {
  return groups.map((group) => ({
    period: String(group[per]),
    entries: Number(group["entries"]),
    mean_minutes: typeof group["mean_minutes"] === "number" ? group["mean_minutes"] : null,
    worst_severity: severityOf(group["worst"]),
  }));
}

function severityOf(rank: ColumnValue | undefined): Severity | null {
  return typeof rank === "number" ? (severities[rank - 1] ?? null) : null;
}

/** The calendar of a diary: days with at least one nosebleed, in order. Throws `model_unknown`. */
export function diaryCalendar(
  store: Pick<Holdfast, "aggregate">,
  range: DayRange = {},
): readonly CalendarDay[] {
  return calendarFrom(store.aggregate("diary", calendarRequest(range)));
}

/** How often, per week or month that has at least one nosebleed, in order. Throws `model_unknown`. */
export function diaryFrequency(
  store: Pick<Holdfast, "aggregate">,
  per: "week" | "month",
  range: DayRange = {},
): readonly Frequency[] {
  return frequencyFrom(per, store.aggregate("diary", frequencyRequest(per, range)));
}
