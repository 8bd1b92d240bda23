/** A bundle entry after its checks, and JSON objects. */
import type { JsonValue } from "@holdfast/core";

/** A JSON object. */
export type JsonObject = { readonly [key: string]: JsonValue };

/** The object, or `undefined` for any other JSON value. */
export function objectOf(value: JsonValue | undefined): JsonObject | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as JsonObject)
    : undefined;
}

/** An entry after its checks. */
export interface CheckedEntry {
  readonly resource: JsonObject;
  readonly resourceType: string;
  readonly stream: string;
  readonly fullUrl: string | undefined;
}
