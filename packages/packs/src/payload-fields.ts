/**
 * The fields of an event type's payload, for references and for `holdfast types`: read from the JSON Schema
 * that a schema library states by Standard JSON Schema (https://standardschema.dev/json-schema).
 */
import type { EventType } from "@holdfast/core";

/** The part of JSON Schema that is shown. */
interface JsonSchema {
  readonly type?: string;
  readonly format?: string;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly JsonSchema[];
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
}

interface StatesJsonSchema {
  readonly jsonSchema?: { input(options: { readonly target: "draft-2020-12" }): unknown };
}

/** One top-level field of a payload, in words. */
export interface PayloadField {
  readonly name: string;
  /** For example `number`, `instant` (ISO 8601 with an offset), `"left" or "right"`, `array of string`. */
  readonly type: string;
  readonly nullable: boolean;
  /** Must a draft give it? */
  readonly required: boolean;
  /** What it is when left out; `undefined` when the schema names no default. */
  readonly default: unknown;
  /** For example `≥ 0, ≤ 400`; empty when there are none. */
  readonly bounds: string;
}

/**
 * The fields of a payload as a draft gives it, in the order of the schema. Empty when the payload has none,
 * and when the schema's library does not state JSON Schema.
 */
export function payloadFields(type: EventType): readonly PayloadField[] {
  const standard = type.schema["~standard"] as object as StatesJsonSchema;
  const stated = (standard.jsonSchema?.input({ target: "draft-2020-12" }) ?? {}) as JsonSchema;
  const { properties = {}, required = [] } = stated;
  return Object.entries(properties).map(([name, field]) => ({
    name,
    type: typeText(field),
    nullable: variantsOf(field).some((one) => one.type === "null"),
    required: required.includes(name),
    default: field.default,
    bounds: boundsText(field),
  }));
}

function variantsOf(field: JsonSchema): readonly JsonSchema[] {
  return field.anyOf ?? [field];
}

function typeText(field: JsonSchema): string {
  return variantsOf(field)
    .filter(({ type }) => type !== "null")
    .map((one) => {
      if (one.enum !== undefined)
        return one.enum.map((value) => JSON.stringify(value)).join(" or ");
      if (one.type === "array") return `array of ${typeText(one.items ?? {})}`;
      if (one.type === "object") return `object {${Object.keys(one.properties ?? {}).join(", ")}}`;
      if (one.format === "date-time") return "instant";
      return one.format === "date" ? "date" : (one.type ?? "any");
    })
    .join(" or ");
}

function boundsText(field: JsonSchema): string {
  return variantsOf(field)
    .flatMap(({ minimum, maximum, exclusiveMinimum, maxLength, maxItems }) => [
      ...(minimum === undefined ? [] : [`≥ ${minimum}`]),
      ...(exclusiveMinimum === undefined ? [] : [`> ${exclusiveMinimum}`]),
      ...(maximum === undefined ? [] : [`≤ ${maximum}`]),
      ...(maxLength === undefined ? [] : [`≤ ${maxLength} characters`]),
      ...(maxItems === undefined ? [] : [`≤ ${maxItems} items`]),
    ])
    .join(", ");
}
