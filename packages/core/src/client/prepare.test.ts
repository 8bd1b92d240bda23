import {
  createOpenSchema,
  createNoteDraft as note,
  createNoteRegistry,
  noteTaken,
} from "@holdfast/testkit";
import { describe, expect, it } from "vitest";

import { createRegistry, defineEvent } from "../event/registry.ts";
import { limits } from "../std/limits.ts";
import { prepareDraft } from "./prepare.ts";

const text = defineEvent({ type: "TextKept", encoding: "text", schema: createOpenSchema() });
const open = defineEvent({ type: "AnythingSaid", schema: createOpenSchema() });
const registry = createRegistry([...createNoteRegistry().types.values(), text, open]);
const deps = { registry, actorOf: (actor: string) => `actor of ${actor}` };
const leaf = "A".repeat(43);
const prepare = (draft: unknown): ReturnType<typeof prepareDraft> => prepareDraft(deps, draft, 7);
const lone = "\ud800";

describe("a draft alone", () => {
  it("gets its defaults", () => {
    expect(prepare(note("s", "x"))).toMatchObject({
      type: "NoteTaken",
      typeVersion: 1,
      concurrency: "exclusive",
      stream: "s",
      site: "",
      op: "create",
      at: 7,
      actor: "actor of nurse/7",
      lane: "normal",
      content: { data: { text: "x" } },
    });
  });

  it("keeps what it says", () => {
    const session = "01a1f9e4-37d1-76cd-959e-91fad92a05e4";
    const said = {
      op: "amend",
      ref: [leaf],
      why: "typo",
      reason: "a typo",
      role: "nurse",
      lane: "urgent",
    } as const;
    const prepared = prepare(
      note("s", "x", { ...said, id: session, session, site: "north", occurredAt: -5 }),
    );
    const { reason, ...head } = said;
    expect(prepared).toMatchObject({
      ...head,
      session,
      site: "north",
      content: { reason, occurredAt: -5 },
    });
  });

  it("may be a text of somebody else's, kept to the byte", () => {
    const exact = '{"a": 1.00}';
    expect(
      prepare({ ...note("s", "x"), type: "TextKept", data: undefined, text: exact }).content,
    ).toMatchObject({ text: exact, data: { a: 1 } });
  });

  it.each<readonly [string, RegExp, unknown]>([
    ["null", /^draft_invalid/, null],
    ["a text", /^draft_invalid/, "draft"],
    ["no type", /^draft_invalid.*path=\/type/, { ...note("s", "x"), type: undefined }],
    ["a type that is no name", /^draft_invalid.*path=\/type/, { ...note("s", "x"), type: "a b" }],
    ["an unknown type", /^event_type_unknown/, { ...note("s", "x"), type: "Unheard" }],
    ["no stream", /^draft_invalid.*path=\/stream/, note("", "x")],
    ["a stream that is no text", /^draft_invalid.*path=\/stream/, { ...note("s", "x"), stream: 1 }],
    [
      "a stream too long",
      /^draft_invalid.*path=\/stream/,
      note("s".repeat(limits.wordsCharactersMax + 1), "x"),
    ],
    ["half a character in a stream", /^json_lone_surrogate.*path=\/stream/, note(lone, "x")],
    ["no actor", /^draft_invalid.*path=\/actor/, note("s", "x", { actor: "" })],
    ["an empty scope", /^draft_invalid.*path=\/scope/, note("s", "x", { scope: "" })],
    ["NUL in a site", /^json_nul.*path=\/site/, note("s", "x", { site: "\0" })],
    ["a system operation", /^draft_invalid.*path=\/op/, note("s", "x", { op: "shred" })],
    [
      "an amendment without a reason",
      /^draft_invalid.*path=\/why/,
      note("s", "x", { op: "amend", ref: [leaf] }),
    ],
    [
      "a reason that is no code",
      /^draft_invalid.*path=\/why/,
      note("s", "x", { why: "two words" }),
    ],
    [
      "an amendment of nothing",
      /^draft_invalid.*path=\/ref/,
      note("s", "x", { op: "amend", why: "typo" }),
    ],
    [
      "an empty list of leaves",
      /^draft_invalid.*path=\/ref/,
      note("s", "x", { op: "sign", ref: [] }),
    ],
    [
      "a leaf that is none",
      /^draft_invalid.*path=\/ref/,
      note("s", "x", { op: "sign", ref: ["AAAA"] }),
    ],
    [
      "too many leaves",
      /^draft_invalid.*path=\/ref/,
      note("s", "x", {
        op: "sign",
        ref: Array.from({ length: limits.vectorEntriesMax + 1 }, () => leaf),
      }),
    ],
    ["an id that is no UUIDv7", /^draft_invalid.*path=\/id/, note("s", "x", { id: "1" })],
    ["a role that is no name", /^draft_invalid.*path=\/role/, note("s", "x", { role: "a b" })],
    ["a session that is no id", /^draft_invalid.*path=\/session/, note("s", "x", { session: "1" })],
    ["an empty reason", /^draft_invalid.*path=\/reason/, note("s", "x", { reason: "" })],
    [
      "half a millisecond",
      /^draft_invalid.*path=\/occurredAt/,
      note("s", "x", { occurredAt: 0.5 }),
    ],
    ["a lane of its own", /^draft_invalid.*path=\/lane/, note("s", "x", { lane: "fast" as never })],
    ["a text where data belongs", /^draft_invalid.*path=\/text/, note("s", "x", { text: "{}" })],
    [
      "data where a text belongs",
      /^draft_invalid.*path=\/text/,
      { ...note("s", "x"), type: "TextKept" },
    ],
    [
      "a text that is no JSON",
      /^json_malformed.*path=\/text/,
      { ...note("s", "x"), type: "TextKept", text: "{" },
    ],
    [
      "a text that names a key twice",
      /^json_duplicate_key.*path=\/text/,
      { ...note("s", "x"), type: "TextKept", text: '{"a":1,"a":2}' },
    ],
    [
      "a payload that the schema refuses",
      /^payload_invalid.*path=\/data\/text/,
      { ...note("s", "x"), data: {} },
    ],
    [
      "half a character deep inside",
      /^json_lone_surrogate.*path=\/data\/a\/0/,
      { ...note("s", "x"), type: "AnythingSaid", data: { a: [lone] } },
    ],
    [
      "2^53 + 1",
      /^json_unsafe_number.*path=\/data/,
      { ...note("s", "x"), type: "AnythingSaid", data: 2 ** 53 + 2 },
    ],
    [
      "__proto__",
      /^json_forbidden_key/,
      { ...note("s", "x"), type: "AnythingSaid", data: JSON.parse('{"__proto__":1}') as unknown },
    ],
    [
      "a date",
      /^json_not_plain.*path=\/data\/when/,
      { ...note("s", "x"), type: "AnythingSaid", data: { when: new Date(0) } },
    ],
    ["a payload too large", /^event_too_large/, note("s", "x".repeat(limits.eventBytesMax))],
  ])("is refused for %s", (_, code, draft) => {
    expect(() => prepare(draft)).toThrow(code);
    expect(registry.types.get("NoteTaken")).toBe(noteTaken);
  });
});
