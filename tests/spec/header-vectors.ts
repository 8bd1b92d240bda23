/** Header texts, valid and invalid. */
import { base64, base64url, canonicalJson, hex, leafHash, utf8 } from "@holdfast/core";
import { app, tenant } from "./log.ts";
import { crypto, hpkePublic, incarnationId, pseudonym, signingKey } from "./ports.ts";

export interface HeaderVector {
  readonly name: string;
  readonly text: string;
  /** `leaf` of a valid one, hex; place and reason of an invalid one. */
  readonly expect: { readonly leaf: string } | { readonly path: string; readonly reason: string };
}

type Fields = Readonly<Record<string, unknown>>;

const key = signingKey("headers");
const digest = (words: string): string => base64url(crypto.sha256(utf8(words)));
const inc = incarnationId("headers");

/** The least that an application's event has. */
export const minimalHeader: Fields = {
  act: pseudonym("actor"),
  app,
  at: 1772352000000,
  dev: key.device,
  id: "019ca86b-5800-7000-8000-000000000001",
  inc,
  op: "create",
  prev: digest("leaf 1"),
  scope: pseudonym("scope"),
  sec: {},
  seq: 2,
  sseq: 1,
  stream: pseudonym("stream"),
  ten: tenant,
  tier: "software",
  tv: 1,
  type: "NosebleedRecorded",
  v: 1,
};

function section(words: string): Fields {
  return { c: digest(words), k: pseudonym(`key ${words}`) };
}

function sections(count: number): Fields {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`s${at}`, section(`${at}`)]));
}

function vector(count: number): Fields {
  return Object.fromEntries(
    Array.from({ length: count }, (_, at) => [
      `${key.device}/${incarnationId(`vector ${at}`)}`,
      at + 1,
    ]),
  );
}

/** Every field, at the edge of its range where it has one. */
export const maximalHeader: Fields = {
  ...minimalHeader,
  app: "~".repeat(128),
  at: 2 ** 48 - 1,
  op: "resolve",
  pub: { list: [{ n: -(2 ** 53 - 1), yes: true }], text: "\u0001é€😀" },
  ref: [digest("leaf 1"), digest("leaf 2")],
  role: "Investigator",
  sec: sections(8),
  seen: { h: digest("root"), log: 0, n: 2 ** 53 - 1 },
  seq: 2 ** 53 - 1,
  sess: "019ca86b-5800-7000-8000-000000000000",
  sseq: 2 ** 53 - 1,
  tier: "hardware",
  tv: 2 ** 53 - 1,
  type: "T".repeat(128),
  vv: vector(4),
  why: "entered-in-error",
};

export const openingHeader: Fields = {
  ...minimalHeader,
  prev: "A".repeat(43),
  pub: { alg: "ed25519", hpke: hpkePublic, reason: "first", spki: base64(key.spki) },
  seq: 1,
  type: "IncarnationOpened",
  vv: {},
};

const succeeding: Fields = {
  ...(openingHeader["pub"] as Fields),
  predecessor: inc,
  reason: "moved",
  root: base64(crypto.sha256(utf8("root"))),
  sig: base64(new Uint8Array(64)),
  size: 3,
};

function nested(levels: number): Fields {
  return { x: levels === 0 ? true : nested(levels - 1) };
}

function without(fields: Fields, ...names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

function valid(name: string, fields: Fields): HeaderVector {
  const text = canonicalJson(fields);
  return { name, text, expect: { leaf: hex(leafHash(crypto, utf8(text))) } };
}

/** As JCS for these plain fields, but without its limit of depth. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}

function invalid(
  name: string,
  path: string,
  reason: string,
  fields: Fields | string,
): HeaderVector {
  const text = typeof fields === "string" ? fields : sorted(fields);
  return { name, text, expect: { path, reason } };
}

/** The minimal header with other fields. */
function changed(name: string, reason: string, fields: Fields, path?: string): HeaderVector {
  const [first] = Object.keys(fields);
  return invalid(name, path ?? `/${first as string}`, reason, { ...minimalHeader, ...fields });
}

const minimalText = canonicalJson(minimalHeader);

function texts(): readonly HeaderVector[] {
  const { v, ...rest } = minimalHeader;
  return [
    invalid("no JSON", "", "json", minimalText.slice(0, -1)),
    invalid("an array", "", "json", "[]"),
    invalid("a byte order mark", "", "json", `\ufeff${minimalText}`),
    invalid("fields in another order", "", "canonical", JSON.stringify({ v, ...rest })),
    invalid("a space", "", "canonical", minimalText.replace(":", ": ")),
    invalid("a newline at the end", "", "canonical", `${minimalText}\n`),
    invalid("a repeated field", "", "canonical", minimalText.replace('"v":1', '"v":1,"v":1')),
    invalid(
      "an escaped letter",
      "",
      "canonical",
      minimalText.replace('"create"', '"\\u0063reate"'),
    ),
    invalid("an exponent", "", "canonical", minimalText.replace('"seq":2', '"seq":2e0')),
    invalid("a fraction of zero", "", "canonical", minimalText.replace('"seq":2', '"seq":2.0')),
    invalid("a lone surrogate", "", "canonical", {
      ...maximalHeader,
      pub: { text: "SURROGATE" },
    }),
  ].map((vector) => ({ ...vector, text: vector.text.replace("SURROGATE", "\\ud800") }));
}

function fields(): readonly HeaderVector[] {
  const names = Object.keys(minimalHeader);
  return [
    ...names.map((name) =>
      invalid(`without ${name}`, `/${name}`, "missing", without(minimalHeader, name)),
    ),
    ...[...names, "ref", "vv", "seen", "role", "sess", "why", "pub"].map((name) =>
      changed(`${name} null`, "type", { [name]: null }),
    ),
    changed("an unknown field", "unknown", { note: "x" }),
    changed("v 0", "range", { v: 0 }),
    changed("a fraction", "range", { seq: 1.5 }),
    changed("seq 0", "range", { seq: 0 }),
    changed("seq beyond 2^53-1", "range", { seq: 2 ** 53 }),
    changed("seq a text", "type", { seq: "2" }),
    changed("at negative", "range", { at: -1 }),
    changed("at beyond 2^48-1", "range", { at: 2 ** 48 }),
    changed("tv 0", "range", { tv: 0 }),
    changed("sseq 0", "range", { sseq: 0 }),
    changed("ten in hex", "form", { ten: "0".repeat(32) }),
    changed("ten with left-over bits", "form", { ten: `${"A".repeat(21)}B` }),
    changed("dev too short", "form", { dev: "A".repeat(21) }),
    changed("inc in capitals", "form", { inc: inc.toUpperCase() }),
    changed("prev too short", "form", { prev: "A".repeat(42) }),
    changed("prev padded", "form", { prev: `${"A".repeat(43)}=` }),
    changed("prev with left-over bits", "form", { prev: `${"A".repeat(42)}B` }),
    changed("id of another UUID version", "form", { id: "019ca86b-5800-4000-8000-000000000001" }),
    changed("scope in words", "form", { scope: "ada" }),
    changed("act in words", "form", { act: "nurse/7" }),
    changed("type with a space", "form", { type: "Nosebleed recorded" }),
    changed("type too long", "form", { type: "T".repeat(129) }),
    changed("an unknown operation", "form", { op: "delete" }),
    changed("an unknown tier", "form", { tier: "cloud" }),
    changed("app empty", "form", { app: "" }),
    changed("app with a space", "form", { app: "example 1" }),
    changed("role in words", "form", { role: "head nurse" }),
    changed("sess no event id", "form", { sess: "1" }),
    changed("ref empty", "count", { ref: [] }),
    changed("ref no leaf", "form", { ref: ["x"] }, "/ref/0"),
    changed("ref too many", "count", { ref: Array.from({ length: 257 }, () => digest("leaf")) }),
    changed("seen without h", "missing", { seen: { log: 1, n: 1 } }, "/seen/h"),
    changed(
      "seen with more",
      "unknown",
      { seen: { h: digest("r"), log: 1, n: 1, x: 1 } },
      "/seen/x",
    ),
  ];
}

function rules(): readonly HeaderVector[] {
  const origin = `${key.device}/${inc}`;
  const pub = openingHeader["pub"] as Fields;
  const opening = (name: string, path: string, reason: string, said: Fields) =>
    invalid(name, path, reason, { ...openingHeader, pub: said });
  const big = { ...minimalHeader, op: "key" };
  return [
    changed("vv too large", "count", { vv: vector(257) }),
    changed("vv names no incarnation", "form", { vv: { [key.device]: 1 } }, `/vv/${key.device}`),
    changed("vv counts 0", "range", { vv: { [origin]: 0 } }, `/vv/${origin}`),
    changed("nine sections", "count", { sec: sections(9) }),
    changed("a section without a name", "form", { sec: { "": section("x") } }, "/sec/"),
    changed(
      "a section without key",
      "missing",
      { sec: { content: { c: digest("x") } } },
      "/sec/content/k",
    ),
    changed(
      "a section with more",
      "unknown",
      { sec: { content: { ...section("x"), n: 1 } } },
      "/sec/content/n",
    ),
    changed("the reserved section", "rule", { sec: { blob: section("x") } }, "/sec/blob"),
    ...["amend", "retract", "redact"].map((op) =>
      changed(`${op} without why`, "rule", { op }, "/why"),
    ),
    changed("pub on an application's type", "rule", { pub: { x: 1 } }),
    changed("pub with a fraction", "range", { op: "key", pub: { x: 0.5 } }, "/pub/x"),
    changed("pub with null", "type", { op: "key", pub: { x: [null] } }, "/pub/x/0"),
    changed("pub too deep", "count", { op: "key", pub: nested(40) }, `/pub${"/x".repeat(31)}`),
    invalid("pub too large", "/pub", "size", { ...big, pub: { x: "x".repeat(4096 - 7) } }),
    invalid("an opening without pub", "/pub", "rule", without(openingHeader, "pub")),
    opening("an opening with more", "/pub/name", "unknown", { ...pub, name: "Ada" }),
    opening("an opening without key", "/pub/spki", "missing", without(pub, "spki")),
    opening("an opening of an unknown algorithm", "/pub/alg", "form", { ...pub, alg: "rsa" }),
    opening("a short HPKE key", "/pub/hpke", "form", { ...pub, hpke: base64(new Uint8Array(31)) }),
    opening("a first with predecessor", "/pub/predecessor", "rule", {
      ...succeeding,
      reason: "first",
    }),
    opening("a successor without size", "/pub/size", "rule", without(succeeding, "size")),
    opening("a successor's size as text", "/pub/size", "type", { ...succeeding, size: "3" }),
    opening("a successor without signature", "/pub/sig", "rule", without(succeeding, "sig")),
    invalid("newer without a frozen field", "/scope", "missing", {
      ...without(minimalHeader, "scope"),
      v: 2,
    }),
    invalid("newer with a frozen field of another form", "/seq", "type", {
      ...minimalHeader,
      v: 2,
      seq: "2",
    }),
  ];
}

export function headerVectors(): readonly HeaderVector[] {
  const newer = without(minimalHeader, "act", "app", "at", "op", "sseq", "tier", "tv", "type");
  return [
    valid("minimal", minimalHeader),
    valid("maximal", maximalHeader),
    valid("an opening", openingHeader),
    valid("a successor's opening", { ...openingHeader, pub: succeeding }),
    valid("pub of 4 KiB", { ...minimalHeader, op: "key", pub: { x: "x".repeat(4096 - 8) } }),
    valid("256 entries of vv", { ...minimalHeader, vv: vector(256) }),
    valid("newer: frozen fields only", { ...newer, v: 2 }),
    valid("newer: other fields", { ...newer, v: 3, act: null, extra: [1.5, null] }),
    ...texts(),
    ...fields(),
    ...rules(),
  ];
}
