/**
 * The clinical diary: what a person with nosebleeds records, and who is who.
 *
 * One stream per diary entry. An entry is corrected by an event of its own type with `op: "amend"` that
 * holds the whole corrected payload and names the event it supersedes, and withdrawn by
 * `DiaryEntryRetracted` with `op: "retract"`; the originals stay in the log. Measurements are `independent`:
 * two devices may add to one series at the same time and nothing conflicts.
 *
 * Payload fields are snake_case, times ISO 8601 with an offset, durations in minutes. A field that a schema
 * does not know is refused rather than dropped.
 */
import { defineEvent, type EventType } from "@holdfast/core";
import { z } from "zod";

const instant = z.iso.datetime({ offset: true });
const words = z.string().max(64 * 1024);

/** From least to most, as nosebleed scores for hereditary haemorrhagic telangiectasia name intensity. */
export const severities = [
  "spotting",
  "dripping",
  "dripping_quickly",
  "steady_stream",
  "pouring",
  "gushing",
] as const;
/** How strongly a nosebleed bled. */
export type Severity = (typeof severities)[number];

const nosebleedSchema = z.strictObject({
  started_at: instant,
  /** Null: not known, or still bleeding. */
  ended_at: instant.nullable().default(null),
  /** Null: not known. When left out and both times are given, the projection computes it. */
  duration_minutes: z.number().nonnegative().max(14_400).nullable().default(null),
  severity: z.enum(severities).nullable().default(null),
  side: z.enum(["left", "right", "both", "unknown"]).default("unknown"),
  interventions: z.array(z.string().min(1).max(200)).max(50).default([]),
  notes: words.default(""),
});

/** A nosebleed, as version 2 records it. */
export type Nosebleed = z.output<typeof nosebleedSchema>;

const nosebleedV1 = z.looseObject({
  at: z.string(),
  minutes: z.number().nullable().optional(),
  intensity: z.number().int().min(1).max(severities.length).nullable().optional(),
  note: z.string().optional(),
});

/**
 * Version 1 had one time, whole minutes and a number from 1 to 6 for intensity; which side bled and what was
 * done about it were not asked.
 */
function nosebleedFromV1(payload: unknown): unknown {
  const old = nosebleedV1.parse(payload);
  return {
    started_at: old.at,
    duration_minutes: old.minutes ?? null,
    severity: old.intensity ? severities[old.intensity - 1] : null,
    notes: old.note ?? "",
  };
}

/** A nosebleed. Amended by an event of the same type with `op: "amend"`. */
export const nosebleedRecorded = defineEvent({
  type: "NosebleedRecorded",
  version: 2,
  schema: nosebleedSchema,
  upcasters: { 1: nosebleedFromV1 },
});

/** Withdraws a diary entry; the reason code is the event's `why`, the reason in words its `reason`. */
export const diaryEntryRetracted = defineEvent({
  type: "DiaryEntryRetracted",
  schema: z.strictObject({}),
});

/** A medicine taken, or knowingly not taken. */
export const medicationTaken = defineEvent({
  type: "MedicationTaken",
  schema: z.strictObject({
    taken_at: instant,
    medication: z.string().min(1).max(500),
    /** Amount as a decimal in text, so that its precision stays. */
    dose: z
      .string()
      .regex(/^\d{1,12}(\.\d{1,12})?$/)
      .nullable()
      .default(null),
    unit: z.string().max(50).nullable().default(null),
    route: z.string().max(100).nullable().default(null),
    taken: z.boolean().default(true),
    notes: words.default(""),
  }),
});

/** A questionnaire as answered: the instrument, its version, and the answers by item. */
export const questionnaireAnswered = defineEvent({
  type: "QuestionnaireAnswered",
  schema: z.strictObject({
    answered_at: instant,
    instrument: z.string().min(1).max(200),
    instrument_version: z.string().max(50).nullable().default(null),
    language: z.string().max(35).nullable().default(null),
    answers: z
      .array(
        z.strictObject({
          item: z.string().min(1).max(200),
          value: z.union([z.string().max(16_384), z.number(), z.boolean(), z.null()]),
        }),
      )
      .max(1_000),
    score: z.number().nullable().default(null),
  }),
});

/** A note in the person's own words. */
export const diaryNoteWritten = defineEvent({
  type: "DiaryNoteWritten",
  schema: z.strictObject({
    written_at: instant.nullable().default(null),
    text: z.string().max(200_000),
  }),
});

/** A blood pressure reading; readings commute, so one stream takes a whole series. */
export const bloodPressureMeasured = defineEvent({
  type: "BloodPressureMeasured",
  concurrency: "independent",
  schema: z.strictObject({
    measured_at: instant,
    systolic_mmhg: z.number().min(0).max(400),
    diastolic_mmhg: z.number().min(0).max(400),
    pulse_per_minute: z.number().min(0).max(400).nullable().default(null),
    position: z.enum(["sitting", "standing", "lying", "unknown"]).default("unknown"),
    device: z.string().max(200).nullable().default(null),
  }),
});

const identityFields = [
  "name",
  "given_name",
  "family_name",
  "birth_date",
  "email",
  "phone",
] as const;
const identity = {
  name: z.string().min(1).max(500),
  given_name: z.string().max(200).nullable().default(null),
  family_name: z.string().max(200).nullable().default(null),
  birth_date: z.iso.date().nullable().default(null),
  email: z.string().max(320).nullable().default(null),
  phone: z.string().max(50).nullable().default(null),
};

/** Who a subject is. The names stand in the section `identity`, which has a key of its own. */
export const subjectRegistered = defineEvent({
  type: "SubjectRegistered",
  schema: z.strictObject({
    ...identity,
    subject: z.string().min(1).max(500),
    study: z.string().max(200).nullable().default(null),
    site: z.string().max(200).nullable().default(null),
  }),
  sections: { identity: identityFields },
});

/** Who an actor is: a person or a service on whose authority events are made. */
export const actorRegistered = defineEvent({
  type: "ActorRegistered",
  schema: z.strictObject({
    ...identity,
    actor: z.string().min(1).max(500),
    kind: z.enum(["person", "service"]).default("person"),
    roles: z.array(z.string().min(1).max(128)).max(50).default([]),
  }),
  sections: { identity: identityFields },
});

/** All event types of the diary. */
export const diaryEvents: readonly EventType[] = [
  nosebleedRecorded,
  diaryEntryRetracted,
  medicationTaken,
  questionnaireAnswered,
  diaryNoteWritten,
  bloodPressureMeasured,
  subjectRegistered,
  actorRegistered,
];
