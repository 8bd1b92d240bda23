/**
 * Home monitoring: rooms, devices, vital signs and their thresholds, the person's profile, sessions and
 * settings.
 *
 * One stream per room, per device, per series of vital signs (`vitalSignStream`: its thresholds too), per
 * profile, per session and per setting. Readings and status reports are `independent`: two installations may
 * add to one series at the same time. Everything else is `exclusive`; a setting is settled by its last
 * writer.
 *
 * Payload fields are snake_case, times ISO 8601 with an offset, units UCUM. A field that a schema does not
 * know is refused rather than dropped.
 */
import { defineEvent, type EventType } from "@holdfast/core";
import { z } from "zod";
import { vitalSignKinds, vitalSigns } from "./vital-kinds.ts";

const instant = z.iso.datetime({ offset: true });
const label = z.string().min(1).max(200);

/** What a room is used for. */
export const roomUses = ["bedroom", "bathroom", "kitchen", "living", "hall", "other"] as const;

/** A room was added to the home. */
export const roomAdded = defineEvent({
  type: "RoomAdded",
  schema: z.strictObject({
    name: label,
    use: z.enum(roomUses).default("other"),
    /** 0 is the ground floor. */
    floor: z.number().int().min(-20).max(200).nullable().default(null),
  }),
});

/** A room got another name. */
export const roomRenamed = defineEvent({
  type: "RoomRenamed",
  schema: z.strictObject({ name: label }),
});

/** A room is no longer part of the home. */
export const roomRemoved = defineEvent({ type: "RoomRemoved", schema: z.strictObject({}) });

/** What a device measures or does. */
export const deviceKinds = [
  "blood_pressure_monitor",
  "pulse_oximeter",
  "thermometer",
  "glucose_meter",
  "scale",
  "motion_sensor",
  "hub",
  "other",
] as const;

/** A device was taken into use. */
export const deviceRegistered = defineEvent({
  type: "DeviceRegistered",
  schema: z.strictObject({
    name: label,
    kind: z.enum(deviceKinds).default("other"),
    manufacturer: label.nullable().default(null),
    model: label.nullable().default(null),
    serial_number: label.nullable().default(null),
    /** Stream of the room; null: in no room. */
    room: label.nullable().default(null),
  }),
});

/** A device stands in another room now; null: in no room. */
export const deviceMoved = defineEvent({
  type: "DeviceMoved",
  schema: z.strictObject({ room: label.nullable() }),
});

/** States that a device reports. */
export const deviceStates = ["online", "offline", "fault"] as const;

/** What a device says about itself; reports commute. */
export const deviceStatusReported = defineEvent({
  type: "DeviceStatusReported",
  concurrency: "independent",
  schema: z.strictObject({
    reported_at: instant,
    state: z.enum(deviceStates),
    battery_percent: z.number().min(0).max(100).nullable().default(null),
    firmware: label.nullable().default(null),
  }),
});

/** A device is no longer in use. */
export const deviceRetired = defineEvent({ type: "DeviceRetired", schema: z.strictObject({}) });

const vitalSignSchema = z
  .strictObject({
    kind: z.enum(vitalSignKinds),
    measured_at: instant,
    /** In the unit of the kind; of a blood pressure the systolic one. */
    value: z.number(),
    /** Of a blood pressure, else null. */
    diastolic: z.number().nullable().default(null),
    /** UCUM; the unit of the kind. */
    unit: z.string().max(50),
    /** Stream of the device that measured; null: not known, or by hand. */
    device: label.nullable().default(null),
    context: z.enum(["resting", "active", "sleeping", "fasting", "unknown"]).default("unknown"),
    notes: z.string().max(16_384).default(""),
  })
  .superRefine((reading, context) => {
    const { unit, possible } = vitalSigns[reading.kind];
    const refuse = (field: string, message: string): void => {
      context.addIssue({ code: "custom", path: [field], message });
    };
    const impossible = (value: number): boolean => value < possible.min || value > possible.max;
    if (reading.unit !== unit) refuse("unit", `the unit of ${reading.kind} is ${unit}`);
    if (impossible(reading.value)) refuse("value", "no possible reading");
    const needed = reading.kind === "blood_pressure";
    if (needed !== (reading.diastolic !== null))
      refuse("diastolic", "goes with a blood pressure only");
    if (reading.diastolic !== null && impossible(reading.diastolic))
      refuse("diastolic", "no possible reading");
  });

/** A reading of a vital sign, as version 2 records it. */
export type VitalSign = z.output<typeof vitalSignSchema>;

const vitalSignV1 = z.looseObject({
  taken_at: z.string(),
  sign: z.enum(["hr", "bp", "spo2", "temp_f", "rr", "glucose_mg_dl", "weight_lb"]),
  reading: z.string(),
  comment: z.string().optional(),
});

const vitalSignsV1 = {
  hr: { kind: "heart_rate", factor: 1 },
  bp: { kind: "blood_pressure", factor: 1 },
  spo2: { kind: "oxygen_saturation", factor: 1 },
  temp_f: { kind: "temperature", factor: 5 / 9 },
  rr: { kind: "respiration", factor: 1 },
  // Molar mass of glucose: 180.156 g/mol.
  glucose_mg_dl: { kind: "glucose", factor: 10 / 180.156 },
  weight_lb: { kind: "weight", factor: 0.45359237 },
} as const;

/**
 * The vital-sign schema upgrade. Version 1 kept each reading as a text ("120/80", "98.6") in the unit of the
 * sign: degrees Fahrenheit, mg/dL and pounds among them. Version 2 has numbers in UCUM units, to three
 * decimals.
 */
export function vitalSignFromV1(payload: unknown): unknown {
  const old = vitalSignV1.parse(payload);
  const { kind, factor } = vitalSignsV1[old.sign];
  const offset = old.sign === "temp_f" ? 32 : 0;
  const [value = Number.NaN, diastolic] = old.reading
    .split("/")
    .map((text) => Math.round((Number(text) - offset) * factor * 1_000) / 1_000);
  return {
    kind,
    measured_at: old.taken_at,
    value,
    diastolic: diastolic ?? null,
    unit: vitalSigns[kind].unit,
    notes: old.comment ?? "",
  };
}

/** A reading of a vital sign. Amended by an event of the same type with `op: "amend"`. */
export const vitalSignMeasured = defineEvent({
  type: "VitalSignMeasured",
  version: 2,
  concurrency: "independent",
  schema: vitalSignSchema,
  upcasters: { 1: vitalSignFromV1 },
});

/** Withdraws a reading; the reason code is the event's `why`. */
export const vitalSignRetracted = defineEvent({
  type: "VitalSignRetracted",
  concurrency: "independent",
  schema: z.strictObject({}),
});

const boundsSchema = z
  .strictObject({
    low_critical: z.number().nullable().default(null),
    low_warning: z.number().nullable().default(null),
    high_warning: z.number().nullable().default(null),
    high_critical: z.number().nullable().default(null),
  })
  .refine(
    ({ low_critical, low_warning, high_warning, high_critical }) => {
      const set = [low_critical, low_warning, high_warning, high_critical].filter(
        (bound) => bound !== null,
      );
      return set.every((bound, index) => index === 0 || bound >= (set[index - 1] as number));
    },
    { message: "bounds rise from low_critical to high_critical" },
  );

const thresholdSchema = z.strictObject({
  kind: z.enum(vitalSignKinds),
  bounds: boundsSchema,
  /** For diastolic pressure; null: the default. */
  diastolic_bounds: boundsSchema.nullable().default(null),
});

/** Thresholds as they are recorded. */
export type Thresholds = z.output<typeof thresholdSchema>;

/** Thresholds for one series of readings, in the unit of the kind. */
export const thresholdSet = defineEvent({ type: "ThresholdSet", schema: thresholdSchema });

const identityFields = ["name", "birth_date", "email", "phone", "emergency_contact"] as const;

/** The person's profile. A field left out stays as it was; null takes it away. */
export const profileUpdated = defineEvent({
  type: "ProfileUpdated",
  schema: z.strictObject({
    name: label.optional(),
    birth_date: z.iso.date().nullable().optional(),
    email: z.string().max(320).nullable().optional(),
    phone: z.string().max(50).nullable().optional(),
    emergency_contact: z
      .strictObject({ name: label, phone: z.string().max(50) })
      .nullable()
      .optional(),
    sex: z.enum(["female", "male", "other", "unknown"]).optional(),
    height_cm: z.number().positive().max(300).nullable().optional(),
    language: z.string().max(35).nullable().optional(),
    time_zone: z.string().max(100).nullable().optional(),
  }),
  sections: { identity: identityFields },
});

/** How a person proved who they are. */
export const sessionMethods = ["pin", "password", "biometric", "passkey", "none"] as const;

/** A person began to use an installation; later events name this one as their session. */
export const sessionOpened = defineEvent({
  type: "SessionOpened",
  schema: z.strictObject({
    opened_at: instant,
    method: z.enum(sessionMethods),
    /** Null: not known. */
    clock_offset_ms: z.number().int().nullable().default(null),
    time_zone: z.string().max(100).nullable().default(null),
  }),
});

/** A session ended. */
export const sessionClosed = defineEvent({
  type: "SessionClosed",
  schema: z.strictObject({
    closed_at: instant,
    cause: z.enum(["signed_out", "expired", "locked", "switched"]).default("signed_out"),
  }),
});

/** A setting has another value; null takes it back to its default. The last writer holds. */
export const settingChanged = defineEvent({
  type: "SettingChanged",
  strategy: "last-writer",
  schema: z.strictObject({
    key: z.string().regex(/^[a-z][a-z0-9_.]{0,99}$/),
    value: z.union([z.string().max(4_096), z.number(), z.boolean(), z.null()]),
  }),
});

/** All event types of home monitoring. */
export const homeEvents: readonly EventType[] = [
  roomAdded,
  roomRenamed,
  roomRemoved,
  deviceRegistered,
  deviceMoved,
  deviceStatusReported,
  deviceRetired,
  vitalSignMeasured,
  vitalSignRetracted,
  thresholdSet,
  profileUpdated,
  sessionOpened,
  sessionClosed,
  settingChanged,
];
