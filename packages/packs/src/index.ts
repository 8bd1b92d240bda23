/**
 * Domain packs: event types and read models that are ready to use. The clinical diary (nosebleeds), home
 * monitoring (rooms, devices, vital signs), FHIR R4 with its importer and exporter, and outboxes of earlier
 * applications.
 */
import type { EventType } from "@holdfast/core";
import { diaryEvents } from "./diary/events.ts";
import { diaryProjection, directoryProjection } from "./diary/projections.ts";
import { fhirEvents } from "./fhir/events.ts";
import { fhirProjection } from "./fhir/projection.ts";
import { homeEvents } from "./home/events.ts";
import { homeProjections } from "./home/projections.ts";
import { legacyEvents } from "./legacy/events.ts";

export * from "./diary/events.ts";
export * from "./diary/projections.ts";
export * from "./diary/fhir.ts";
export * from "./diary/calendar.ts";
export * from "./diary/corrections.ts";
export * from "./home/vital-kinds.ts";
export * from "./home/events.ts";
export * from "./home/deciders.ts";
export * from "./home/projections.ts";
export * from "./legacy/events.ts";
export * from "./legacy/outbox.ts";
export * from "./examples.ts";
export * from "./payload-fields.ts";
export * from "./fhir/resource-types.ts";
export * from "./fhir/events.ts";
export * from "./fhir/projection.ts";
export type { JsonObject } from "./fhir/entry.ts";
export * from "./fhir/bundle.ts";
export * from "./fhir/import.ts";
export * from "./fhir/export.ts";
export * from "./fhir/text.ts";
export { referenceScope } from "./fhir/compartment.ts";

/** The event types of all packs. */
export const packEvents: readonly EventType[] = [
  ...diaryEvents,
  ...homeEvents,
  ...fhirEvents,
  ...legacyEvents,
];

/** The projections of all packs. */
export const packProjections = [
  diaryProjection,
  directoryProjection,
  ...homeProjections,
  fhirProjection,
] as const;
