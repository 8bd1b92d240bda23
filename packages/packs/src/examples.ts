/** An example payload of every event type of the packs, fictitious and complete: every field is given. */

/** Payloads of one event type: the present shape, and each former one by schema version. */
export interface EventExample {
  readonly current: Readonly<Record<string, unknown>>;
  readonly former?: Readonly<Record<number, Readonly<Record<string, unknown>>>>;
}

const person = {
  name: "Ada Example",
  given_name: "Ada",
  family_name: "Example",
  birth_date: "1980-05-17",
  email: "ada@example.org",
  phone: null,
};

/** Examples of the diary, of home monitoring and of outboxes that are taken over, by event type. FHIR types record a resource as it is. */
export const eventExamples: Readonly<Record<string, EventExample>> = {
  NosebleedRecorded: {
    current: {
      started_at: "2026-03-02T07:10:00+01:00",
      ended_at: "2026-03-02T07:22:00+01:00",
      duration_minutes: 12,
      severity: "dripping",
      side: "left",
      interventions: ["pressure"],
      notes: "",
    },
    former: { 1: { at: "2026-03-02T07:10:00+01:00", minutes: 12, intensity: 2, note: "" } },
  },
  DiaryEntryRetracted: { current: {} },
  MedicationTaken: {
    current: {
      taken_at: "2026-03-02T08:00:00+01:00",
      medication: "Tranexamic acid",
      dose: "500",
      unit: "mg",
      route: "oral",
      taken: true,
      notes: "",
    },
  },
  QuestionnaireAnswered: {
    current: {
      answered_at: "2026-03-02T20:00:00+01:00",
      instrument: "NOSE-HHT",
      instrument_version: null,
      language: "en",
      answers: [{ item: "1", value: 2 }],
      score: 2,
    },
  },
  DiaryNoteWritten: { current: { written_at: null, text: "A dry day." } },
  BloodPressureMeasured: {
    current: {
      measured_at: "2026-03-02T08:05:00+01:00",
      systolic_mmhg: 121,
      diastolic_mmhg: 79,
      pulse_per_minute: 64,
      position: "sitting",
      device: null,
    },
  },
  SubjectRegistered: { current: { ...person, subject: "ada", study: null, site: "berlin" } },
  ActorRegistered: {
    current: { ...person, actor: "nurse/7", kind: "person", roles: ["nurse"] },
  },
  RoomAdded: { current: { name: "Bedroom", use: "bedroom", floor: 1 } },
  RoomRenamed: { current: { name: "Study" } },
  RoomRemoved: { current: {} },
  DeviceRegistered: {
    current: {
      name: "Cuff",
      kind: "blood_pressure_monitor",
      manufacturer: null,
      model: "BP-1",
      serial_number: "0001",
      room: "room/1",
    },
  },
  DeviceMoved: { current: { room: "room/2" } },
  DeviceStatusReported: {
    current: {
      reported_at: "2026-03-01T09:05:00+01:00",
      state: "online",
      battery_percent: 81,
      firmware: null,
    },
  },
  DeviceRetired: { current: {} },
  VitalSignMeasured: {
    current: {
      kind: "blood_pressure",
      measured_at: "2026-03-01T09:11:00+01:00",
      value: 168,
      diastolic: 97,
      unit: "mm[Hg]",
      device: "device/1",
      context: "resting",
      notes: "",
    },
    former: { 1: { taken_at: "2026-03-01T08:00:00+01:00", sign: "temp_f", reading: "98.6" } },
  },
  VitalSignRetracted: { current: {} },
  ThresholdSet: {
    current: {
      kind: "heart_rate",
      bounds: { low_critical: null, low_warning: null, high_warning: 90, high_critical: 100 },
      diastolic_bounds: null,
    },
  },
  ProfileUpdated: {
    current: {
      name: "Ada Example",
      birth_date: "1980-05-17",
      email: null,
      phone: null,
      emergency_contact: { name: "Ben Example", phone: "+49 30 1" },
      sex: "female",
      height_cm: 168,
      language: "de",
      time_zone: "Europe/Berlin",
    },
  },
  SessionOpened: {
    current: {
      opened_at: "2026-03-01T09:00:00+01:00",
      method: "passkey",
      clock_offset_ms: -120,
      time_zone: "Europe/Berlin",
    },
  },
  SessionClosed: { current: { closed_at: "2026-03-01T09:30:00+01:00", cause: "signed_out" } },
  SettingChanged: { current: { key: "units.glucose", value: "mmol/L" } },
  LegacyOperationImported: {
    current: {
      operation: "update",
      entry: "op-17",
      entity_type: "vitals",
      entity_id: "v-3",
      created_at: "2025-11-03T09:30:00.000Z",
      attempts: 2,
      status: "pending",
      payload: { heart_rate: 61 },
    },
  },
};
