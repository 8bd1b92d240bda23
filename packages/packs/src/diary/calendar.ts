/**
 * Calendar and frequency of nosebleeds: answers over the rows of the read model `diary`.
 *
 * Rows are keyed by stream, so a day, a week or a month is a group of rows. Both answers are one aggregate
 * request each; a store that has no `aggregate` answers from its rows, to the same result. Retracted entries
 * do not count.
 */
import type { ColumnValue, Condition, ModelQuery, ModelRow } from "@holdfast/core";
import { severities, type Severity } from "./events.ts";
import type { DiaryEntry } from "./projections.ts";

/** What one column of an aggregate holds. */
export type Measure =
  | "count"
  | { readonly sum: string }
  | { readonly avg: string }
  | { readonly min: string }
  | { readonly max: string };

/** Which rows to group by which columns, and what to measure in each group. */
export interface AggregateRequest {
  readonly where: Readonly<Record<string, Condition>>;
  readonly groupBy: readonly string[];
  readonly measures: Readonly<Record<string, Measure>>;
  readonly order: readonly string[];
  readonly limit: number;
}

/** One group: its columns and measures. */
export type AggregateRow = Readonly<Record<string, ColumnValue>>;

/** The part of a store that calendar and frequency need. */
export interface DiaryReader {
  query<State = unknown>(model: string, query?: ModelQuery): readonly ModelRow<State>[];
  count(model: string, query?: Pick<ModelQuery, "where">): number;
  aggregate?(model: string, request: AggregateRequest): readonly AggregateRow[];
}

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

function nosebleedsIn({ from, to }: DayRange): AggregateRequest["where"] {
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
export function calendarRequest(range: DayRange = {}): AggregateRequest {
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
export function frequencyRequest(per: "week" | "month", range: DayRange = {}): AggregateRequest {
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
export function diaryCalendar(store: DiaryReader, range: DayRange = {}): readonly CalendarDay[] {
  return calendarFrom(groupsOf(store, calendarRequest(range)));
}

/** How often, per week or month that has at least one nosebleed, in order. Throws `model_unknown`. */
export function diaryFrequency(
  store: DiaryReader,
  per: "week" | "month",
  range: DayRange = {},
): readonly Frequency[] {
  return frequencyFrom(per, groupsOf(store, frequencyRequest(per, range)));
}

function groupsOf(store: DiaryReader, request: AggregateRequest): readonly AggregateRow[] {
  if (store.aggregate !== undefined) return store.aggregate("diary", request);
  const { where } = request;
  const limit = store.count("diary", { where });
  return groupRows(store.query<DiaryEntry>("diary", { where, limit }), request);
}

/**
 * The groups of rows that a query has found: what the database answers to the same request. Aggregates leave
 * null values out, as SQL does; groups are in ascending order.
 */
export function groupRows(
  rows: readonly Pick<ModelRow, "columns">[],
  { groupBy, measures, limit }: Pick<AggregateRequest, "groupBy" | "measures" | "limit">,
): readonly AggregateRow[] {
  const groups = new Map<string, AggregateRow[]>();
  for (const { columns } of rows) {
    const key = JSON.stringify(groupBy.map((column) => columns[column] ?? null));
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [columns]);
    else group.push(columns);
  }
  return [...groups]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .slice(0, limit)
    .map(([, group]) => ({
      ...Object.fromEntries(groupBy.map((column) => [column, group[0]?.[column] ?? null])),
      ...Object.fromEntries(
        Object.entries(measures).map(([name, measure]) => [name, measureOf(group, measure)]),
      ),
    }));
}

function measureOf(group: readonly AggregateRow[], measure: Measure): number | null {
  if (measure === "count") return group.length;
  const [[kind, column] = ["", ""]] = Object.entries(measure);
  const values = group.map((row) => row[column]).filter((value) => typeof value === "number");
  if (values.length === 0) return null;
  const sum = values.reduce((total, value) => total + value, 0);
  switch (kind) {
    case "sum":
      return sum;
    case "avg":
      return sum / values.length;
    case "min":
      return Math.min(...values);
    default:
      return Math.max(...values);
  }
}
