/**
 * Reading a sealed header: the whole profile of spec/event.md, by hand, because every verifier and every
 * receiver of foreign headers runs it for each event.
 *
 * A header of version 1 has a closed set of fields; one of a newer version is read as far as its frozen
 * fields and kept whole. Either is refused with `header_invalid` unless its text is the one canonical form
 * (RFC 8785) of what it says. Links, counters and signatures between events are the log's business
 * (`proof/verify.ts`), not one header's.
 */
import { fromBase64, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import { type Header, operations, operationsWithReason } from "./event.ts";
import { isName } from "./registry.ts";
import { incarnationOpenedType, isSystemType, systemPubFault } from "./system.ts";
import { isUuidV7 } from "./uuid.ts";

/** Version of the header format that this release writes. */
export const headerVersion = 1;

/** What every version of a header has, in the form that version 1 gave it. */
export type FrozenField =
  | "ten"
  | "dev"
  | "inc"
  | "seq"
  | "prev"
  | "id"
  | "scope"
  | "stream"
  | "sec";

/** A header of a newer version: its frozen fields are known, whatever else it has is not. */
export type NewerHeader = Readonly<Pick<Header, FrozenField>> & { readonly v: number };

/** Is it of the version that this release knows whole? */
export function isCurrentHeader(header: Header | NewerHeader): header is Header {
  return header.v === headerVersion;
}

/**
 * Why a header is refused: `json` no JSON object, `size` beyond `headerBytesMax` or `pubBytesMax`,
 * `canonical` not the canonical text, `missing`, `unknown` field, `type`, `form` of a text, `range` of a
 * number, `count` of entries or levels, `rule` between fields.
 */
export type HeaderReason =
  | "json"
  | "size"
  | "canonical"
  | "missing"
  | "unknown"
  | "type"
  | "form"
  | "range"
  | "count"
  | "rule";

function refuse(path: string, reason: HeaderReason): never {
  // A key of a hostile header is untrusted text of any length; a path that long helps nobody.
  throw new HoldfastError("header_invalid", { path: path.slice(0, 200).toWellFormed(), reason });
}

type Fields = Readonly<Record<string, unknown>>;
type Check = (value: unknown, path: string) => void;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(test: (value: string) => boolean): Check {
  return (value, path) => {
    if (typeof value !== "string") refuse(path, "type");
    if (!test(value)) refuse(path, "form");
  };
}

function pattern(expression: RegExp): Check {
  return text((value) => expression.test(value));
}

function integer(least: number, most: number): Check {
  return (value, path) => {
    if (typeof value !== "number") refuse(path, "type");
    if (!Number.isInteger(value) || value < least || value > most) refuse(path, "range");
  };
}

function word(words: readonly string[]): Check {
  const known = new Set(words);
  return text((value) => known.has(value));
}

/** Fields of an object: each has its check, unknown ones are refused, required ones must be there. */
function closed(
  checks: ReadonlyMap<string, Check>,
  required: readonly string[],
): (fields: Fields, path: string) => void {
  return (fields, path) => {
    for (const key of Object.keys(fields)) {
      const check = checks.get(key);
      if (check === undefined) refuse(`${path}/${key}`, "unknown");
      check(fields[key], `${path}/${key}`);
    }
    requireFields(fields, required, path);
  };
}

function requireFields(fields: Fields, required: readonly string[], path: string): void {
  for (const key of required) if (!Object.hasOwn(fields, key)) refuse(`${path}/${key}`, "missing");
}

const integerMax = Number.MAX_SAFE_INTEGER;
const timeMax = 2 ** 48 - 1;
/** Base64url of 16 bytes: the last character carries two bits. */
const bytes16 = pattern(/^[A-Za-z0-9_-]{21}[AQgw]$/);
/** Base64url of 32 bytes: the last character carries four bits. */
const bytes32 = pattern(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/);
/** The first 132 bits of a digest: any last character. */
const device = pattern(/^[A-Za-z0-9_-]{22}$/);
const incarnation = pattern(/^[0-9a-f]{16}$/);
const count = integer(1, integerMax);
const name = text(isName);
const originPattern = /^[A-Za-z0-9_-]{22}\/[0-9a-f]{16}$/;
const buildPattern = /^[\x21-\x7e]{1,128}$/;
const base64Of = (bytes: number): Check => text((value) => fromBase64(value)?.length === bytes);

/** May this be the build id of an application, `app`? 1 to 128 printable ASCII characters without space. */
export function isBuildId(value: string): boolean {
  return buildPattern.test(value);
}

const section = closed(
  new Map([
    ["c", bytes32],
    ["k", bytes16],
  ]),
  ["c", "k"],
);

function sections(value: unknown, path: string): void {
  if (!isObject(value)) refuse(path, "type");
  const names = Object.keys(value);
  if (names.length > limits.eventSectionsMax) refuse(path, "count");
  for (const key of names) {
    const entry = value[key];
    if (!isName(key)) refuse(`${path}/${key}`, "form");
    if (!isObject(entry)) refuse(`${path}/${key}`, "type");
    section(entry, `${path}/${key}`);
  }
}

function vector(value: unknown, path: string): void {
  if (!isObject(value)) refuse(path, "type");
  const origins = Object.keys(value);
  if (origins.length > limits.vectorEntriesMax) refuse(path, "count");
  for (const origin of origins) {
    if (!originPattern.test(origin)) refuse(`${path}/${origin}`, "form");
    count(value[origin], `${path}/${origin}`);
  }
}

function references(value: unknown, path: string): void {
  if (!Array.isArray(value)) refuse(path, "type");
  if (value.length === 0 || value.length > limits.vectorEntriesMax) refuse(path, "count");
  for (const [at, leaf] of value.entries()) bytes32(leaf, `${path}/${at}`);
}

const seenFields = closed(
  new Map([
    ["log", integer(0, integerMax)],
    ["n", integer(0, integerMax)],
    ["h", bytes32],
  ]),
  ["log", "n", "h"],
);

function seen(value: unknown, path: string): void {
  if (!isObject(value)) refuse(path, "type");
  seenFields(value, path);
}

/** Plain values of system events: no null, no fraction, nothing that a double cannot hold exactly. */
function plain(value: unknown, path: string, depth: number): void {
  if (typeof value === "number") integer(-integerMax, integerMax)(value, path);
  else if (value === null) refuse(path, "type");
  else if (typeof value === "object") {
    if (depth >= limits.jsonDepthMax) refuse(path, "count");
    for (const [key, member] of Object.entries(value)) plain(member, `${path}/${key}`, depth + 1);
  }
}

function publicFields(value: unknown, path: string): void {
  if (!isObject(value)) refuse(path, "type");
  plain(value, path, 1);
}

const checks: ReadonlyMap<string, Check> = new Map([
  ["v", integer(headerVersion, integerMax)],
  ["ten", bytes16],
  ["dev", device],
  ["inc", incarnation],
  ["seq", count],
  ["prev", bytes32],
  ["id", text(isUuidV7)],
  ["type", name],
  ["tv", count],
  ["scope", bytes16],
  ["stream", bytes16],
  ["sseq", count],
  ["op", word(operations)],
  ["ref", references],
  ["vv", vector],
  ["at", integer(0, timeMax)],
  ["seen", seen],
  ["act", bytes16],
  ["role", name],
  ["sess", text(isUuidV7)],
  ["why", name],
  ["sec", sections],
  ["pub", publicFields],
  ["tier", word(["none", "software", "os", "hardware"])],
  ["app", text(isBuildId)],
]);
const optional: ReadonlySet<string> = new Set(["ref", "vv", "seen", "role", "sess", "why", "pub"]);
const currentFields = closed(
  checks,
  [...checks.keys()].filter((key) => !optional.has(key)),
);
const frozen: readonly (FrozenField | "v")[] = [
  "v",
  "ten",
  "dev",
  "inc",
  "seq",
  "prev",
  "id",
  "scope",
  "stream",
  "sec",
];

/** Operations of system events: those that may say something in the open. */
const operationsWithPub: ReadonlySet<string> = new Set([
  "key",
  "access",
  "resolve",
  "sync",
  "migrate",
  "shred",
]);

const openingFields = closed(
  new Map([
    ["alg", word(["ed25519", "ecdsa-p256"])],
    ["spki", text((value) => fromBase64(value) !== undefined)],
    ["hpke", base64Of(32)],
    [
      "reason",
      word(["first", "moved", "rollback-accepted", "restored", "re-key", "fork", "fallback"]),
    ],
    ["predecessor", incarnation],
    ["size", count],
    ["root", base64Of(32)],
    ["sig", base64Of(64)],
  ]),
  ["alg", "spki", "hpke", "reason"],
);

/** The closed schema of what `IncarnationOpened` says in the open. */
function checkOpening(pub: Fields): void {
  openingFields(pub, "/pub");
  const first = pub["reason"] === "first";
  for (const key of ["predecessor", "size", "root", "sig"]) {
    if (Object.hasOwn(pub, key) === first) refuse(`/pub/${key}`, "rule");
  }
}

function checkRules(fields: Fields): void {
  const { op, type, pub, why, sec } = fields as unknown as Header;
  if (operationsWithReason.has(op) && why === undefined) refuse("/why", "rule");
  if (Object.hasOwn(sec, "blob")) refuse("/sec/blob", "rule");
  if ((type === incarnationOpenedType || isSystemType(type)) && pub === undefined)
    refuse("/pub", "rule");
  if (pub === undefined) return;
  if (type !== incarnationOpenedType && !operationsWithPub.has(op)) refuse("/pub", "rule");
  if (type === incarnationOpenedType) checkOpening(pub);
  const fault = systemPubFault(type, pub);
  if (fault !== undefined) refuse(`/pub/${fault}`, "rule");
  if (utf8(canonicalJson(pub)).length > limits.pubBytesMax) refuse("/pub", "size");
}

function fitsHeader(header: string): boolean {
  // No UTF-16 code unit takes more than three bytes of UTF-8.
  return header.length * 3 <= limits.headerBytesMax || utf8(header).length <= limits.headerBytesMax;
}

function parsed(header: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(header);
  } catch {
    // The parser's message quotes the text.
    return refuse("", "json");
  }
  return isObject(value) ? value : refuse("", "json");
}

function isCanonical(fields: Fields, header: string): boolean {
  try {
    // Excludes repeated keys, spaces, other orders and other spellings of strings and numbers.
    return canonicalJson(fields) === header;
  } catch {
    return false;
  }
}

/**
 * Reads the text of a header. Throws `header_invalid` with `path` (JSON Pointer, "" for the whole) and
 * `reason` ({@link HeaderReason}) in its details.
 */
export function parseHeader(header: string): Header | NewerHeader {
  if (!fitsHeader(header)) refuse("", "size");
  const fields = parsed(header);
  requireFields(fields, ["v"], "");
  const isNewer = typeof fields["v"] === "number" && fields["v"] > headerVersion;
  if (isNewer) {
    requireFields(fields, frozen, "");
    for (const key of frozen) checks.get(key)?.(fields[key], `/${key}`);
  } else currentFields(fields, "");
  if (!isCanonical(fields, header)) refuse("", "canonical");
  if (!isNewer) checkRules(fields);
  return fields as unknown as Header | NewerHeader;
}
