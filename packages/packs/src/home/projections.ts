/**
 * Read models of home monitoring: `rooms`, `devices`, `vital_signs`, `thresholds`, `profile`, `sessions`,
 * `settings`. Each has one row per stream.
 */
import { defineProjection, type Projection, type RecordedEvent } from "@holdfast/core";
import type { Thresholds, VitalSign } from "./events.ts";
import { evolveDevice, evolveRoom, type DeviceState, type RoomState } from "./deciders.ts";
import { type AlarmLevel, levelOf, vitalSigns, worseLevel } from "./vital-kinds.ts";

// Queries that the pack relies on, and the indices over several columns that they need.
const roomQueries = {
  indexes: [["present", "name"]],
  queries: { present: { where: { present: 1 }, order: ["name"] } },
};
const deviceQueries = {
  indexes: [
    ["room", "name"],
    ["in_use", "name"],
  ],
  queries: {
    in_room: { where: { room: "room/1" }, order: ["name"] },
    in_use: { where: { in_use: 1 }, order: ["name"] },
    faulty: { where: { reported: "fault" } },
  },
};
const vitalSignQueries = {
  indexes: [
    ["level", "measured_at"],
    ["kind", "measured_at"],
    ["scope", "kind"],
  ],
  queries: {
    critical: { where: { level: "critical" }, order: ["-measured_at"] },
    of_kind: { where: { kind: "heart_rate" }, order: ["-measured_at"] },
    of_subject: { where: { scope: "scope" }, order: ["kind"] },
  },
};
const thresholdQueries = { queries: { of_kind: { where: { kind: "heart_rate" } } } };
const sessionQueries = {
  indexes: [["open", "opened_at"]],
  queries: { open: { where: { open: 1 }, order: ["opened_at"] } },
};
const settingQueries = { queries: { by_key: { where: { key: "units.glucose" } } } };

/** Rooms that are part of the home, and those that were. */
export const roomsProjection: Projection<RoomState> = defineProjection<RoomState>({
  name: "rooms",
  version: 1,
  types: ["RoomAdded", "RoomRenamed", "RoomRemoved"],
  columns: { name: "text", use: "text", floor: "integer", present: "integer" },
  ...roomQueries,
  fold: (state, event) => (isOpened(event) ? evolveRoom(state, event) : state),
  row: ({ name, use, floor, present }) => ({ name, use, floor, present: present ? 1 : 0 }),
});

/** Devices, where they stand and what they last said about themselves. */
export const devicesProjection: Projection<DeviceState> = defineProjection<DeviceState>({
  name: "devices",
  version: 1,
  types: ["DeviceRegistered", "DeviceMoved", "DeviceStatusReported", "DeviceRetired"],
  columns: {
    name: "text",
    kind: "text",
    room: "text",
    in_use: "integer",
    reported: "text",
    battery_percent: "real",
    reported_at: "text",
  },
  ...deviceQueries,
  fold: (state, event) => (isOpened(event) ? evolveDevice(state, event) : state),
  row: ({ name, kind, room, in_use, report }) => ({
    name,
    kind,
    room,
    in_use: in_use ? 1 : 0,
    reported: report?.state ?? null,
    battery_percent: report?.battery_percent ?? null,
    reported_at: report?.reported_at ?? null,
  }),
});

/** Readings that a row keeps, so that the one before shows when the newest is withdrawn. */
export const keptReadings = 20;

/** One reading of a series, as it stands. */
export interface Reading {
  readonly leaf: string;
  /** UTC with milliseconds. */
  readonly measured_at: string;
  readonly value: number;
  readonly diastolic: number | null;
}

/** A series of readings: the newest ones, and the thresholds that hold. */
export interface VitalSeries {
  readonly kind: VitalSign["kind"];
  readonly unit: string;
  /** Newest last, at most {@link keptReadings}. */
  readonly readings: readonly Reading[];
  /** Readings recorded, without those withdrawn. */
  readonly count: number;
  /** Null: the defaults of the kind. */
  readonly thresholds: Thresholds | null;
}

/** Series of readings, by `kind`, `measured_at`, `value` and `level` of the newest. */
export const vitalSignsProjection: Projection<VitalSeries> = defineProjection<VitalSeries>({
  name: "vital_signs",
  version: 1,
  types: ["VitalSignMeasured", "VitalSignRetracted", "ThresholdSet"],
  columns: {
    kind: "text",
    measured_at: "text",
    value: "real",
    diastolic: "real",
    unit: "text",
    level: "text",
    count: "integer",
  },
  ...vitalSignQueries,
  fold(state, event) {
    if (!isOpened(event)) return state;
    if (event.type === "ThresholdSet") {
      const thresholds = event.data as Thresholds;
      return { ...(state ?? emptySeries(thresholds.kind)), thresholds };
    }
    if (event.op === "retract") return state === undefined ? undefined : withdrawn(state, event);
    return event.type === "VitalSignMeasured" ? measured(state, event) : state;
  },
  row(series) {
    const newest = series.readings.at(-1);
    return {
      kind: series.kind,
      measured_at: newest?.measured_at ?? null,
      value: newest?.value ?? null,
      diastolic: newest?.diastolic ?? null,
      unit: series.unit,
      level: newest === undefined ? null : readingLevel(series, newest),
      count: series.count,
    };
  },
});

function emptySeries(kind: VitalSign["kind"]): VitalSeries {
  return { kind, unit: vitalSigns[kind].unit, readings: [], count: 0, thresholds: null };
}

/** The level of a reading under the thresholds that hold now. */
export function readingLevel(
  { kind, thresholds }: Pick<VitalSeries, "kind" | "thresholds">,
  reading: Pick<Reading, "value" | "diastolic">,
): AlarmLevel {
  const known = vitalSigns[kind];
  const level = levelOf(reading.value, thresholds?.bounds ?? known.bounds);
  const diastolic = thresholds?.diastolic_bounds ?? known.diastolicBounds;
  if (reading.diastolic === null || diastolic === undefined) return level;
  return worseLevel(level, levelOf(reading.diastolic, diastolic));
}

function measured(state: VitalSeries | undefined, event: RecordedEvent): VitalSeries {
  const { kind, measured_at, value, diastolic } = event.data as VitalSign;
  const series = state ?? emptySeries(kind);
  const reading = { leaf: event.leaf, measured_at: utc(measured_at), value, diastolic };
  const refs = event.op === "amend" ? (event.header.ref ?? []) : [];
  const others = series.readings.filter(({ leaf }) => !refs.includes(leaf));
  const readings = [...others, reading].toSorted(byTime).slice(-keptReadings);
  return { ...series, readings, count: series.count + (refs.length > 0 ? 0 : 1) };
}

function withdrawn(series: VitalSeries, event: RecordedEvent): VitalSeries {
  const refs = event.header.ref ?? [];
  const readings = series.readings.filter(({ leaf }) => !refs.includes(leaf));
  return { ...series, readings, count: Math.max(0, series.count - refs.length) };
}

/** By time, then by leaf, so that the order does not depend on arrival. */
function byTime(a: Reading, b: Reading): number {
  return `${a.measured_at}${a.leaf}` < `${b.measured_at}${b.leaf}` ? -1 : 1;
}

function utc(instant: string): string {
  return new Date(instant).toISOString();
}

/** Thresholds that were set; series without a row have the defaults of their kind. */
export const thresholdsProjection: Projection<Thresholds> = defineProjection<Thresholds>({
  name: "thresholds",
  version: 1,
  types: ["ThresholdSet"],
  columns: { kind: "text", low: "real", high: "real" },
  ...thresholdQueries,
  fold: (state, event) => (isOpened(event) ? (event.data as Thresholds) : state),
  row: ({ kind, bounds }) => ({
    kind,
    low: bounds.low_critical ?? bounds.low_warning,
    high: bounds.high_critical ?? bounds.high_warning,
  }),
});

/** A profile: what the updates left. */
export type Profile = Readonly<Record<string, unknown>>;

/** Profiles, one row per person. */
export const profileProjection: Projection<Profile> = defineProjection<Profile>({
  name: "profile",
  version: 1,
  types: ["ProfileUpdated"],
  columns: { name: "text", language: "text", time_zone: "text" },
  fold(state, event) {
    if (!isOpened(event)) return state;
    const merged = { ...state, ...(event.data as Profile) };
    return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null));
  },
  row: (profile) => ({
    name: textOf(profile["name"]),
    language: textOf(profile["language"]),
    time_zone: textOf(profile["time_zone"]),
  }),
});

/** A session of a person on an installation. */
export interface SessionState {
  readonly actor: string;
  readonly method: string;
  readonly opened_at: string;
  readonly closed_at: string | null;
  readonly cause: string | null;
}

/** Sessions; `open` is 1 until one is closed. */
export const sessionsProjection: Projection<SessionState> = defineProjection<SessionState>({
  name: "sessions",
  version: 1,
  types: ["SessionOpened", "SessionClosed"],
  columns: { actor: "text", method: "text", opened_at: "text", closed_at: "text", open: "integer" },
  ...sessionQueries,
  fold(state, event) {
    if (!isOpened(event)) return state;
    if (event.type === "SessionOpened") {
      const { opened_at, method } = event.data as Record<"opened_at" | "method", string>;
      const opened = { actor: event.actor, method, opened_at: utc(opened_at) };
      return { ...opened, closed_at: null, cause: null };
    }
    const { closed_at, cause } = event.data as Record<"closed_at" | "cause", string>;
    return state === undefined ? undefined : { ...state, closed_at: utc(closed_at), cause };
  },
  row: ({ actor, method, opened_at, closed_at }) => ({
    actor,
    method,
    opened_at,
    closed_at,
    open: closed_at === null ? 1 : 0,
  }),
});

/** A setting that differs from its default. */
export interface SettingState {
  readonly key: string;
  readonly value: string | number | boolean;
}

/** Settings; `value` as a JSON text. */
export const settingsProjection: Projection<SettingState> = defineProjection<SettingState>({
  name: "settings",
  version: 1,
  types: ["SettingChanged"],
  columns: { key: "text", value: "text" },
  ...settingQueries,
  fold(state, event) {
    if (!isOpened(event)) return state;
    const { key, value } = event.data as { key: string; value: SettingState["value"] | null };
    return value === null ? undefined : { key, value };
  },
  row: ({ key, value }) => ({ key, value: JSON.stringify(value) }),
});

/** What cannot be opened cannot be shown; the row keeps what was known. */
function isOpened(event: RecordedEvent): boolean {
  return event.content === "opened";
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** The projections of home monitoring. */
export const homeProjections = [
  roomsProjection,
  devicesProjection,
  vitalSignsProjection,
  thresholdsProjection,
  profileProjection,
  sessionsProjection,
  settingsProjection,
] as const;
