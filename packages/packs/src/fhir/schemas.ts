/**
 * Typed schemas of the seven resource types that clinical work starts from. They check what FHIR R4 requires
 * (cardinalities 1..1, primitive types, required code systems of status fields) and let everything else
 * pass: extensions, profiles and elements that are not listed here belong to the record as they are.
 *
 * Source: https://hl7.org/fhir/R4/ (each resource's structure definition, and datatypes.html for the
 * regular expressions of primitives).
 */
import { z } from "zod";

const time = String.raw`T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00))`;
const year = String.raw`(\d(\d(\d[1-9]|[1-9]0)|[1-9]00)|[1-9]000)`;
const day = String.raw`(0[1-9]|[12]\d|3[01])`;
const month = String.raw`(0[1-9]|1[0-2])`;

const id = z.string().regex(/^[A-Za-z0-9\-.]{1,64}$/);
const code = z.string().regex(/^[^\s]+(\s[^\s]+)*$/);
const text = z.string().min(1);
const uri = z.string().regex(/^\S+$/);
const date = z.string().regex(new RegExp(`^${year}(-${month}(-${day})?)?$`));
const dateTime = z.string().regex(new RegExp(`^${year}(-${month}(-${day}(${time})?)?)?$`));
const instant = z.string().regex(new RegExp(`^${year}-${month}-${day}${time}$`));
const decimal = z.number();

const coding = z.looseObject({
  system: uri.optional(),
  version: text.optional(),
  code: code.optional(),
  display: text.optional(),
  userSelected: z.boolean().optional(),
});
const codeableConcept = z.looseObject({
  coding: z.array(coding).min(1).optional(),
  text: text.optional(),
});
const period = z.looseObject({ start: dateTime.optional(), end: dateTime.optional() });
const quantity = z.looseObject({
  value: decimal.optional(),
  comparator: z.enum(["<", "<=", ">=", ">"]).optional(),
  unit: text.optional(),
  system: uri.optional(),
  code: code.optional(),
});
const identifier = z.looseObject({
  use: code.optional(),
  type: codeableConcept.optional(),
  system: uri.optional(),
  value: text.optional(),
  period: period.optional(),
});
const reference = z.looseObject({
  reference: text.optional(),
  type: uri.optional(),
  identifier: identifier.optional(),
  display: text.optional(),
});
const annotation = z.looseObject({ text });

const resource = {
  id: id.optional(),
  meta: z
    .looseObject({
      versionId: id.optional(),
      lastUpdated: instant.optional(),
      profile: z.array(uri).min(1).optional(),
      tag: z.array(coding).min(1).optional(),
    })
    .optional(),
  language: code.optional(),
  identifier: z.array(identifier).min(1).optional(),
};

type Fields = Readonly<Record<string, unknown>>;

/** The members of a choice element (`value[x]`) that are there, `_` forms of primitives included. */
function choices(fields: Fields, element: string): readonly string[] {
  const pattern = new RegExp(`^_?${element}[A-Z]`);
  const names = Object.keys(fields).filter((name) => pattern.test(name));
  return [...new Set(names.map((name) => name.replace(/^_/, "")))];
}

function atMostOne(element: string): (fields: Fields) => boolean {
  return (fields) => choices(fields, element).length <= 1;
}

function exactlyOne(element: string): (fields: Fields) => boolean {
  return (fields) => choices(fields, element).length === 1;
}

function issue(
  element: string,
  rule: string,
): { readonly path: string[]; readonly message: string } {
  return { path: [`${element}[x]`], message: rule };
}

const patient = z
  .looseObject({
    ...resource,
    resourceType: z.literal("Patient"),
    active: z.boolean().optional(),
    name: z
      .array(
        z.looseObject({
          use: code.optional(),
          text: text.optional(),
          family: text.optional(),
          given: z.array(text.nullable()).min(1).optional(),
        }),
      )
      .min(1)
      .optional(),
    telecom: z
      .array(z.looseObject({ system: code.optional(), value: text.optional() }))
      .min(1)
      .optional(),
    gender: z.enum(["male", "female", "other", "unknown"]).optional(),
    birthDate: date.optional(),
    deceasedBoolean: z.boolean().optional(),
    deceasedDateTime: dateTime.optional(),
    address: z.array(z.looseObject({})).min(1).optional(),
    maritalStatus: codeableConcept.optional(),
    multipleBirthBoolean: z.boolean().optional(),
    multipleBirthInteger: z.int().optional(),
    link: z
      .array(
        z.looseObject({
          other: reference,
          type: z.enum(["replaced-by", "replaces", "refer", "seealso"]),
        }),
      )
      .min(1)
      .optional(),
  })
  .refine(atMostOne("deceased"), issue("deceased", "at most one"))
  .refine(atMostOne("multipleBirth"), issue("multipleBirth", "at most one"));

const encounter = z.looseObject({
  ...resource,
  resourceType: z.literal("Encounter"),
  status: z.enum([
    "planned",
    "arrived",
    "triaged",
    "in-progress",
    "onleave",
    "finished",
    "cancelled",
    "entered-in-error",
    "unknown",
  ]),
  class: coding,
  type: z.array(codeableConcept).min(1).optional(),
  subject: reference.optional(),
  participant: z
    .array(z.looseObject({ individual: reference.optional(), period: period.optional() }))
    .min(1)
    .optional(),
  period: period.optional(),
  reasonCode: z.array(codeableConcept).min(1).optional(),
  serviceProvider: reference.optional(),
});

const condition = z
  .looseObject({
    ...resource,
    resourceType: z.literal("Condition"),
    clinicalStatus: codeableConcept.optional(),
    verificationStatus: codeableConcept.optional(),
    category: z.array(codeableConcept).min(1).optional(),
    severity: codeableConcept.optional(),
    code: codeableConcept.optional(),
    subject: reference,
    encounter: reference.optional(),
    onsetDateTime: dateTime.optional(),
    onsetPeriod: period.optional(),
    abatementDateTime: dateTime.optional(),
    recordedDate: dateTime.optional(),
    note: z.array(annotation).min(1).optional(),
  })
  .refine(atMostOne("onset"), issue("onset", "at most one"))
  .refine(atMostOne("abatement"), issue("abatement", "at most one"));

const observation = z
  .looseObject({
    ...resource,
    resourceType: z.literal("Observation"),
    status: z.enum([
      "registered",
      "preliminary",
      "final",
      "amended",
      "corrected",
      "cancelled",
      "entered-in-error",
      "unknown",
    ]),
    category: z.array(codeableConcept).min(1).optional(),
    code: codeableConcept,
    subject: reference.optional(),
    encounter: reference.optional(),
    effectiveDateTime: dateTime.optional(),
    effectivePeriod: period.optional(),
    effectiveInstant: instant.optional(),
    issued: instant.optional(),
    valueQuantity: quantity.optional(),
    valueCodeableConcept: codeableConcept.optional(),
    valueString: text.optional(),
    valueBoolean: z.boolean().optional(),
    valueInteger: z.int().optional(),
    valueDateTime: dateTime.optional(),
    valuePeriod: period.optional(),
    dataAbsentReason: codeableConcept.optional(),
    component: z
      .array(
        z
          .looseObject({ code: codeableConcept, valueQuantity: quantity.optional() })
          .refine(atMostOne("value"), issue("value", "at most one")),
      )
      .min(1)
      .optional(),
  })
  .refine(atMostOne("effective"), issue("effective", "at most one"))
  .refine(atMostOne("value"), issue("value", "at most one"));

const procedure = z
  .looseObject({
    ...resource,
    resourceType: z.literal("Procedure"),
    status: z.enum([
      "preparation",
      "in-progress",
      "not-done",
      "on-hold",
      "stopped",
      "completed",
      "entered-in-error",
      "unknown",
    ]),
    code: codeableConcept.optional(),
    subject: reference,
    encounter: reference.optional(),
    performedDateTime: dateTime.optional(),
    performedPeriod: period.optional(),
    reasonReference: z.array(reference).min(1).optional(),
  })
  .refine(atMostOne("performed"), issue("performed", "at most one"));

const immunization = z
  .looseObject({
    ...resource,
    resourceType: z.literal("Immunization"),
    status: z.enum(["completed", "entered-in-error", "not-done"]),
    vaccineCode: codeableConcept,
    patient: reference,
    encounter: reference.optional(),
    occurrenceDateTime: dateTime.optional(),
    occurrenceString: text.optional(),
    primarySource: z.boolean().optional(),
    lotNumber: text.optional(),
    expirationDate: date.optional(),
    doseQuantity: quantity.optional(),
  })
  .refine(exactlyOne("occurrence"), issue("occurrence", "exactly one"));

const medicationRequest = z
  .looseObject({
    ...resource,
    resourceType: z.literal("MedicationRequest"),
    status: z.enum([
      "active",
      "on-hold",
      "cancelled",
      "completed",
      "entered-in-error",
      "stopped",
      "draft",
      "unknown",
    ]),
    intent: z.enum([
      "proposal",
      "plan",
      "order",
      "original-order",
      "reflex-order",
      "filler-order",
      "instance-order",
      "option",
    ]),
    medicationCodeableConcept: codeableConcept.optional(),
    medicationReference: reference.optional(),
    subject: reference,
    encounter: reference.optional(),
    authoredOn: dateTime.optional(),
    requester: reference.optional(),
    reasonReference: z.array(reference).min(1).optional(),
    dosageInstruction: z
      .array(z.looseObject({ text: text.optional() }))
      .min(1)
      .optional(),
  })
  .refine(exactlyOne("medication"), issue("medication", "exactly one"));

/** Schemas by resource type; a type that is not here takes {@link wholeResource}. */
export const typedSchemas: ReadonlyMap<string, z.ZodType> = new Map<string, z.ZodType>([
  ["Patient", patient],
  ["Encounter", encounter],
  ["Condition", condition],
  ["Observation", observation],
  ["Procedure", procedure],
  ["Immunization", immunization],
  ["MedicationRequest", medicationRequest],
]);

/** Any other resource: an object of that type whose id, where it has one, is an R4 id. */
export function wholeResource(resourceType: string): z.ZodType {
  return z.looseObject({
    ...resource,
    identifier: z.unknown().optional(),
    resourceType: z.literal(resourceType),
  });
}
