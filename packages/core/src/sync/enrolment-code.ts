/**
 * Enrolment codes: what a person carries from an admin (or from the server's console) to a new device.
 *
 *     hf1-<base64url of JCS {"v":1,"url":…,"key":b64u,"secret":b64u,"expires":ms,"tenant":…,"founder":…}>
 *
 * `key` is the fingerprint of the server's checkpoint key, SHA-256 of its SPKI: the code, not the network,
 * says which server it is. `tenant` and `founder` are absent from the code that founds a tenant, and both
 * there in every other: so a device that joins takes neither on the server's word. spec/access.md is normative.
 *
 * The secret never reaches the server. Three values are derived from it (HMAC-SHA-256):
 *
 * | Value | Is | Who sees it |
 * | --- | --- | --- |
 * | proof | HMAC(secret, "holdfast/enrol/v1") | the server, once, from the device that enrols |
 * | digest | SHA-256 of the proof's 32 bytes | the server, when the code is made |
 * | binding | HMAC(secret, "holdfast/device/v1\n" ‖ opening header) | the server forwards it to who made the code |
 *
 * @example
 * ```ts
 * import { parseEnrolmentCode, isHoldfastError } from "@holdfast/core";
 *
 * try {
 *   parseEnrolmentCode("hf1-not-a-code");
 * } catch (error) {
 *   console.log(isHoldfastError(error, "enrol_code_malformed"));
 * }
 * ```
 */
import {
  base64url,
  type Bytes,
  equalSecretBytes,
  fromBase64,
  fromBase64url,
  fromUtf8,
  utf8,
} from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { parseJson } from "../std/json.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { Hello } from "./messages/hello.ts";

/** What an enrolment code says. Whoever holds one may wipe `secret`. */
export interface EnrolmentCode {
  /** Address of the server, http or https. */
  readonly url: string;
  /** SHA-256 of the server key's SPKI, base64url. */
  readonly key: string;
  /** 32 bytes. */
  readonly secret: Bytes;
  /** UTC milliseconds by the server's clock. */
  readonly expires: number;
  /** Tenant and founder that the device joins; absent: the code founds the tenant of the device's store. */
  readonly joins: { readonly tenant: string; readonly founder: string } | undefined;
}

const prefix = "hf1-";
const secretBytes = 32;
const id = /^[A-Za-z0-9_-]{22}$/;

function malformed(part: string, cause?: unknown): HoldfastError {
  return new HoldfastError("enrol_code_malformed", { part }, { cause });
}

/** The text of a code. Throws `enrol_code_malformed` for values that have no text. */
export function formatEnrolmentCode(code: EnrolmentCode): string {
  const { url, key, secret, expires, joins } = code;
  const fields = { v: 1, url, key, secret: base64url(secret), expires, ...joins };
  const text = prefix + base64url(utf8(canonicalJson(fields)));
  parseEnrolmentCode(text);
  return text;
}

/**
 * Reads exactly what {@link formatEnrolmentCode} writes; space around it is forgiven. Anything else throws
 * `enrol_code_malformed`, its details naming the `part`; never the text, which is a secret.
 */
export function parseEnrolmentCode(text: string): EnrolmentCode {
  const fields = fieldsOf(text.trim());
  const { v, url, key, secret, expires, tenant, founder } = fields;
  const joins = tenant !== undefined || founder !== undefined;
  if (Object.keys(fields).length !== (joins ? 7 : 5)) throw malformed("fields");
  if (v !== 1) throw malformed("v");
  if (typeof url !== "string" || !isServerUrl(url)) throw malformed("url");
  if (bytesOf(key) === undefined) throw malformed("key");
  const bytes = bytesOf(secret);
  if (bytes === undefined) throw malformed("secret");
  if (typeof expires !== "number" || !Number.isSafeInteger(expires) || expires < 0) {
    throw malformed("expires");
  }
  const common = { url, key: key as string, secret: bytes, expires };
  if (!joins) return { ...common, joins: undefined };
  if (typeof tenant !== "string" || fromBase64url(tenant)?.length !== 16) throw malformed("tenant");
  if (typeof founder !== "string" || !id.test(founder)) throw malformed("founder");
  return { ...common, joins: { tenant, founder } };
}

function fieldsOf(text: string): Readonly<Record<string, unknown>> {
  if (!text.startsWith(prefix)) throw malformed("prefix");
  if (text.length > limits.enrolmentCodeCharactersMax) throw malformed("size");
  const bytes = fromBase64url(text.slice(prefix.length));
  if (bytes === undefined) throw malformed("base64url");
  let json: string;
  let value: unknown;
  try {
    json = fromUtf8(bytes);
    value = parseJson(json);
  } catch (cause) {
    // The cause's message names offsets, never the text.
    throw malformed("json", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("json");
  if (canonicalJson(value) !== json) throw malformed("canonical");
  return value as Readonly<Record<string, unknown>>;
}

function bytesOf(value: unknown): Bytes | undefined {
  const bytes = typeof value === "string" ? fromBase64url(value) : undefined;
  return bytes?.length === secretBytes ? bytes : undefined;
}

/** Scheme, host, port and path; neither credentials nor query nor fragment, which logs would show. */
function isServerUrl(url: string): boolean {
  return /^https?:\/\/[A-Za-z0-9.:[\]-]+(?:\/[A-Za-z0-9._~/-]*)?$/.test(url);
}

/** What a device sends in place of the secret: HMAC(secret, "holdfast/enrol/v1"), base64url. */
export function enrolmentProof(crypto: Pick<Crypto, "hmac">, secret: Uint8Array): string {
  return base64url(crypto.hmac(secret).mac(utf8("holdfast/enrol/v1")));
}

/** How a server knows a code: SHA-256 of the proof's bytes, base64url. `undefined`: no proof. */
export function proofDigest(crypto: Pick<Crypto, "sha256">, proof: string): string | undefined {
  const bytes = bytesOf(proof);
  return bytes && base64url(crypto.sha256(bytes));
}

/** What binds a device to the code: HMAC(secret, "holdfast/device/v1\n" ‖ opening header), base64url. */
export function deviceBinding(
  crypto: Pick<Crypto, "hmac">,
  secret: Uint8Array,
  opening: string,
): string {
  return base64url(crypto.hmac(secret).mac(utf8("holdfast/device/v1\n"), utf8(opening)));
}

/** Did whoever holds the secret bind that opening? */
export function isBoundBy(
  crypto: Pick<Crypto, "hmac">,
  secret: Uint8Array,
  opening: string,
  binding: string,
): boolean {
  const bytes = bytesOf(binding);
  const own = fromBase64url(deviceBinding(crypto, secret, opening));
  return bytes !== undefined && own !== undefined && equalSecretBytes(own, bytes);
}

/** SHA-256 of a checkpoint key as `hello` carries it (SPKI, base64), base64url. `undefined`: no base64. */
export function keyFingerprint(crypto: Pick<Crypto, "sha256">, key: string): string | undefined {
  const spki = fromBase64(key);
  return spki && base64url(crypto.sha256(spki));
}

/** Throws `enrol_server_mismatch` or `enrol_code_expired` unless the code is for this server, and now. */
export function checkCodeAt(
  crypto: Pick<Crypto, "sha256">,
  code: EnrolmentCode,
  hello: Pick<Hello, "key" | "time">,
): void {
  if (keyFingerprint(crypto, hello.key) !== code.key) {
    throw new HoldfastError("enrol_server_mismatch");
  }
  if (hello.time >= code.expires) {
    throw new HoldfastError("enrol_code_expired", { expires: code.expires, now: hello.time });
  }
}
