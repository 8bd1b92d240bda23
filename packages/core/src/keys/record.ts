/**
 * Lines and records of the keyring file (`spec/keyring.md`).
 *
 *     line = JCS object ‖ " " ‖ first 16 hex digits of SHA-256(JCS object) ‖ "\n"
 *
 * The checksum finds damage. It is no protection: every key is wrapped with the public fields of its record
 * as AAD, so a record that was changed on purpose does not open.
 */
import { type Bytes, concat, fromBase64url, hex, utf8 } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import { canonicalBytes } from "../std/jcs.ts";
import { parseJson } from "../std/json.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { type ProviderName, type ProviderParameters, providerNames } from "./provider.ts";
import { type RotationState, rotationPhases } from "./rotation.ts";

/** The newest format that this release reads and writes: that of rotation, and the kind `shred`. */
export const keyringFormat = 3;
/** What a new keyring begins with; the first rotation raises it. */
export const keyringFormatFirst = 1;
/** With the kinds of rotation and recovery; the first shred raises it. */
export const keyringFormatOfRotation = 2;

/** Fields that every record has: its kind, and the generation of the file that it was written for. */
interface Common {
  readonly file: number;
}
export interface HeaderRecord extends Common {
  readonly kind: "keyring";
  readonly format: number;
  readonly store: string;
  readonly tenant: string;
}
export interface ProviderLine extends Common {
  readonly kind: "provider";
  readonly id: string;
  readonly name: ProviderName;
  readonly parameters: ProviderParameters;
}
export interface EpochRecord extends Common {
  readonly kind: "epoch";
  readonly id: string;
  readonly wraps: readonly { readonly provider: string; readonly wrapped: string }[];
  readonly check: string;
}
/** A key wrapped under the epoch key; `wrapped` is nonce ‖ ciphertext ‖ tag, base64url. */
interface Wrapped extends Common {
  readonly epoch: string;
  readonly wrapped: string;
}
export interface PageRecord extends Wrapped {
  readonly kind: "page";
}
export interface PseudonymRecord extends Wrapped {
  readonly kind: "pseudonym";
}
export interface DataKeyRecord extends Wrapped {
  readonly kind: "data";
  readonly id: string;
  readonly scope: string;
  readonly section: string;
  readonly generation: number;
  readonly origin: "own" | "grant";
}
export interface SigningRecord extends Wrapped {
  readonly kind: "signing";
  readonly device: string;
  readonly incarnation: string;
  readonly algorithm: SignatureAlgorithm;
  readonly spki: string;
  readonly provider: string;
}
export interface HpkeRecord extends Wrapped {
  readonly kind: "hpke";
  readonly public: string;
}
/** The key of the high-water mark, kept when its epoch key goes; without one it is derived from the epoch key. */
export interface MarkRecord extends Wrapped {
  readonly kind: "mark";
}
/** A recovery key: the epoch key is wrapped to its recipient, and so are signing keys that can be copied. */
export interface RecoveryRecord extends Common {
  readonly kind: "recovery";
  readonly id: string;
  /** age X25519 recipient: `age1…`. */
  readonly recipient: string;
}
/** A signing key wrapped to a recovery key. */
export interface EscrowRecord extends Common {
  readonly kind: "escrow";
  readonly recovery: string;
  readonly incarnation: string;
  readonly wrapped: string;
}
/**
 * What was shredded, so that its keys are never taken in again and an older backup is put back without it. Nothing is
 * wrapped: the empty wrap authenticates the fields.
 */
export interface ShredRecord extends Wrapped {
  readonly kind: "shred";
  readonly scope: string;
  /** Section class; absent: all. */
  readonly section?: string;
  readonly shred: string;
  /** Of the event that put it in force. */
  readonly leaf: string;
  /** Id of the epoch that its keys were under: closed before the shred is acknowledged. */
  readonly closes: string;
  /** Public half of the HPKE key that keys of it may have been granted to, which goes as well; absent: none was. */
  readonly hpke?: string;
}
/** Where the last rotation stands. */
export interface RotationRecord extends Common, RotationState {
  readonly kind: "rotation";
}
export type WrappedRecord =
  | PageRecord
  | MarkRecord
  | PseudonymRecord
  | DataKeyRecord
  | SigningRecord
  | HpkeRecord
  | ShredRecord;
/** A kind of a later release: kept, and otherwise left alone. */
export interface UnknownRecord extends Common {
  readonly kind: "unknown";
}
export type KeyringRecord =
  | HeaderRecord
  | ProviderLine
  | EpochRecord
  | RecoveryRecord
  | EscrowRecord
  | RotationRecord
  | WrappedRecord
  | UnknownRecord;

/** What the wrap of a key is bound to: the record without the wrapped key and the file's generation. */
export function wrapContext(record: WrappedRecord): Bytes {
  const { wrapped: _, file: __, ...fields } = record;
  return canonicalBytes(fields);
}

const checksumDigits = 16;
const newline = 10;

function checksum(crypto: Crypto, text: Uint8Array): string {
  return hex(crypto.sha256(text)).slice(0, checksumDigits);
}

/** One line, with its newline. */
export function encodeRecord(crypto: Crypto, record: KeyringRecord): Bytes {
  invariant(shapes[record.kind]?.(record as unknown as Fields), "a keyring record has its shape");
  const text = canonicalBytes(record);
  invariant(
    text.length + checksumDigits < limits.keyringLineBytesMax,
    "a keyring record fits a line",
  );
  return concat(text, utf8(` ${checksum(crypto, text)}\n`));
}

/** One line of a keyring file, as it was read. */
export type KeyringLine =
  | { readonly state: "record"; readonly record: KeyringRecord; readonly raw: Bytes }
  /** `raw` without newline: kept where nothing stands in for it. */
  | { readonly state: "damaged" | "torn" | "invalid"; readonly raw: Bytes };

/** Lines of one copy. A last line without newline is a record if it is whole, else torn. */
export function decodeLines(crypto: Crypto, content: Bytes): readonly KeyringLine[] {
  const lines: KeyringLine[] = [];
  let from = 0;
  while (from < content.length) {
    const found = content.indexOf(newline, from);
    const to = found < 0 ? content.length : found;
    const line = decodeLine(crypto, content.slice(from, to));
    lines.push(found < 0 && line.state === "damaged" ? { ...line, state: "torn" } : line);
    from = to + 1;
  }
  return lines;
}

function decodeLine(crypto: Crypto, raw: Bytes): KeyringLine {
  const cut = raw.length - checksumDigits - 1;
  if (cut < 2 || raw[cut] !== 0x20 || raw.length > limits.keyringLineBytesMax) {
    return { state: "damaged", raw };
  }
  const text = raw.subarray(0, cut);
  const sum = checksum(crypto, text);
  for (let i = 0; i < checksumDigits; i++) {
    if (raw[cut + 1 + i] !== sum.charCodeAt(i)) return { state: "damaged", raw };
  }
  const record = parseRecord(text);
  return record === undefined ? { state: "invalid", raw } : { state: "record", record, raw };
}

function parseRecord(text: Uint8Array): KeyringRecord | undefined {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  if (!isCount(fields["file"]) || !isName(fields["kind"])) return undefined;
  const check = Object.hasOwn(shapes, fields["kind"]) ? shapes[fields["kind"]] : undefined;
  if (check === undefined) return { kind: "unknown", file: fields["file"] };
  return check(fields) ? (value as KeyringRecord) : undefined;
}

type Fields = Readonly<Record<string, unknown>>;

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 1;
}
function isTally(value: unknown): boolean {
  return value === 0 || isCount(value);
}
function isName(value: unknown): value is string {
  return typeof value === "string" && value.length >= 1 && value.length <= limits.nameBytesMax;
}
function isBytes(value: unknown, length?: number): boolean {
  if (typeof value !== "string") return false;
  const bytes = fromBase64url(value);
  return bytes !== undefined && (length === undefined || bytes.length === length);
}
function isWrapped(fields: Fields, ...more: readonly string[]): boolean {
  return (
    isName(fields["epoch"]) &&
    isBytes(fields["wrapped"]) &&
    onlyFields(fields, "epoch", "wrapped", ...more)
  );
}
/** Nothing besides: a field that this release does not know would not be covered by what it checks. */
function onlyFields(fields: Fields, ...names: readonly string[]): boolean {
  return Object.keys(fields).every(
    (key) => key === "kind" || key === "file" || names.includes(key),
  );
}

const shapes: Readonly<Record<string, (fields: Fields) => boolean>> = {
  // The header's other fields are read only once its format is known.
  keyring: (f) =>
    isCount(f["format"]) &&
    (f["format"] > keyringFormat ||
      (isName(f["store"]) && isName(f["tenant"]) && onlyFields(f, "format", "store", "tenant"))),
  provider: (f) =>
    isName(f["id"]) &&
    (providerNames as readonly unknown[]).includes(f["name"]) &&
    typeof f["parameters"] === "object" &&
    f["parameters"] !== null &&
    Object.values(f["parameters"]).every((v) => typeof v === "string" || typeof v === "number") &&
    onlyFields(f, "id", "name", "parameters"),
  epoch: (f) =>
    isName(f["id"]) &&
    isBytes(f["check"], 16) &&
    Array.isArray(f["wraps"]) &&
    f["wraps"].length >= 1 &&
    (f["wraps"] as readonly unknown[]).every((wrap) => {
      const fields = (wrap ?? {}) as Fields;
      return isName(fields["provider"]) && isBytes(fields["wrapped"]);
    }) &&
    onlyFields(f, "id", "check", "wraps"),
  page: (f) => isWrapped(f),
  mark: (f) => isWrapped(f),
  recovery: (f) =>
    isName(f["id"]) &&
    typeof f["recipient"] === "string" &&
    /^age1[a-z0-9]{20,100}$/.test(f["recipient"]) &&
    onlyFields(f, "id", "recipient"),
  escrow: (f) =>
    isName(f["recovery"]) &&
    isName(f["incarnation"]) &&
    isBytes(f["wrapped"]) &&
    onlyFields(f, "recovery", "incarnation", "wrapped"),
  rotation: (f) =>
    isName(f["id"]) &&
    (f["key"] === "epoch" || f["key"] === "provider") &&
    (rotationPhases as readonly unknown[]).includes(f["phase"]) &&
    isName(f["from"]) &&
    isName(f["to"]) &&
    isTally(f["done"]) &&
    isTally(f["total"]) &&
    onlyFields(f, "id", "key", "phase", "from", "to", "done", "total"),
  pseudonym: (f) => isWrapped(f),
  data: (f) =>
    isName(f["id"]) &&
    isName(f["scope"]) &&
    isName(f["section"]) &&
    isCount(f["generation"]) &&
    (f["origin"] === "own" || f["origin"] === "grant") &&
    isWrapped(f, "id", "scope", "section", "generation", "origin"),
  signing: (f) =>
    isName(f["device"]) &&
    isName(f["incarnation"]) &&
    (f["algorithm"] === "ed25519" || f["algorithm"] === "ecdsa-p256") &&
    isBytes(f["spki"]) &&
    isName(f["provider"]) &&
    isWrapped(f, "device", "incarnation", "algorithm", "spki", "provider"),
  hpke: (f) => isBytes(f["public"], 32) && isWrapped(f, "public"),
  shred: (f) =>
    isName(f["scope"]) &&
    (f["section"] === undefined || isName(f["section"])) &&
    isName(f["shred"]) &&
    isBytes(f["leaf"], 32) &&
    isName(f["closes"]) &&
    (f["hpke"] === undefined || isBytes(f["hpke"], 32)) &&
    isWrapped(f, "scope", "section", "shred", "leaf", "closes", "hpke"),
};
