import { createRegistry, noPrevious, type RecordedEvent } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { bloodPressureMeasured, diaryEvents, nosebleedRecorded } from "./events.ts";
import { diaryProjection, type DiaryEntry, directoryProjection } from "./projections.ts";

const registry = createRegistry(diaryEvents);

function event(
  leaf: string,
  type: string,
  data: unknown,
  extra: Partial<RecordedEvent> = {},
): RecordedEvent {
  const header = { ref: extra.header?.ref, why: extra.header?.why } as RecordedEvent["header"];
  return {
    position: 1,
    leaf,
    id: leaf,
    type,
    schemaVersion: 1,
    known: true,
    stream: "s",
    scope: noPrevious,
    actor: "a",
    op: "create",
    recordedAt: 0,
    occurredAt: undefined,
    reason: undefined,
    data: registry.validate(type, data),
    text: undefined,
    content: "opened",
    ...extra,
    header,
  };
}

const naming = (ref: string, why = "typo"): Pick<RecordedEvent, "header"> => {
  return { header: { ref: [ref], why } as unknown as RecordedEvent["header"] };
};

function folded(...events: readonly RecordedEvent[]): DiaryEntry | undefined {
  return events.reduce<DiaryEntry | undefined>(
    (state, one) => diaryProjection.fold(state, one),
    undefined,
  );
}

const start = "2026-03-01T08:00:00.000Z";

describe("event types", () => {
  test("lift a nosebleed of version 1 and fill what was not asked", () => {
    const read = registry.read("NosebleedRecorded", 1, { at: start, minutes: 12, intensity: 6 });
    expect(read).toEqual({
      known: true,
      version: 2,
      payload: {
        started_at: start,
        ended_at: null,
        duration_minutes: 12,
        severity: "gushing",
        side: "unknown",
        interventions: [],
        notes: "",
      },
    });
    expect(() => registry.read("NosebleedRecorded", 1, { at: 5 })).toThrow("payload_unreadable");
  });

  test("refuse fields that they do not know, and take what they wrote", () => {
    expect(() => registry.validate("NosebleedRecorded", { started_at: start, severty: 1 })).toThrow(
      "payload_invalid",
    );
    const once = registry.validate("NosebleedRecorded", { started_at: start });
    expect(registry.validate("NosebleedRecorded", once)).toEqual(once);
    expect(bloodPressureMeasured.concurrency).toBe("independent");
    expect(nosebleedRecorded.version).toBe(2);
  });
});

describe("the diary", () => {
  test("shows an entry as corrected, with what it superseded", () => {
    const first = event("L1", "NosebleedRecorded", { started_at: start, severity: "dripping" });
    const ended_at = "2026-03-01T09:30:00.000+01:00";
    const second = event(
      "L2",
      "NosebleedRecorded",
      { started_at: start, ended_at, severity: "pouring" },
      { op: "amend", ...naming("L1") },
    );
    const state = folded(first, second);
    expect(state).toMatchObject({
      status: "amended",
      severity: "pouring",
      duration_minutes: 30,
      ended_at: "2026-03-01T08:30:00.000Z",
      revisions: 2,
      superseded: ["L1"],
      leaf: "L2",
      why: "typo",
    });
    expect(Object.keys(diaryProjection.row(state as DiaryEntry)).toSorted()).toEqual(
      Object.keys(diaryProjection.columns).toSorted(),
    );
  });

  test("keeps a retracted entry visible as retracted", () => {
    const first = event("L1", "MedicationTaken", {
      taken_at: start,
      medication: "tranexamic acid",
    });
    const gone = event(
      "L2",
      "DiaryEntryRetracted",
      {},
      { op: "retract", ...naming("L1", "wrong-person") },
    );
    expect(folded(first, gone)).toMatchObject({
      status: "retracted",
      superseded: ["L1"],
      why: "wrong-person",
      entry: { medication: "tranexamic acid" },
    });
    expect(folded(gone)).toBe(undefined);
  });

  test("shows the latest reading of a series, in any order of arrival", () => {
    const reading = (leaf: string, minute: string) =>
      event(leaf, "BloodPressureMeasured", {
        measured_at: `2026-03-01T08:${minute}:00Z`,
        systolic_mmhg: 120,
        diastolic_mmhg: 80,
      });
    const [a, b] = [reading("L1", "05"), reading("L2", "01")];
    expect(folded(a, b)).toMatchObject({ leaf: "L1", entries: 2 });
    expect(folded(b, a)).toMatchObject({ leaf: "L1", entries: 2 });
  });

  test("keeps what it knew when content cannot be opened", () => {
    const first = event("L1", "DiaryNoteWritten", { text: "slept well" });
    const closed = { ...first, leaf: "L2", data: undefined, content: "shredded" as const };
    expect(folded(first, closed)).toEqual(folded(first));
  });
});

test("the directory maps a pseudonym to a person", () => {
  const registered = event("L1", "SubjectRegistered", { subject: "p1", name: "Ada Example" });
  const state = directoryProjection.fold(undefined, registered);
  expect(state).toMatchObject({ kind: "subject", key: "p1", name: "Ada Example" });
});
