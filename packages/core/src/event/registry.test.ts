import { createOpenSchema, createTestSchema } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { createRegistry, defineEvent, type EventTypeDefinition, isName } from "./registry.ts";

interface Reading {
  readonly celsius: number;
  readonly site: string;
}

const readingSchema = createTestSchema<Reading>((value) => {
  const { celsius, site = "ear" } = value as Partial<Reading>;
  if (typeof celsius !== "number") return [{ message: "a number", path: ["celsius"] }, "and more"];
  return { value: { celsius, site } };
});

const reading = defineEvent({
  type: "TemperatureMeasured",
  version: 3,
  concurrency: "independent",
  schema: readingSchema,
  upcasters: {
    1: (old) => ({ kelvin: (old as { fahrenheit: number }).fahrenheit + 459.67 }),
    2: (old) => ({ celsius: (old as { kelvin: number }).kelvin - 273.15 }),
  },
});
const schema = createOpenSchema();
const define = (more: Partial<EventTypeDefinition<unknown>>): unknown =>
  defineEvent({ type: "Thing", schema, ...more });

describe("defineEvent", () => {
  it("has a default for all but type and schema", () => {
    expect(defineEvent({ type: "Thing", schema })).toEqual({
      type: "Thing",
      schema,
      version: 1,
      concurrency: "exclusive",
      upcasters: {},
      sections: {},
      encoding: "json",
      strategy: "manual",
    });
  });

  it.each<readonly [string, Partial<EventTypeDefinition<unknown>>]>([
    ["a name with a space", { type: "Two words" }],
    ["an empty name", { type: "" }],
    ["a name that is too long", { type: "T".repeat(limits.nameBytesMax + 1) }],
    ["a name that starts with a digit", { type: "1st" }],
    ["version 0", { version: 0 }],
    ["version 1.5", { version: 1.5 }],
    ["a former version without an upcaster", { version: 3, upcasters: { 1: (old) => old } }],
    ["an upcaster from the current version", { version: 1, upcasters: { 1: (old) => old } }],
    ["an upcaster from version 0", { version: 1, upcasters: { 0: (old) => old } }],
    ["a section called content", { sections: { content: ["a"] } }],
    ["a section called blob", { sections: { blob: ["a"] } }],
    ["a section without a name", { sections: { "": ["a"] } }],
    ["a field in two sections", { sections: { one: ["a"], two: ["a"] } }],
    [
      "too many sections",
      {
        sections: Object.fromEntries(
          Array.from({ length: limits.eventSectionsMax }, (_, at) => [`s${at}`, [`f${at}`]]),
        ),
      },
    ],
  ])("refuses %s", (_, more) => {
    expect(() => define(more)).toThrow(/^event_type_invalid/);
  });

  it("takes as many sections as an event may have beside its content", () => {
    const sections = Object.fromEntries(
      Array.from({ length: limits.eventSectionsMax - 1 }, (_, at) => [`s${at}`, [`f${at}`]]),
    );
    expect(() => define({ sections })).not.toThrow();
    expect(isName("T".repeat(limits.nameBytesMax))).toBe(true);
  });
});

describe("registry", () => {
  const registry = createRegistry([reading]);

  it("refuses two declarations of one name", () => {
    expect(() => createRegistry([reading, reading])).toThrow(/^event_type_duplicate/);
  });

  it("records what the schema makes of a payload, defaults included", () => {
    expect(registry.validate("TemperatureMeasured", { celsius: 37 })).toEqual({
      celsius: 37,
      site: "ear",
    });
  });

  it("refuses an unknown type and a payload, naming the place and never the value", () => {
    expect(() => registry.validate("Unheard", {})).toThrow(/^event_type_unknown/);
    expect(() => registry.validate("TemperatureMeasured", { celsius: "secret" })).toThrow(
      /^payload_invalid.*path=\/celsius issues=2/,
    );
    expect(() => registry.validate("TemperatureMeasured", { celsius: "secret" })).not.toThrow(
      /secret/,
    );
  });

  it("escapes a path as a JSON Pointer", () => {
    const strict = defineEvent({
      type: "Odd",
      schema: createTestSchema(() => [{ message: "no", path: ["a/b", "~c", 0] }]),
    });
    expect(() => createRegistry([strict]).validate("Odd", 1)).toThrow(/path=\/a~1b\/~0c\/0/);
    const keyed = defineEvent({
      type: "Keyed",
      schema: {
        "~standard": {
          version: 1,
          vendor: "t",
          validate: () => ({ issues: [{ message: "no", path: [{ key: "deep" }] }] }),
        },
      },
    });
    expect(() => createRegistry([keyed]).validate("Keyed", 1)).toThrow(/path=\/deep/);
  });

  it("refuses a schema that answers later", () => {
    const later = defineEvent({
      type: "Later",
      schema: {
        "~standard": { version: 1, vendor: "t", validate: (value) => Promise.resolve({ value }) },
      },
    });
    expect(() => createRegistry([later]).validate("Later", 1)).toThrow(
      /^event_type_invalid.*asynchronous/,
    );
  });

  it("lifts every former version through its upcasters, and fills defaults", () => {
    const read = registry.read("TemperatureMeasured", 1, { fahrenheit: 0 });
    expect(read).toMatchObject({ known: true, version: 3, payload: { site: "ear" } });
    expect(registry.read("TemperatureMeasured", 2, { kelvin: 273.15 }).payload).toEqual({
      celsius: 0,
      site: "ear",
    });
    expect(registry.read("TemperatureMeasured", 3, { celsius: 1, site: "toe" }).payload).toEqual({
      celsius: 1,
      site: "toe",
    });
  });

  it("keeps unknown types and newer versions as they are", () => {
    const payload = { anything: [1] };
    expect(registry.read("Unheard", 7, payload)).toEqual({ known: false, version: 7, payload });
    expect(registry.read("TemperatureMeasured", 4, payload)).toEqual({
      known: false,
      version: 4,
      payload,
    });
  });

  it("says when a recorded payload cannot be read", () => {
    expect(() => registry.read("TemperatureMeasured", 1, undefined)).toThrow(
      /^payload_unreadable.*version=1/,
    );
    expect(() => registry.read("TemperatureMeasured", 3, { site: "ear" })).toThrow(
      /^payload_unreadable/,
    );
  });

  it("describes itself alike in whatever order its types were declared", () => {
    const other = defineEvent({ type: "Another", schema });
    const [a, b] = [createRegistry([reading, other]), createRegistry([other, reading])];
    expect(a.describe()).toEqual(b.describe());
    expect(a.describe()).toHaveLength(2);
    expect(createRegistry([reading]).describe()).not.toEqual(a.describe());
  });
});
