import { createOpenSchema } from "@holdfast/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineEvent } from "../event/registry.ts";
import { fromUtf8 } from "../std/bytes.ts";
import { type EventContent, fromSections, toSections } from "./content.ts";

const schema = createOpenSchema();
const plain = defineEvent({ type: "Plain", schema });
const apart = defineEvent({
  type: "Apart",
  schema,
  sections: { identity: ["name", "born"], genome: ["sequence"] },
});
const text = defineEvent({ type: "Text", schema, encoding: "text" });

const content = (more: Partial<EventContent>): EventContent => {
  return { data: undefined, text: undefined, occurredAt: undefined, reason: undefined, ...more };
};

function opened(sections: ReturnType<typeof toSections>): Map<string, Uint8Array> {
  return new Map(sections.map(({ name, plaintext }) => [name, plaintext]));
}

const words = fc.record({
  occurredAt: fc.option(fc.integer(), { nil: undefined }),
  reason: fc.option(fc.string({ unit: "grapheme" }), { nil: undefined }),
});

describe("content and its sections", () => {
  it("come back from one section", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), words, (value, said) => {
        const data = JSON.parse(JSON.stringify(value)) as unknown;
        const made = content({ ...said, data });
        const sections = toSections(plain, made);
        expect(sections.map(({ name }) => name)).toEqual(["content"]);
        expect(fromSections("json", opened(sections))).toEqual(made);
      }),
    );
  });

  it("come back from separate sections, whichever fields are there", () => {
    const fields = fc.record(
      { name: fc.string(), born: fc.integer(), sequence: fc.string(), note: fc.boolean() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fields, words, (value, said) => {
        const made = content({ ...said, data: { ...value } });
        expect(fromSections("json", opened(toSections(apart, made)))).toEqual(made);
      }),
    );
  });

  it("keep the fields of a section out of all others", () => {
    const data = { name: "Ada", born: 1815, sequence: "GATTACA", note: 1 };
    const sections = opened(toSections(apart, content({ data, reason: "why", occurredAt: 5 })));
    const texts = Object.fromEntries([...sections].map(([name, bytes]) => [name, fromUtf8(bytes)]));
    expect(texts).toEqual({
      identity: '{"born":1815,"name":"Ada"}',
      genome: '{"sequence":"GATTACA"}',
      content: '{"data":{"note":1},"occurred_at":5,"reason":"why"}',
    });
    expect(data).toHaveProperty("name");
  });

  it("leave a section out when none of its fields is there", () => {
    const sections = toSections(apart, content({ data: { note: 1 } }));
    expect(sections.map(({ name }) => name)).toEqual(["content"]);
  });

  it("do not take fields from a prototype or out of a list", () => {
    const data: unknown = Object.create({ name: "inherited" });
    expect(toSections(apart, content({ data })).map(({ name }) => name)).toEqual(["content"]);
    expect(toSections(apart, content({ data: ["name"] })).map(({ name }) => name)).toEqual([
      "content",
    ]);
  });

  it("keep a text to the byte, and words beside it only where there are any", () => {
    const exact = '{ "value": 1.10,\n "é": "" }';
    const bare = toSections(text, content({ text: exact }));
    expect(bare.map(({ name }) => name)).toEqual(["content"]);
    expect(fromUtf8(bare[0]?.plaintext as Uint8Array)).toBe(exact);
    const said = toSections(text, content({ text: exact, occurredAt: 7, reason: "r" }));
    expect(said.map(({ name }) => name)).toEqual(["content", "context"]);
    expect(fromSections("text", opened(said))).toEqual({
      data: { value: 1.1, é: "" },
      text: exact,
      occurredAt: 7,
      reason: "r",
    });
  });

  it("read what is not there as absent", () => {
    const nothing = content({});
    expect(fromSections("json", new Map())).toEqual(nothing);
    expect(fromSections("text", new Map())).toEqual(nothing);
    const odd = new TextEncoder().encode('{"data":1,"occurred_at":"x","reason":2}');
    expect(fromSections("json", new Map([["content", odd]]))).toEqual(content({ data: 1 }));
  });
});

describe("sections read with care", () => {
  const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

  it("keep a payload that is no record in one section, also of a type with separate ones", () => {
    for (const data of [null, "name", 7, ["name"]]) {
      const sections = toSections(apart, content({ data, reason: "why" }));
      expect(sections.map(({ name }) => name)).toEqual(["content"]);
      expect(fromSections("json", opened(sections))).toEqual(content({ data, reason: "why" }));
    }
  });

  it("take each field once, into the section that declares it", () => {
    const data = { name: "Ada", born: 1815, note: 1 };
    const sections = toSections(apart, content({ data }));
    expect(
      sections.map(({ name, plaintext }) => [name, fromUtf8(plaintext as Uint8Array)]),
    ).toEqual([
      ["identity", '{"born":1815,"name":"Ada"}'],
      ["content", '{"data":{"note":1}}'],
    ]);
    expect(data).toEqual({ name: "Ada", born: 1815, note: 1 });
  });

  it("join what is there, whatever is missing", () => {
    const only = new Map([["identity", bytes({ name: "Ada" })]]);
    expect(fromSections("json", only)).toEqual(content({ data: { name: "Ada" } }));
    const mixed = new Map([
      ["content", bytes({ data: "x", reason: "why", occurred_at: 3 })],
      ["identity", bytes({ name: "Ada" })],
      ["context", bytes({ born: 1 })],
    ]);
    expect(fromSections("json", mixed)).toEqual(
      content({ data: { name: "Ada" }, reason: "why", occurredAt: 3 }),
    );
    for (const odd of [null, [1], "x"])
      expect(fromSections("json", new Map([["content", bytes(odd)]]))).toEqual(content({}));
  });

  it("read the words of a text from its context alone", () => {
    const sections = new Map([
      ["content", bytes({ reason: "not this" })],
      ["context", bytes({ reason: "why", occurred_at: 3 })],
    ]);
    expect(fromSections("text", sections)).toEqual({
      data: { reason: "not this" },
      text: '{"reason":"not this"}',
      occurredAt: 3,
      reason: "why",
    });
    expect(toSections(text, content({})).map(({ plaintext }) => plaintext.length)).toEqual([0]);
    const late = toSections(text, content({ text: "{}", occurredAt: 0 }));
    expect(late.map(({ name, plaintext }) => [name, fromUtf8(plaintext)])).toEqual([
      ["content", "{}"],
      ["context", '{"occurred_at":0}'],
    ]);
  });
});
