/**
 * To whom a resource belongs: its Patient compartment (https://hl7.org/fhir/R4/compartmentdefinition-patient.html),
 * as one subject key.
 *
 * A scope is the unit of access and of erasure, and a stream has one, so of all references that put a
 * resource into a compartment the one that says whom it is *about* decides (`subject`, `patient`,
 * `beneficiary` …). Where only other references lead to patients (participants, senders, members), a single
 * patient decides; several patients, like none, make it the reference scope.
 *
 * References are resolved through the bundle's fullUrls first. A patient outside the bundle is known by the
 * id that the reference names: `Patient/1`, `https://…/Patient/1` and a `urn:uuid:` without entry each give
 * `Patient/<id>`. A contained patient has no identity of its own: the resource then has a scope of its own,
 * so that it can be erased alone.
 */
import { type CheckedEntry, type JsonObject, objectOf } from "./entry.ts";
import type { JsonValue } from "@holdfast/core";

/** The scope of what is about nobody: organisations, practitioners, terminology. */
export const referenceScope = "reference";

/** Elements that say whom a resource is about. */
const about = [
  "subject",
  "patient",
  "beneficiary",
  "individual",
  "candidate",
  "subscriber",
  "policyHolder",
] as const;

/** Other search parameters of the compartment definition, as paths. */
const involved: Readonly<Record<string, readonly (readonly string[])[]>> = {
  AllergyIntolerance: [["recorder"], ["asserter"]],
  Appointment: [["participant", "actor"]],
  AppointmentResponse: [["actor"]],
  AuditEvent: [
    ["agent", "who"],
    ["entity", "what"],
  ],
  Basic: [["author"]],
  CarePlan: [["activity", "detail", "performer"]],
  CareTeam: [["participant", "member"]],
  Claim: [["payee", "party"]],
  Communication: [["sender"], ["recipient"]],
  CommunicationRequest: [["sender"], ["recipient"], ["requester"]],
  Composition: [["author"], ["attester", "party"]],
  Condition: [["asserter"]],
  Coverage: [["payor"]],
  DeviceRequest: [["performer"]],
  DocumentManifest: [["author"], ["recipient"]],
  DocumentReference: [["author"]],
  ExplanationOfBenefit: [["payee", "party"]],
  Group: [["member", "entity"]],
  Invoice: [["recipient"]],
  List: [["source"]],
  MedicationAdministration: [["performer", "actor"]],
  MedicationDispense: [["receiver"]],
  Observation: [["performer"]],
  Person: [["link", "target"]],
  Procedure: [["performer", "actor"]],
  Provenance: [["target"]],
  QuestionnaireResponse: [["author"]],
  RequestGroup: [["action", "participant"]],
  Schedule: [["actor"]],
  ServiceRequest: [["performer"]],
  SupplyRequest: [["requester"]],
};

/** The subject key of one resource. */
export type ScopeResolver = (
  resource: JsonObject,
  resourceType: string,
  stream: string,
  fullUrl: string | undefined,
) => string;

/** Subject keys for the resources of one bundle. */
export function createScopeResolver(entries: readonly CheckedEntry[]): ScopeResolver {
  const inBundle = new Map<string, CheckedEntry>();
  const byIdentifier = new Map<string, CheckedEntry>();
  for (const entry of entries) {
    if (entry.fullUrl !== undefined) inBundle.set(entry.fullUrl, entry);
    if (entry.resourceType !== "Patient") continue;
    for (const key of identifierKeys(entry.resource["identifier"])) byIdentifier.set(key, entry);
  }
  const patientOf = (value: JsonValue, isPatient: boolean, stream: string): string | undefined => {
    const named = objectOf(value);
    const reference = named?.["reference"];
    const typed = isPatient || named?.["type"] === "Patient";
    if (typeof reference !== "string") {
      const [key] = identifierKeys(named?.["identifier"]);
      if (key === undefined || !typed) return undefined;
      const known = byIdentifier.get(key);
      return known === undefined ? `Patient/${key}` : patientKey(known.resource, known.fullUrl);
    }
    const entry = inBundle.get(reference);
    if (entry !== undefined) {
      return entry.resourceType === "Patient"
        ? patientKey(entry.resource, entry.fullUrl)
        : undefined;
    }
    return outside(reference, typed, stream, byIdentifier);
  };
  return (resource, resourceType, stream, fullUrl) => {
    if (resourceType === "Patient") return patientKey(resource, fullUrl);
    const contained = patientIds(resource["contained"]);
    const resolve = (value: JsonValue, isPatient: boolean): string | undefined => {
      const local = objectOf(value)?.["reference"];
      if (typeof local === "string" && local.startsWith("#")) {
        return contained.has(local.slice(1)) ? stream : undefined;
      }
      return patientOf(value, isPatient, stream);
    };
    for (const element of about) {
      for (const value of valuesAt(resource, [element])) {
        const key = resolve(value, element !== "individual" && element !== "candidate");
        if (key !== undefined) return key;
      }
    }
    const found = (involved[resourceType] ?? [])
      .flatMap((path) => valuesAt(resource, path))
      .map((value) => resolve(value, false))
      .filter((key) => key !== undefined);
    const distinct = new Set(found);
    return distinct.size === 1 ? (found[0] as string) : referenceScope;
  };
}

function patientKey(patient: JsonObject, fullUrl: string | undefined): string {
  const id = patient["id"];
  if (typeof id === "string") return `Patient/${id}`;
  return `Patient/${(fullUrl ?? "").replace(/^urn:uuid:/, "")}`;
}

/** A reference that no entry of the bundle answers. */
function outside(
  reference: string,
  typed: boolean,
  stream: string,
  byIdentifier: ReadonlyMap<string, CheckedEntry>,
): string | undefined {
  const literal =
    /(?:^|\/)([A-Z][A-Za-z]+)\/([A-Za-z0-9\-.]{1,64})(?:\/_history\/[A-Za-z0-9\-.]+)?$/.exec(
      reference,
    );
  if (literal !== null) return literal[1] === "Patient" ? `Patient/${literal[2]}` : undefined;
  const conditional = /^Patient\?identifier=(.+)$/.exec(reference)?.[1];
  if (conditional !== undefined) {
    const known = byIdentifier.get(conditional);
    return known === undefined
      ? `Patient/${conditional}`
      : patientKey(known.resource, known.fullUrl);
  }
  const uuid = /^urn:uuid:(.+)$/.exec(reference)?.[1];
  if (uuid !== undefined) return typed ? `Patient/${uuid}` : undefined;
  return typed ? stream : undefined;
}

function identifierKeys(value: JsonValue | undefined): readonly string[] {
  return listOf(value).flatMap((one) => {
    const { system, value: code } = objectOf(one) ?? {};
    return typeof code === "string" ? [`${typeof system === "string" ? system : ""}|${code}`] : [];
  });
}

function patientIds(contained: JsonValue | undefined): ReadonlySet<string> {
  const patients = listOf(contained).map(objectOf);
  return new Set(
    patients.flatMap((one) =>
      one?.["resourceType"] === "Patient" && typeof one["id"] === "string" ? [one["id"]] : [],
    ),
  );
}

function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? (value as readonly JsonValue[]) : [value];
}

/** All values at a path, arrays on the way opened. */
function valuesAt(resource: JsonObject, path: readonly string[]): readonly JsonValue[] {
  let values: readonly JsonValue[] = [resource];
  for (const step of path) values = values.flatMap((value) => listOf(objectOf(value)?.[step]));
  return values;
}
