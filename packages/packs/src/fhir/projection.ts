/** The read model `fhir`: one row per resource, holding its current content. */
import { defineProjection, type Projection, type RecordedEvent } from "@holdfast/core";
import { wordsOf } from "../search-words.ts";
import { fhirEventTypes } from "./events.ts";

/** A FHIR resource as it stands. */
export interface FhirRow {
  readonly resource_type: string;
  readonly id: string | null;
  /** The resource's own time, as it is written: FHIR dates may be a year or a month. */
  readonly effective: string | null;
  readonly version_id: string | null;
  /** The reference to the subject, as it is written. */
  readonly subject: string | null;
  readonly status: "current" | "retracted";
  /** The resource's original JSON text; of a retracted one the last that held. */
  readonly text: string;
  /** Leaf of the event that holds now. */
  readonly leaf: string;
  readonly revisions: number;
}

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

/** Elements that say when a resource holds, the most telling first. */
const times: readonly (readonly string[])[] = [
  ["effectiveDateTime"],
  ["effectivePeriod", "start"],
  ["effectiveInstant"],
  ["period", "start"],
  ["onsetDateTime"],
  ["onsetPeriod", "start"],
  ["performedDateTime"],
  ["performedPeriod", "start"],
  ["occurrenceDateTime"],
  ["occurrencePeriod", "start"],
  ["servicedDate"],
  ["billablePeriod", "start"],
  ["authoredOn"],
  ["recordedDate"],
  ["recorded"],
  ["issued"],
  ["created"],
  ["date"],
  ["birthDate"],
];

/** When the resource holds, in its own text, or `null`. */
export function effectiveTime(resource: unknown): string | null {
  for (const [element = "", inner] of times) {
    const value = fieldsOf(resource)[element];
    const found = textOf(inner === undefined ? value : fieldsOf(value)[inner]);
    if (found !== null) return found;
  }
  return null;
}

/** Elements whose text people search by: what things and people are called. */
const named: ReadonlySet<string> = new Set([
  "display",
  "text",
  "title",
  "description",
  "valueString",
  "name",
  "family",
  "given",
  "city",
]);

/**
 * Read model `fhir`: one row per imported resource, with its exact text. `search` finds what holds by what it
 * is called (display texts, names, notes) and by its codes.
 */
export const fhirProjection: Projection<FhirRow> = defineProjection<FhirRow>({
  name: "fhir",
  version: 2,
  types: fhirEventTypes,
  columns: {
    resource_type: "text",
    id: "text",
    effective: "text",
    version_id: "text",
    subject: "text",
    status: "text",
    revisions: "integer",
  },
  fold(state, event) {
    if (event.op === "retract") {
      if (state === undefined) return undefined;
      return { ...state, status: "retracted", leaf: event.leaf, revisions: state.revisions + 1 };
    }
    if (event.content !== "opened" || event.text === undefined) return state;
    return current(event, event.text, (state?.revisions ?? 0) + 1);
  },
  row: ({ resource_type, id, effective, version_id, subject, status, revisions }) => {
    return { resource_type, id, effective, version_id, subject, status, revisions };
  },
  searchFields: ["words", "codes"],
  search({ status, text }) {
    const resource: unknown = status === "retracted" ? undefined : JSON.parse(text);
    return {
      words: wordsOf(resource, (name) => named.has(name)),
      codes: wordsOf(resource, (name) => name === "code"),
    };
  },
});

function current(event: RecordedEvent, text: string, revisions: number): FhirRow {
  const fields = fieldsOf(event.data);
  const subject = fieldsOf(fields["subject"] ?? fields["patient"] ?? fields["beneficiary"]);
  return {
    resource_type: event.type.slice("fhir.".length),
    id: textOf(fields["id"]),
    effective: effectiveTime(fields),
    version_id: textOf(fieldsOf(fields["meta"])["versionId"]),
    subject: textOf(subject["reference"]),
    status: "current",
    text,
    leaf: event.leaf,
    revisions,
  };
}
