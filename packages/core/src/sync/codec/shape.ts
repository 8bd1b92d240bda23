/**
 * Shapes of JSON on the wire: one value says how a part of a message is written, how it is read, and what its
 * JSON Schema (2020-12) is. So codec, OpenAPI document and the pinned digest cannot drift apart.
 *
 * Reading is total: any JSON gives a value or `message_malformed` {part}, `message_too_large` {part, max}. Shapes
 * are closed: a member that is not declared is refused, because protocol v1 changes by version only. Names are
 * snake_case on the wire and camelCase in code.
 */
import { base64, type Bytes, fromBase64 } from "../../std/bytes.ts";
import { HoldfastError } from "../../std/errors.ts";
import type { JsonValue } from "../../std/json.ts";
import { fromIsoTime, isoTime } from "../../event/wire.ts";

/** JSON Schema, as a plain value. */
export type JsonSchema = { readonly [key: string]: JsonValue };

/** How one kind of value is written, read and described. */
export interface Shape<T> {
  readonly schema: JsonSchema;
  /** Values of the type have a form; what they hold is judged when it is read. */
  write(value: T): JsonValue;
  /** `part`: JSON Pointer of the value, for the error. */
  read(value: JsonValue, part: string): T;
}

/** `message_malformed` for a part of a message. */
export function malformed(part: string): HoldfastError {
  return new HoldfastError("message_malformed", { part: part === "" ? "/" : part });
}

/** `message_too_large` for a part of a message that exceeds its limit. */
export function tooLarge(part: string, max: number): HoldfastError {
  return new HoldfastError("message_too_large", { part: part === "" ? "/" : part, max });
}

/** Text of at most `max` UTF-16 code units that the pattern (anchored) matches. */
export function text(max: number, pattern?: string): Shape<string> {
  const expression = pattern === undefined ? undefined : new RegExp(pattern, "u");
  return {
    schema: {
      type: "string",
      maxLength: max,
      ...(pattern === undefined ? {} : { pattern }),
    },
    write: (value) => value,
    read(value, part) {
      if (typeof value !== "string") throw malformed(part);
      if (value.length > max) throw tooLarge(part, max);
      if (expression?.test(value) === false) throw malformed(part);
      return value;
    },
  };
}

/** One of some words. */
export function word<const T extends string>(...words: readonly T[]): Shape<T> {
  return {
    schema: { type: "string", enum: [...words] },
    write: (value) => value,
    read(value, part) {
      const found = words.find((known) => known === value);
      if (found === undefined) throw malformed(part);
      return found;
    },
  };
}

/** One number and no other. */
export function exactly<const T extends number>(only: T): Shape<T> {
  return {
    schema: { type: "integer", const: only },
    write: (value) => value,
    read(value, part) {
      if (value !== only) throw malformed(part);
      return only;
    },
  };
}

/** A whole number from 0 (or `least`) to `most`. */
export function whole(most: number = Number.MAX_SAFE_INTEGER, least = 0): Shape<number> {
  return {
    schema: { type: "integer", minimum: least, maximum: most },
    write: (value) => value,
    read(value, part) {
      if (typeof value !== "number" || !Number.isSafeInteger(value)) throw malformed(part);
      if (value < least) throw malformed(part);
      if (value > most) throw tooLarge(part, most);
      return value;
    },
  };
}

/** True or false. */
export const flag: Shape<boolean> = {
  schema: { type: "boolean" },
  write: (value) => value,
  read(value, part) {
    if (typeof value !== "boolean") throw malformed(part);
    return value;
  },
};

/** UTC milliseconds in code; ISO 8601 with milliseconds on the wire. */
export const time: Shape<number> = {
  schema: {
    type: "string",
    format: "date-time",
    pattern: String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`,
  },
  write: isoTime,
  read(value, part) {
    const milliseconds =
      typeof value === "string" && value.length === 24 ? fromIsoTime(value) : undefined;
    // Dates such as 30 February are rolled over by the platform: only what comes back the same is taken.
    if (milliseconds === undefined || milliseconds < 0 || isoTime(milliseconds) !== value) {
      throw malformed(part);
    }
    return milliseconds;
  },
};

/** Bytes of one exact length, base64 on the wire. */
export function bytes(length: number): Shape<Bytes> {
  const characters = Math.ceil(length / 3) * 4;
  return {
    schema: {
      type: "string",
      contentEncoding: "base64",
      minLength: characters,
      maxLength: characters,
    },
    write: (value) => base64(value),
    read(value, part) {
      const decoded =
        typeof value === "string" && value.length === characters ? fromBase64(value) : undefined;
      if (decoded?.length !== length) throw malformed(part);
      return decoded;
    },
  };
}

/** At most `max` values of one shape. */
export function list<T>(item: Shape<T>, max: number): Shape<readonly T[]> {
  return {
    schema: { type: "array", items: item.schema, maxItems: max },
    write: (values) => values.map((value) => item.write(value)),
    read(value, part) {
      if (!Array.isArray(value)) throw malformed(part);
      if (value.length > max) throw tooLarge(part, max);
      return (value as readonly JsonValue[]).map((one, at) => item.read(one, `${part}/${at}`));
    },
  };
}

/** Two values of one shape. */
export function pair<T>(item: Shape<T>): Shape<readonly [T, T]> {
  return {
    schema: { type: "array", items: item.schema, minItems: 2, maxItems: 2 },
    write: ([first, second]) => [item.write(first), item.write(second)],
    read(value, part) {
      if (!Array.isArray(value) || value.length !== 2) throw malformed(part);
      const [first, second] = value as unknown as readonly [JsonValue, JsonValue];
      return [item.read(first, `${part}/0`), item.read(second, `${part}/1`)];
    },
  };
}

/** At most `max` members whose names match the pattern (anchored); values of one shape. */
export function map<T>(
  names: string,
  item: Shape<T>,
  max: number,
): Shape<Readonly<Record<string, T>>> {
  const expression = new RegExp(names, "u");
  const name = (key: string, part: string): string => {
    if (!expression.test(key)) throw malformed(part);
    return key;
  };
  return {
    schema: {
      type: "object",
      patternProperties: { [names]: item.schema },
      additionalProperties: false,
      maxProperties: max,
    },
    write: (value) =>
      Object.fromEntries(Object.entries(value).map(([key, one]) => [key, item.write(one)])),
    read(value, part) {
      const members = Object.entries(membersOf(value, part));
      if (members.length > max) throw tooLarge(part, max);
      return Object.fromEntries(
        members.map(([key, one]) => [name(key, part), item.read(one, `${part}/${key}`)]),
      );
    },
  };
}

/** A shape for every member. */
export type Members<T> = { readonly [K in keyof T]-?: Shape<Exclude<T[K], undefined>> };

/** The member names of an object, in snake_case on the wire; those in `optional` may be absent. */
export function record<T extends object>(
  members: Members<T>,
  optional: readonly (keyof T & string)[] = [],
): Shape<T> {
  const fields = Object.entries<Shape<unknown>>(members as Record<string, Shape<unknown>>).map(
    ([key, shape]) => ({
      key,
      shape,
      name: snakeCase(key),
      needed: !(optional as readonly string[]).includes(key),
    }),
  );
  const names = new Set(fields.map(({ name }) => name));
  return {
    schema: {
      type: "object",
      properties: Object.fromEntries(fields.map(({ name, shape }) => [name, shape.schema])),
      required: fields.filter(({ needed }) => needed).map(({ name }) => name),
      additionalProperties: false,
    },
    write: (value) => writeRecord(fields, value as Readonly<Record<string, unknown>>),
    read(value, part) {
      const given = membersOf(value, part);
      if (!Object.keys(given).every((name) => names.has(name))) throw malformed(part);
      return readRecord(fields, given, part) as T;
    },
  };
}

interface Field {
  readonly key: string;
  readonly name: string;
  readonly shape: Shape<unknown>;
  readonly needed: boolean;
}

function writeRecord(
  fields: readonly Field[],
  value: Readonly<Record<string, unknown>>,
): JsonValue {
  const out: Record<string, JsonValue> = {};
  for (const { key, name, shape } of fields) {
    if (value[key] !== undefined) out[name] = shape.write(value[key]);
  }
  return out;
}

function readRecord(
  fields: readonly Field[],
  given: Readonly<Record<string, JsonValue>>,
  part: string,
): object {
  const out: Record<string, unknown> = {};
  for (const { key, name, shape, needed } of fields) {
    const there = Object.hasOwn(given, name);
    if (there) out[key] = shape.read(given[name] as JsonValue, `${part}/${name}`);
    else if (needed) throw malformed(`${part}/${name}`);
  }
  return out;
}

/** The shape whose name stands in member `tag`. */
export function tagged<T extends object>(
  tag: keyof T & string,
  variants: { readonly [name: string]: Shape<T> },
): Shape<T> {
  const variantOf = (name: unknown, part: string): Shape<T> => {
    const known = typeof name === "string" && Object.hasOwn(variants, name);
    if (!known) throw malformed(`${part}/${tag}`);
    return variants[name] as Shape<T>;
  };
  return {
    schema: { oneOf: Object.values(variants).map(({ schema }) => schema) },
    write: (value) => variantOf(value[tag], "").write(value),
    read: (value, part) => variantOf(membersOf(value, part)[tag], part).read(value, part),
  };
}

/** A word, or what the shape says. */
export function wordOr<const W extends string, T>(only: W, shape: Shape<T>): Shape<W | T> {
  return {
    schema: { oneOf: [{ type: "string", const: only }, shape.schema] },
    write: (value) => (value === only ? only : shape.write(value as T)),
    read: (value, part) => (value === only ? only : shape.read(value, part)),
  };
}

/** A shape whose values also hold to a rule. */
export function where<T>(shape: Shape<T>, rule: (value: T) => boolean): Shape<T> {
  return {
    ...shape,
    read(value, part) {
      const taken = shape.read(value, part);
      if (!rule(taken)) throw malformed(part);
      return taken;
    },
  };
}

function membersOf(value: JsonValue, part: string): Readonly<Record<string, JsonValue>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(part);
  return value as Readonly<Record<string, JsonValue>>;
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
