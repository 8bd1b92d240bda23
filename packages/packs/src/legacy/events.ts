/**
 * Operations that an earlier application kept in an outbox of its own (PendingOp: create, update, delete, control), as
 * records of what was to be delivered. What they mean to the domain is for the application that knew them.
 */
import { defineEvent, type EventType } from "@holdfast/core";
import { z } from "zod";

/** What an operation of the earlier outbox did. */
export const legacyOperations = ["create", "update", "delete", "control"] as const;

/** An operation that an earlier outbox held when it was taken over. */
export const legacyOperationImported = defineEvent({
  type: "LegacyOperationImported",
  concurrency: "independent",
  schema: z.strictObject({
    operation: z.enum(legacyOperations),
    /** Id of the entry in the earlier outbox. */
    entry: z.string().max(200).nullable().default(null),
    entity_type: z.string().max(200).nullable().default(null),
    entity_id: z.string().max(200).nullable().default(null),
    created_at: z.iso.datetime({ offset: true }),
    attempts: z.number().int().min(0).default(0),
    status: z.string().max(50).default("pending"),
    /** As it was kept. */
    payload: z.json(),
  }),
});

/** All event types of outboxes that are taken over. */
export const legacyEvents: readonly EventType[] = [legacyOperationImported];
