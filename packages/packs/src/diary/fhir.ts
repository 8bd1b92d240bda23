/**
 * The diary in FHIR R4. Codes, and why these:
 *
 * - **Nosebleed**: Observation, SNOMED CT 249366005 "Bleeding from nose (finding)". LOINC names questions and
 *   measurements and has no term for the event itself. Components: duration (762636008) in UCUM `min`;
 *   severity (246112005) in the diary's own words, because no code system has the six grades of nosebleed
 *   scores for hereditary haemorrhagic telangiectasia; side (272741003 "Laterality") as 7771000 left,
 *   24028007 right, 51440002 both; what was done about it in words.
 * - **Blood pressure**: Observation as the R4 vital-signs profile asks: LOINC 85354-9 with components 8480-6
 *   (systolic) and 8462-4 (diastolic) in UCUM `mm[Hg]`; pulse 8867-4 in `/min`; body position 8361-8 as SNOMED
 *   CT 33586001 sitting, 10904000 standing, 102538003 lying.
 * - **Questionnaire**: Observation of category `survey`, the score as its value, answers as components. Its
 *   instrument stands in words: the diary does not know its code.
 * - **Note**: Observation, LOINC 51855-5 "Patient Note", with the text as its value.
 * - **Medicine**: MedicationStatement, not Observation: R4 asks that a medicine taken is not written as an
 *   observation (https://hl7.org/fhir/R4/observation.html#bnr). A dose keeps its digits.
 *
 * An amended entry has status `amended`. Who is who (`directory`) is not exported.
 */
import { type EventType, isoTime, type ModelRow, type RecordedEvent } from "@holdfast/core";
import type { FhirHolding, FhirModel, FhirShape } from "../fhir/export.ts";
import type {
  bloodPressureMeasured,
  diaryNoteWritten,
  medicationTaken,
  Nosebleed,
  questionnaireAnswered,
} from "./events.ts";
import type { DiaryEntry } from "./projections.ts";

type Payload<Type> = Type extends EventType<infer Data> ? Data : never;

const loinc = "http://loinc.org";
const snomed = "http://snomed.info/sct";
const ucum = "http://unitsofmeasure.org";

/** The diary's read model in FHIR. */
export const diaryFhir: FhirModel = {
  model: "diary",
  holding: (row) => holdingOf((row as ModelRow<DiaryEntry>).state),
  shape(event) {
    const shape = shapes[event.type]?.(event.data, event);
    if (shape === undefined) return undefined;
    if (shape.resourceType !== "Observation") return shape;
    const { resourceType, ...elements } = shape;
    return { resourceType, status: event.op === "amend" ? "amended" : "final", ...elements };
  },
};

function holdingOf({ entries, status, leaf, superseded }: DiaryEntry): FhirHolding {
  // The row of a series shows its latest reading only, and the earlier ones hold as well.
  if (entries > 1) return { superseded };
  return status === "retracted" ? undefined : { leaf };
}

const shapes: Readonly<Record<string, (data: unknown, event: RecordedEvent) => FhirShape>> = {
  NosebleedRecorded: (data) => nosebleed(data as Nosebleed),
  BloodPressureMeasured: (data) => bloodPressure(data as Payload<typeof bloodPressureMeasured>),
  QuestionnaireAnswered: (data) => questionnaire(data as Payload<typeof questionnaireAnswered>),
  DiaryNoteWritten: (data, event) => note(data as Payload<typeof diaryNoteWritten>, event),
  MedicationTaken: (data) => medication(data as Payload<typeof medicationTaken>),
};

function concept(system: string, code: string, display: string): object {
  return { coding: [{ system, code, display }], text: display };
}

/** Category of R4's own code system. */
function category(code: string, display: string): readonly object[] {
  return [concept("http://terminology.hl7.org/CodeSystem/observation-category", code, display)];
}

function quantity(value: number, unit: string, code: string): object {
  return { value, unit, system: ucum, code };
}

/** FHIR wants seconds; the diary's times may come without. */
const withSeconds = /T\d\d:\d\d:\d\d/;

function dateTime(text: string): string {
  return withSeconds.test(text) ? text : isoTime(Date.parse(text));
}

/** FHIR has no empty texts and no empty arrays: what is empty is left out. */
function filled(elements: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const empty = (value: unknown): boolean =>
    value === undefined ||
    value === null ||
    value === "" ||
    (Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(elements).filter(([, value]) => !empty(value)));
}

function notes(text: string): readonly object[] {
  return text.trim() === "" ? [] : [{ text }];
}

const sides: Readonly<Record<string, object>> = {
  left: concept(snomed, "7771000", "Left"),
  right: concept(snomed, "24028007", "Right"),
  both: concept(snomed, "51440002", "Right and left"),
};

function nosebleed(data: Nosebleed): FhirShape {
  const { started_at: start, ended_at: end } = data;
  const span = end === null ? undefined : (Date.parse(end) - Date.parse(start)) / 60_000;
  const minutes = data.duration_minutes ?? (span !== undefined && span >= 0 ? span : null);
  const component: object[] = [];
  if (minutes !== null) {
    const code = concept(snomed, "762636008", "Duration");
    component.push({ code, valueQuantity: quantity(minutes, "min", "min") });
  }
  if (data.severity !== null) {
    const code = concept(snomed, "246112005", "Severity");
    component.push({ code, valueCodeableConcept: { text: data.severity } });
  }
  const side = sides[data.side];
  if (side !== undefined) {
    const code = concept(snomed, "272741003", "Laterality");
    component.push({ code, valueCodeableConcept: side });
  }
  for (const done of data.interventions) {
    component.push({ code: { text: "Intervention" }, valueString: done });
  }
  const period = end !== null && span !== undefined && span >= 0;
  return {
    resourceType: "Observation",
    code: concept(snomed, "249366005", "Bleeding from nose"),
    ...(period
      ? { effectivePeriod: { start: dateTime(start), end: dateTime(end) } }
      : { effectiveDateTime: dateTime(start) }),
    ...filled({ component, note: notes(data.notes) }),
  };
}

const positions: Readonly<Record<string, object>> = {
  sitting: concept(snomed, "33586001", "Sitting position"),
  standing: concept(snomed, "10904000", "Standing position"),
  lying: concept(snomed, "102538003", "Recumbent body position"),
};

function bloodPressure(data: Payload<typeof bloodPressureMeasured>): FhirShape {
  const component: object[] = [
    {
      code: concept(loinc, "8480-6", "Systolic blood pressure"),
      valueQuantity: quantity(data.systolic_mmhg, "mmHg", "mm[Hg]"),
    },
    {
      code: concept(loinc, "8462-4", "Diastolic blood pressure"),
      valueQuantity: quantity(data.diastolic_mmhg, "mmHg", "mm[Hg]"),
    },
  ];
  if (data.pulse_per_minute !== null) {
    const code = concept(loinc, "8867-4", "Heart rate");
    component.push({ code, valueQuantity: quantity(data.pulse_per_minute, "/min", "/min") });
  }
  const position = positions[data.position];
  if (position !== undefined) {
    const code = concept(loinc, "8361-8", "Body position with respect to gravity");
    component.push({ code, valueCodeableConcept: position });
  }
  return {
    resourceType: "Observation",
    category: category("vital-signs", "Vital Signs"),
    code: concept(loinc, "85354-9", "Blood pressure panel with all children optional"),
    effectiveDateTime: dateTime(data.measured_at),
    component,
    ...(data.device === null || data.device === "" ? {} : { device: { display: data.device } }),
  };
}

function questionnaire(data: Payload<typeof questionnaireAnswered>): FhirShape {
  const component = data.answers.map(({ item, value }) => {
    const code = { text: item };
    if (typeof value === "boolean") return { code, valueBoolean: value };
    if (typeof value === "number") return { code, valueQuantity: { value } };
    if (value === null || value === "") {
      const system = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
      return { code, dataAbsentReason: { coding: [{ system, code: "unknown" }] } };
    }
    return { code, valueString: value };
  });
  const version = data.instrument_version === null ? "" : ` ${data.instrument_version}`;
  return {
    resourceType: "Observation",
    category: category("survey", "Survey"),
    code: { text: `${data.instrument}${version}` },
    effectiveDateTime: dateTime(data.answered_at),
    ...(data.score === null ? {} : { valueQuantity: { value: data.score } }),
    ...filled({ component, language: data.language }),
  };
}

function note(data: Payload<typeof diaryNoteWritten>, event: RecordedEvent): FhirShape {
  const written = data.written_at === null ? event.occurredAt : Date.parse(data.written_at);
  return {
    resourceType: "Observation",
    code: concept(loinc, "51855-5", "Patient Note"),
    effectiveDateTime:
      data.written_at === null ? isoTime(written ?? event.recordedAt) : dateTime(data.written_at),
    ...filled({ valueString: data.text }),
  };
}

/** A number in JSON with the digits that it was recorded with. */
const rawJson = (JSON as unknown as { rawJSON(text: string): object }).rawJSON;

function medication(data: Payload<typeof medicationTaken>): FhirShape {
  const dose =
    data.dose === null
      ? undefined
      : filled({ value: rawJson(data.dose.replace(/^0+(?=\d)/, "")), unit: data.unit });
  const dosage = filled({
    route: data.route === null || data.route === "" ? undefined : { text: data.route },
    doseAndRate: dose === undefined ? [] : [{ doseQuantity: dose }],
  });
  return {
    resourceType: "MedicationStatement",
    status: data.taken ? "completed" : "not-taken",
    medicationCodeableConcept: { text: data.medication },
    effectiveDateTime: dateTime(data.taken_at),
    ...filled({
      dosage: Object.keys(dosage).length === 0 ? [] : [dosage],
      note: notes(data.notes),
    }),
  };
}
