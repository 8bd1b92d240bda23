/**
 * Read models of the diary: `diary` (one row per entry) and `directory` (who is who).
 */
import { defineProjection, type Projection, type RecordedEvent } from "@holdfast/core";
import { wordsOf } from "../search-words.ts";
import { type Nosebleed, severities, type Severity } from "./events.ts";

/** Where a diary entry stands. */
export type DiaryStatus = "recorded" | "amended" | "retracted";

/** One diary entry as it stands, and what it took to get there. */
export interface DiaryEntry {
  /** Event type of the entry. */
  readonly kind: string;
  readonly status: DiaryStatus;
  readonly started_at: string | null;
  /** The calendar day where the person was: the date of `started_at` as it was claimed, with its offset. */
  readonly day: string | null;
  readonly ended_at: string | null;
  readonly duration_minutes: number | null;
  readonly severity: string | null;
  /** The payload that holds now; of a retracted entry the last that held. */
  readonly entry: unknown;
  /** Leaf of the event that holds now. */
  readonly leaf: string;
  /** Times that the entry was recorded, amended or retracted. */
  readonly revisions: number;
  /** Readings or entries of the stream: above one for measurements. */
  readonly entries: number;
  /** Leaves of the events that no longer hold; they stay in the log. */
  readonly superseded: readonly string[];
  readonly why: string | null;
}

const timeFields = ["started_at", "taken_at", "answered_at", "written_at", "measured_at"] as const;

const entryTypes: readonly string[] = [
  "NosebleedRecorded",
  "MedicationTaken",
  "QuestionnaireAnswered",
  "DiaryNoteWritten",
  "BloodPressureMeasured",
];

// Queries that the pack relies on, and the indices over several columns that they need.
const diaryQueries = {
  indexes: [
    ["kind", "day"],
    ["kind", "started_at"],
    ["scope", "started_at"],
  ],
  queries: {
    newest: { order: ["-started_at"], limit: 100 },
    of_kind: { where: { kind: "NosebleedRecorded" }, order: ["-started_at"] },
    of_subject: { where: { scope: "scope" }, order: ["-started_at"] },
    days: { where: { kind: "NosebleedRecorded", day: { gte: "2026-01-01", lte: "2026-12-31" } } },
  },
};

/**
 * `started_at` is UTC with milliseconds, so that text order is time order. Rows by `started_at`, `severity`,
 * `kind`, `status`, and by `day`, `week` (ISO 8601) and `month`, which calendar and frequency group by;
 * `severity_rank` counts from 1. A stream with several entries shows the latest by time and counts them in
 * `entries`. `search` finds what holds by any text of its payload.
 */
export const diaryProjection: Projection<DiaryEntry> = defineProjection<DiaryEntry>({
  name: "diary",
  version: 3,
  types: [...entryTypes, "DiaryEntryRetracted"],
  columns: {
    kind: "text",
    status: "text",
    started_at: "text",
    ended_at: "text",
    duration_minutes: "real",
    severity: "text",
    severity_rank: "integer",
    day: "text",
    week: "text",
    month: "text",
    revisions: "integer",
    entries: "integer",
  },
  ...diaryQueries,
  searchFields: ["words"],
  fold(state, event) {
    if (event.op === "retract") return state === undefined ? undefined : retracted(state, event);
    // What cannot be opened cannot be shown; the row keeps what was known.
    if (event.content !== "opened" || !entryTypes.includes(event.type)) return state;
    const next = recorded(event);
    if (state === undefined) return next;
    return event.op === "amend" ? amended(state, next, event) : added(state, next);
  },
  row: ({ kind, status, started_at, ended_at, duration_minutes, severity, day, ...counts }) => ({
    kind,
    status,
    started_at,
    ended_at,
    duration_minutes,
    severity,
    severity_rank: severityRank(severity),
    day,
    week: day === null ? null : isoWeek(day),
    month: day === null ? null : day.slice(0, 7),
    revisions: counts.revisions,
    entries: counts.entries,
  }),
  // What was withdrawn is not found any more; its row and its events stay.
  search: ({ status, entry }) => ({
    words: status === "retracted" ? "" : wordsOf(entry, isSearched),
  }),
});

/** All texts of a payload but its times. */
function isSearched(member: string): boolean {
  return !member.endsWith("_at");
}

function severityRank(severity: string | null): number | null {
  return severity === null ? null : severities.indexOf(severity as Severity) + 1;
}

const dayMs = 86_400_000;

/** ISO 8601 week of a calendar day: 2027-01-01 is in 2026-W53. */
export function isoWeek(day: string): string {
  const date = Date.parse(`${day}T00:00:00Z`);
  const weekday = (new Date(date).getUTCDay() + 6) % 7;
  // A week belongs to the year of its Thursday.
  const thursday = date + (3 - weekday) * dayMs;
  const year = new Date(thursday).getUTCFullYear();
  const week = Math.floor((thursday - Date.UTC(year, 0, 1)) / (7 * dayMs)) + 1;
  return `${year}-W${String(week).padStart(2, "0")}`;
}

function recorded(event: RecordedEvent): DiaryEntry {
  const data = event.data as Readonly<Record<string, unknown>>;
  const claimed = timeFields
    .map((field) => data[field])
    .find((value): value is string => typeof value === "string");
  const started = claimed === undefined ? event.occurredAt : Date.parse(claimed);
  const nosebleed = event.type === "NosebleedRecorded" ? (event.data as Nosebleed) : undefined;
  const ended = nosebleed?.ended_at ? Date.parse(nosebleed.ended_at) : undefined;
  return {
    kind: event.type,
    status: "recorded",
    started_at: isoText(started),
    day: (claimed ?? isoText(started))?.slice(0, 10) ?? null,
    ended_at: isoText(ended),
    duration_minutes: nosebleed?.duration_minutes ?? minutesBetween(started, ended),
    severity: nosebleed?.severity ?? null,
    entry: event.data,
    leaf: event.leaf,
    revisions: 1,
    entries: 1,
    superseded: [],
    why: null,
  };
}

function isoText(milliseconds: number | undefined): string | null {
  return milliseconds === undefined ? null : new Date(milliseconds).toISOString();
}

function minutesBetween(start: number | undefined, end: number | undefined): number | null {
  return start === undefined || end === undefined || end < start ? null : (end - start) / 60_000;
}

function amended(state: DiaryEntry, next: DiaryEntry, event: RecordedEvent): DiaryEntry {
  const refs = event.header.ref ?? [];
  const kept = {
    revisions: state.revisions + 1,
    entries: state.entries,
    superseded: joined(state.superseded, refs),
    why: event.header.why ?? null,
  };
  // An amendment of an earlier entry of the stream: what holds now stays what holds now.
  if (!refs.includes(state.leaf)) return { ...state, ...kept };
  return { ...next, ...kept, status: "amended" };
}

function retracted(state: DiaryEntry, event: RecordedEvent): DiaryEntry {
  const refs = event.header.ref ?? [];
  const kept = { revisions: state.revisions + 1, superseded: joined(state.superseded, refs) };
  if (refs.length > 0 && !refs.includes(state.leaf)) return { ...state, ...kept };
  const superseded = joined(kept.superseded, [state.leaf]);
  return { ...state, ...kept, superseded, status: "retracted", why: event.header.why ?? null };
}

/** One more entry or reading on the stream: the later one is shown. */
function added(state: DiaryEntry, next: DiaryEntry): DiaryEntry {
  const later = state.status === "retracted" || (next.started_at ?? "") >= (state.started_at ?? "");
  return {
    ...(later ? next : state),
    entries: state.entries + 1,
    revisions: state.revisions + 1,
    superseded: state.superseded,
  };
}

function joined(before: readonly string[], more: readonly string[]): readonly string[] {
  return [...new Set([...before, ...more])];
}

/** A person or service and the pseudonym's word. */
export interface DirectoryEntry {
  readonly kind: "subject" | "actor";
  readonly key: string;
  readonly name: string;
  readonly person: unknown;
}

/** The directory: maps pseudonyms (the row's stream and scope) to people. */
export const directoryProjection: Projection<DirectoryEntry> = defineProjection<DirectoryEntry>({
  name: "directory",
  version: 1,
  types: ["SubjectRegistered", "ActorRegistered"],
  columns: { kind: "text", key: "text", name: "text" },
  fold(state, event) {
    if (event.op === "retract") return undefined;
    if (event.content !== "opened") return state;
    const person = event.data as {
      readonly name: string;
      readonly subject?: string;
      readonly actor?: string;
    };
    const kind = event.type === "SubjectRegistered" ? "subject" : "actor";
    return { kind, key: person.subject ?? person.actor ?? "", name: person.name, person };
  },
  row: ({ kind, key, name }) => ({ kind, key, name }),
});
