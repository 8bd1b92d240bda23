/** Bounds of the header profile, each from both sides; the vectors of spec/vectors hold one case per rule. */
import { describe, expect, it } from "vitest";
import { base64, base64url } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { isBuildId, isCurrentHeader, parseHeader } from "./header.ts";

type Fields = Readonly<Record<string, unknown>>;

const bytes16 = base64url(new Uint8Array(16));
const bytes32 = base64url(new Uint8Array(32));
const inc = "0123456789abcdef";
const device = "d".repeat(22);
const origin = `${device}/${inc}`;
const minimal: Fields = {
  act: bytes16,
  app: "a",
  at: 0,
  dev: device,
  id: "019ca86b-5800-7000-8000-000000000001",
  inc,
  op: "create",
  prev: bytes32,
  scope: bytes16,
  sec: {},
  seq: 1,
  sseq: 1,
  stream: bytes16,
  ten: bytes16,
  tier: "none",
  tv: 1,
  type: "T",
  v: 1,
};
const pub = {
  alg: "ed25519",
  hpke: base64(new Uint8Array(32)),
  reason: "first",
  spki: "AAAA",
};
const later = {
  ...pub,
  predecessor: inc,
  reason: "moved",
  root: base64(new Uint8Array(32)),
  sig: base64(new Uint8Array(64)),
  size: 1,
};

/** Members sorted as JCS has them, at any depth of nesting. */
function text(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}

/** "ok", or reason and path. */
function verdict(fields: unknown): string {
  try {
    parseHeader(typeof fields === "string" ? fields : text(fields));
    return "ok";
  } catch (error) {
    if (!isHoldfastError(error, "header_invalid")) throw error;
    return `${String(error.details["reason"])} ${String(error.details["path"])}`.trim();
  }
}

const section = { c: bytes32, k: bytes16 };
const many = (count: number, value: unknown): Fields =>
  Object.fromEntries(Array.from({ length: count }, (_, at) => [`s${100 + at}`, value]));
const vector = (count: number): Fields =>
  Object.fromEntries(
    Array.from({ length: count }, (_, at) => [`${device}/${at.toString(16).padStart(16, "0")}`, 1]),
  );
const nested = (levels: number): unknown => (levels === 0 ? 1 : { x: nested(levels - 1) });
const opening = { ...minimal, type: "IncarnationOpened" };

describe("a header", () => {
  it.each<[string, Fields, string]>([
    ["v 0", { v: 0 }, "range /v"],
    ["v a text", { v: "2" }, "type /v"],
    ["at 0", { at: 0 }, "ok"],
    ["at 2^48-1", { at: 2 ** 48 - 1 }, "ok"],
    ["at 2^48", { at: 2 ** 48 }, "range /at"],
    ["seq 2^53-1", { seq: 2 ** 53 - 1 }, "ok"],
    ["ten with a sign more", { ten: `${bytes16}A` }, "form /ten"],
    ["ten with a sign before", { ten: `A${bytes16}` }, "form /ten"],
    ["ten that ends in Q", { ten: `${"A".repeat(21)}Q` }, "ok"],
    ["prev that ends in 8", { prev: `${"_".repeat(42)}8` }, "ok"],
    ["prev with a sign before", { prev: `A${bytes32}` }, "form /prev"],
    ["prev with a sign more", { prev: `${bytes32}A` }, "form /prev"],
    ["dev with a sign more", { dev: `${device}d` }, "form /dev"],
    ["dev with a sign before", { dev: `!${device}` }, "form /dev"],
    ["inc with a sign more", { inc: `${inc}0` }, "form /inc"],
    ["inc with a sign before", { inc: `0${inc}` }, "form /inc"],
    ["app of 128 signs", { app: "!".repeat(128) }, "ok"],
    ["app of 129 signs", { app: "~".repeat(129) }, "form /app"],
    ["tier none", { tier: "none" }, "ok"],
    ["tier software", { tier: "software" }, "ok"],
    ["tier os", { tier: "os" }, "ok"],
    ["tier hardware", { tier: "hardware" }, "ok"],
    ["tier empty", { tier: "" }, "form /tier"],
    ["sec a list", { sec: [] }, "type /sec"],
    ["eight sections", { sec: many(8, section) }, "ok"],
    ["nine sections", { sec: many(9, section) }, "count /sec"],
    ["a section that is a text", { sec: { a: "x" } }, "type /sec/a"],
    ["a section that is null", { sec: { a: null } }, "type /sec/a"],
    ["a section without commitment", { sec: { a: { k: bytes16 } } }, "missing /sec/a/c"],
    ["a commitment of 16 bytes", { sec: { a: { ...section, c: bytes16 } } }, "form /sec/a/c"],
    ["a key id of 32 bytes", { sec: { a: { ...section, k: bytes32 } } }, "form /sec/a/k"],
    ["vv a list", { vv: [] }, "type /vv"],
    ["256 entries of vv", { vv: vector(256) }, "ok"],
    ["257 entries of vv", { vv: vector(257) }, "count /vv"],
    ["vv with a sign before", { vv: { [`x${origin}`]: 1 } }, `form /vv/x${origin}`],
    ["vv with a sign more", { vv: { [`${origin}0`]: 1 } }, `form /vv/${origin}0`],
    ["vv a count as text", { vv: { [origin]: "1" } }, `type /vv/${origin}`],
    ["ref no list", { ref: {} }, "type /ref"],
    ["one ref", { ref: [bytes32] }, "ok"],
    ["256 refs", { ref: Array.from({ length: 256 }, () => bytes32) }, "ok"],
    ["257 refs", { ref: Array.from({ length: 257 }, () => bytes32) }, "count /ref"],
    ["a ref that is no text", { ref: [bytes32, 1] }, "type /ref/1"],
    ["seen", { seen: { h: bytes32, log: 0, n: 0 } }, "ok"],
    ["seen a list", { seen: [] }, "type /seen"],
    ["seen without log", { seen: { h: bytes32, n: 0 } }, "missing /seen/log"],
    ["seen without n", { seen: { h: bytes32, log: 0 } }, "missing /seen/n"],
    ["seen log -1", { seen: { h: bytes32, log: -1, n: 0 } }, "range /seen/log"],
    ["seen n -1", { seen: { h: bytes32, log: 0, n: -1 } }, "range /seen/n"],
  ])("with %s", (_, change, expected) => {
    expect(verdict({ ...minimal, ...change })).toBe(expected);
  });

  it.each(["text", 1, null, [], true].map((value) => JSON.stringify(value)))(
    "is no JSON value but an object: %s",
    (value) => {
      expect(verdict(value)).toBe("json");
    },
  );

  it("has at most 200 signs in the path of a refusal, whole ones", () => {
    const path = (name: string): string => verdict({ ...minimal, [name]: 1 }).slice(8);
    expect(path("x".repeat(300))).toBe(`/${"x".repeat(199)}`);
    expect(path(`${"x".repeat(198)}😀`)).toBe(`/${"x".repeat(198)}\ufffd`);
  });

  it("has at most headerBytesMax bytes, of one to three for each sign", () => {
    const filled = (sign: string, count: number) => ({ ...minimal, v: 2, x: sign.repeat(count) });
    const bare = text(filled("", 0)).length;
    const room = limits.headerBytesMax - bare;
    expect(verdict(filled("x", room))).toBe("ok");
    expect(verdict(filled("x", room + 1))).toBe("size");
    const wide = Math.floor(room / 3);
    expect(verdict(filled("€", wide))).toBe("ok");
    expect(verdict(filled("€", wide + 1))).toBe("size");
  });

  it("is current in version 1 alone", () => {
    expect(isCurrentHeader(parseHeader(text(minimal)))).toBe(true);
    const newer = parseHeader(text({ ...minimal, v: 2, act: 1, more: null }));
    expect(isCurrentHeader(newer)).toBe(false);
    // What is not frozen may change its form, what is frozen may not.
    const {
      act: _a,
      app: _b,
      at: _c,
      op: _d,
      sseq: _e,
      tier: _f,
      tv: _g,
      type: _h,
      ...frozen
    } = minimal;
    expect(verdict({ ...frozen, v: 2 })).toBe("ok");
    for (const name of Object.keys(frozen).filter((key) => key !== "v")) {
      const { [name]: _, ...rest } = frozen;
      expect(verdict({ ...rest, v: 2 })).toBe(`missing /${name}`);
      expect(verdict({ ...frozen, v: 2, [name]: null })).toBe(`type /${name}`);
    }
    expect(verdict({ ...frozen, v: 0.5 })).toBe("range /v");
    expect(verdict({ ...frozen, v: 2.5 })).toBe("range /v");
    // The rules between fields are those of version 1.
    expect(verdict({ ...minimal, v: 2, op: "amend", pub: { x: 1 } })).toBe("ok");
  });
});

describe("what a header says in the open", () => {
  it.each(["key", "access", "resolve", "sync", "migrate"])("stands on %s", (op) => {
    expect(verdict({ ...minimal, op, pub: { x: 1 } })).toBe("ok");
  });
  it.each(["create", "sign", "review", "admin"])("does not stand on %s", (op) => {
    expect(verdict({ ...minimal, op, pub: { x: 1 } })).toBe("rule /pub");
  });

  it.each<[string, unknown, string]>([
    ["a list", [], "type /pub"],
    ["text, truth and whole numbers", { a: "x", b: true, c: -1, d: [{}], e: -(2 ** 53 - 1) }, "ok"],
    ["a number beyond 2^53-1", { a: 2 ** 53 }, "range /pub/a"],
    ["a number below -(2^53-1)", { a: -(2 ** 53) }, "range /pub/a"],
    ["null", { a: null }, "type /pub/a"],
    ["31 levels below the header", nested(31), "ok"],
    ["32 levels below the header", nested(32), `count /pub${"/x".repeat(31)}`],
    ["4 KiB", { x: "x".repeat(4096 - 8) }, "ok"],
    ["4 KiB and one byte", { x: "x".repeat(4096 - 7) }, "size /pub"],
  ])("may be: %s", (_, said, expected) => {
    expect(verdict({ ...minimal, op: "key", pub: said })).toBe(expected);
  });

  it.each<[string, Fields, string]>([
    ["a first", pub, "ok"],
    ["a first of P-256", { ...pub, alg: "ecdsa-p256" }, "ok"],
    ["a successor", later, "ok"],
    ["a key that is no base64", { ...pub, spki: "*" }, "form /pub/spki"],
    ["an HPKE key of 33 bytes", { ...pub, hpke: base64(new Uint8Array(33)) }, "form /pub/hpke"],
    ["an unknown reason", { ...pub, reason: "other" }, "form /pub/reason"],
    ["no reason", { alg: pub.alg, hpke: pub.hpke, spki: pub.spki }, "missing /pub/reason"],
    ["no algorithm", { hpke: pub.hpke, reason: "first", spki: pub.spki }, "missing /pub/alg"],
    ["no HPKE key", { alg: pub.alg, reason: "first", spki: pub.spki }, "missing /pub/hpke"],
    ["size 0", { ...later, size: 0 }, "range /pub/size"],
    ["a root of 31 bytes", { ...later, root: base64(new Uint8Array(31)) }, "form /pub/root"],
    ["a signature of 63 bytes", { ...later, sig: base64(new Uint8Array(63)) }, "form /pub/sig"],
    ["a predecessor in words", { ...later, predecessor: "first" }, "form /pub/predecessor"],
    ["a first with a root", { ...pub, root: later.root }, "rule /pub/root"],
    ["a first with a size", { ...pub, size: 1 }, "rule /pub/size"],
    ["a first with a signature", { ...pub, sig: later.sig }, "rule /pub/sig"],
    ["a successor that names none", { ...pub, reason: "moved" }, "rule /pub/predecessor"],
  ])("of an opening: %s", (_, said, expected) => {
    expect(verdict({ ...opening, pub: said })).toBe(expected);
  });

  it.each(["moved", "rollback-accepted", "restored", "re-key", "fork"])(
    "of an opening: for the reason %s",
    (reason) => {
      expect(verdict({ ...opening, pub: { ...later, reason } })).toBe("ok");
    },
  );

  it("is owed by an opening", () => {
    expect(verdict(opening)).toBe("rule /pub");
  });
});

describe("build ids", () => {
  it("are 1 to 128 printable signs of ASCII without space", () => {
    for (const id of ["!", "~", "a".repeat(128)]) expect([id, isBuildId(id)]).toEqual([id, true]);
    for (const id of ["", " ", "\u007f", "é", "a b", "a".repeat(129), "a\n"])
      expect([id, isBuildId(id)]).toEqual([id, false]);
  });
});
