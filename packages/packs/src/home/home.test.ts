import {
  createRegistry,
  evolveAll,
  type Header,
  type ModelQuery,
  type Projection,
  type RecordedEvent,
} from "@holdfast/core";
import { given } from "@holdfast/testkit";
import { describe, expect, test } from "vitest";
import { diaryProjection } from "../diary/projections.ts";
import { deviceDecider, roomDecider } from "./deciders.ts";
import { homeEvents } from "./events.ts";
import {
  devicesProjection,
  homeProjections,
  keptReadings,
  profileProjection,
  settingsProjection,
  vitalSignsProjection,
} from "./projections.ts";
import { levelOf, vitalSignKinds, vitalSigns } from "./vital-kinds.ts";

const registry = createRegistry(homeEvents);

function event(
  type: string,
  data: unknown,
  extra: { leaf?: string; op?: RecordedEvent["op"]; ref?: readonly string[] } = {},
): RecordedEvent {
  return {
    position: 1,
    leaf: extra.leaf ?? "leaf",
    header: { ref: extra.ref } as unknown as Header,
    id: "",
    type,
    schemaVersion: 1,
    known: true,
    stream: "s",
    scope: "s",
    actor: "a",
    op: extra.op ?? "create",
    recordedAt: 0,
    occurredAt: undefined,
    reason: undefined,
    data: registry.validate(type, data),
    text: undefined,
    content: "opened",
  };
}

function folded<State>(
  projection: Projection<State>,
  ...events: readonly RecordedEvent[]
): ReturnType<Projection<State>["row"]> | undefined {
  const state = events.reduce<State | undefined>((s, e) => projection.fold(s, e), undefined);
  return state === undefined ? undefined : projection.row(state);
}

const heart = (value: number, minute: number, leaf = `m${minute}`) =>
  event(
    "VitalSignMeasured",
    {
      kind: "heart_rate",
      measured_at: `2026-03-01T08:${String(minute).padStart(2, "0")}:00+01:00`,
      value,
      unit: "/min",
    },
    { leaf },
  );

describe("vital signs", () => {
  test.each([
    [
      { sign: "temp_f", reading: "98.6" },
      { kind: "temperature", value: 37, unit: "Cel" },
    ],
    [
      { sign: "bp", reading: "120/80" },
      { kind: "blood_pressure", value: 120, diastolic: 80 },
    ],
    [
      { sign: "glucose_mg_dl", reading: "99" },
      { kind: "glucose", value: 5.495, unit: "mmol/L" },
    ],
    [
      { sign: "weight_lb", reading: "154" },
      { kind: "weight", value: 69.853, unit: "kg" },
    ],
    [
      { sign: "hr", reading: "61", comment: "x" },
      { kind: "heart_rate", value: 61, notes: "x" },
    ],
  ])("of version 1 are lifted: %o", (old, expected) => {
    const taken_at = "2026-03-01T08:00:00Z";
    const read = registry.read("VitalSignMeasured", 1, { taken_at, ...old });
    expect(read.version).toBe(2);
    expect(read.payload).toMatchObject({ measured_at: taken_at, ...expected });
  });

  test("of version 1 that are no number cannot be read", () => {
    const old = { taken_at: "2026-03-01T08:00:00Z", sign: "hr", reading: "high" };
    expect(() => registry.read("VitalSignMeasured", 1, old)).toThrow(/payload_unreadable/);
  });

  test.each([
    ["the unit of another kind", { kind: "heart_rate", value: 60, unit: "Cel" }],
    ["an impossible value", { kind: "oxygen_saturation", value: 101, unit: "%" }],
    ["a blood pressure of one number", { kind: "blood_pressure", value: 120, unit: "mm[Hg]" }],
    ["two numbers of a heart rate", { kind: "heart_rate", value: 60, diastolic: 1, unit: "/min" }],
  ])("are refused with %s", (_, data) => {
    const measured_at = "2026-03-01T08:00:00Z";
    expect(() => registry.validate("VitalSignMeasured", { ...data, measured_at })).toThrow(
      /payload_invalid/,
    );
  });

  test("show the newest reading, whatever the order of arrival", () => {
    const row = { value: 72, measured_at: "2026-03-01T07:05:00.000Z", count: 2, level: "normal" };
    expect(folded(vitalSignsProjection, heart(72, 5), heart(60, 1))).toMatchObject(row);
    expect(folded(vitalSignsProjection, heart(60, 1), heart(72, 5))).toMatchObject(row);
  });

  test("fall back to the reading before when the newest is withdrawn, and to none", () => {
    const withdraw = (ref: string) =>
      event("VitalSignRetracted", {}, { op: "retract", ref: [ref], leaf: "r" });
    const one = folded(vitalSignsProjection, heart(60, 1), heart(172, 5), withdraw("m5"));
    expect(one).toMatchObject({ value: 60, count: 1 });
    const none = folded(vitalSignsProjection, heart(60, 1), withdraw("m1"));
    expect(none).toMatchObject({ value: null, level: null, count: 0 });
  });

  test("take an amendment in place of the reading that it names", () => {
    const right = { ...heart(71, 5, "m6"), op: "amend" as const };
    const amended = { ...right, header: { ref: ["m5"] } as unknown as Header };
    expect(folded(vitalSignsProjection, heart(171, 5), amended)).toMatchObject({
      value: 71,
      count: 1,
      level: "normal",
    });
  });

  test("keep a bounded number of readings in the row and count all", () => {
    const readings = Array.from({ length: keptReadings + 5 }, (_, minute) => heart(60, minute));
    const state = readings.reduce<ReturnType<typeof vitalSignsProjection.fold>>(
      (series, reading) => vitalSignsProjection.fold(series, reading),
      undefined,
    );
    expect(state?.readings).toHaveLength(keptReadings);
    expect(state?.count).toBe(keptReadings + 5);
  });

  test("get their level from the thresholds that were set, else from the defaults", () => {
    const set = event("ThresholdSet", {
      kind: "heart_rate",
      bounds: { high_warning: 70, high_critical: 90 },
    });
    expect(folded(vitalSignsProjection, heart(80, 1))).toMatchObject({ level: "normal" });
    expect(folded(vitalSignsProjection, heart(80, 1), set)).toMatchObject({ level: "warning" });
    expect(folded(vitalSignsProjection, set, heart(91, 1))).toMatchObject({ level: "critical" });
    const pressure = event("VitalSignMeasured", {
      kind: "blood_pressure",
      measured_at: "2026-03-01T08:00:00Z",
      value: 130,
      diastolic: 125,
      unit: "mm[Hg]",
    });
    expect(folded(vitalSignsProjection, pressure)).toMatchObject({ level: "critical" });
  });

  test("refuse thresholds that do not rise", () => {
    const bounds = { low_warning: 60, high_warning: 50 };
    expect(() => registry.validate("ThresholdSet", { kind: "heart_rate", bounds })).toThrow(
      /payload_invalid/,
    );
  });

  test("have codes, units and rising default bounds for every kind", () => {
    for (const kind of vitalSignKinds) {
      const { loinc, bounds } = vitalSigns[kind];
      expect(loinc).toMatch(/^\d{4,5}-\d$/);
      const set = Object.values(bounds).filter((bound) => bound !== null);
      expect(set).toEqual(set.toSorted((a, b) => a - b));
      expect(levelOf(-1, bounds)).toBe(bounds.low_critical === null ? "normal" : "critical");
    }
  });
});

describe("rooms and devices", () => {
  test("a room is added once, renamed, removed and added again", () => {
    const added = event("RoomAdded", { name: "Bedroom", use: "bedroom", floor: 1 });
    const renamed = event("RoomRenamed", { name: "Study" });
    const removed = event("RoomRemoved", {});
    given(roomDecider, [])
      .when({ do: "rename", name: "Study" })
      .thenRefused("there is no such room");
    given(roomDecider, [])
      .when({ do: "add", name: "Attic" })
      .then([{ type: "RoomAdded", data: { name: "Attic" } }]);
    given(roomDecider, [added])
      .when({ do: "add", name: "Bedroom" })
      .thenRefused("the room is there already");
    given(roomDecider, [added]).when({ do: "rename", name: "Bedroom" }).then([]);
    given(roomDecider, [added])
      .when({ do: "rename", name: "Study" })
      .then([{ type: "RoomRenamed", data: { name: "Study" } }]);
    given(roomDecider, [added, renamed])
      .when({ do: "remove" })
      .thenState({ name: "Study", use: "bedroom", floor: 1, present: false });
    const past = [added, renamed, removed];
    given(roomDecider, past).when({ do: "remove" }).thenRefused("there is no such room");
    given(roomDecider, past)
      .when({ do: "add", name: "Attic", use: "storage", floor: 2 })
      .thenState({ name: "Attic", use: "storage", floor: 2, present: true });
    expect(evolveAll(roomDecider, past)).toMatchObject({ name: "Study", present: false });
  });

  test("a device is moved and heard while it is in use", () => {
    const registered = event("DeviceRegistered", { name: "Hub" });
    const retired = event("DeviceRetired", {});
    given(deviceDecider, [])
      .when({ do: "register", name: "Hub" })
      .then([{ type: "DeviceRegistered", data: { name: "Hub" } }]);
    given(deviceDecider, [registered])
      .when({ do: "register", name: "Hub" })
      .thenRefused("the device is in use already");
    given(deviceDecider, [registered]).when({ do: "move", room: null }).then([]);
    given(deviceDecider, [registered])
      .when({ do: "move", room: "r" })
      .then([{ type: "DeviceMoved", data: { room: "r" } }]);
    given(deviceDecider, [registered, retired])
      .when({ do: "retire" })
      .thenRefused("no such device is in use");
  });

  test("of two reports the later one holds, in whichever order they come", () => {
    const report = (reported_at: string, state: string) =>
      event("DeviceStatusReported", { reported_at, state });
    const registered = event("DeviceRegistered", { name: "Hub" });
    const early = report("2026-03-01T08:00:00+01:00", "offline");
    const late = report("2026-03-01T07:30:00Z", "online");
    for (const reports of [
      [early, late],
      [late, early],
    ])
      expect(folded(devicesProjection, registered, ...reports)).toMatchObject({
        reported: "online",
        reported_at: "2026-03-01T07:30:00.000Z",
      });
  });
});

describe("profile, sessions, settings", () => {
  test("a profile keeps what an update leaves out, and loses what is null", () => {
    const first = event("ProfileUpdated", { name: "Ada", language: "en", height_cm: 170 });
    const second = event("ProfileUpdated", { language: null, time_zone: "Europe/Berlin" });
    expect(folded(profileProjection, first, second)).toEqual({
      name: "Ada",
      language: null,
      time_zone: "Europe/Berlin",
    });
  });

  test("a setting of null goes back to its default", () => {
    const changed = (value: unknown) => event("SettingChanged", { key: "units.glucose", value });
    expect(folded(settingsProjection, changed(false))).toEqual({
      key: "units.glucose",
      value: "false",
    });
    expect(folded(settingsProjection, changed(false), changed(null))).toBeUndefined();
    expect(registry.types.get("SettingChanged")?.strategy).toBe("last-writer");
  });

  test("every event type has a read model", () => {
    const shown = new Set(homeProjections.flatMap((projection) => projection.types));
    expect(homeEvents.map(({ type }) => type).filter((type) => !shown.has(type))).toEqual([]);
  });
});

test("declared indices and queries name declared columns", () => {
  interface Declared {
    readonly indexes?: readonly (readonly string[])[];
    readonly queries?: Readonly<Record<string, ModelQuery>>;
  }
  for (const projection of [diaryProjection, ...homeProjections]) {
    const { indexes = [], queries = {} } = projection as Declared;
    const asked = Object.values(queries).flatMap(({ where = {}, order = [] }) => [
      ...Object.keys(where),
      ...order.map((column) => column.replace(/^-/, "")),
    ]);
    const columns = [...Object.keys(projection.columns), "scope"];
    expect(columns).toEqual(expect.arrayContaining([...indexes.flat(), ...asked]));
  }
});
