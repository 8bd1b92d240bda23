/**
 * Schemas for tests, without a schema library: the smallest things that are Standard Schemas.
 */
import type { EventType } from "@holdfast/core";

type Schema<Payload> = EventType<Payload>["schema"];

/** What a check finds wrong: a text, or a text at a path. */
export type SchemaIssue =
  | string
  | { readonly message: string; readonly path: readonly PropertyKey[] };

/** A schema from a function: what it returns is recorded; an issue, given back in a list, refuses. */
export function createTestSchema<Payload>(
  validate: (value: unknown) => { readonly value: Payload } | readonly SchemaIssue[],
): Schema<Payload> {
  return {
    "~standard": {
      version: 1,
      vendor: "testkit",
      validate(value) {
        const result = validate(value);
        if ("value" in result) return { value: result.value };
        return {
          issues: result.map((issue) => (typeof issue === "string" ? { message: issue } : issue)),
        };
      },
    },
  };
}

/** Accepts everything as it is. */
export function createOpenSchema<Payload = unknown>(): Schema<Payload> {
  return createTestSchema((value) => ({ value: value as Payload }));
}
