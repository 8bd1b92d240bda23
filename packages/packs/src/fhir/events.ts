/**
 * FHIR R4 resources as events: every resource type under an event type of its own, `fhir.<ResourceType>`.
 * The recorded text is the resource's original JSON text, so that decimals keep their precision
 * (https://hl7.org/fhir/R4/json.html#primitive).
 */
import { defineEvent, type EventType } from "@holdfast/core";
import { fhirResourceTypes } from "./resource-types.ts";
import { typedSchemas, wholeResource } from "./schemas.ts";

const prefix = "fhir.";

/** The event type's name of a resource type. */
export function fhirEventType(resourceType: string): string {
  return prefix + resourceType;
}

/** One event type per R4 resource type. */
export const fhirEvents: readonly EventType[] = fhirResourceTypes.map((resourceType) =>
  defineEvent<unknown>({
    type: fhirEventType(resourceType),
    schema: typedSchemas.get(resourceType) ?? wholeResource(resourceType),
    encoding: "text",
  }),
);

/** Names of all FHIR event types. */
export const fhirEventTypes: readonly string[] = fhirEvents.map(({ type }) => type);
