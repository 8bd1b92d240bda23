/**
 * DSSE v1.0.2 envelopes: a payload of bytes, its type and signatures over both, for documents that stand
 * alone.
 *
 * Narrower than DSSE's parsing rules, because these documents are evidence and must have one text: an
 * envelope is read only in the form in which {@link formatEnvelope} writes it (RFC 8785 JCS: members
 * sorted, no white space; standard base64; no unknown or repeated members; `keyid` left out when empty).
 * Signatures are those of the `Crypto` port: Ed25519 64 bytes, ECDSA P-256 r ‖ s.
 */
import { base64, type Bytes, concat, fromBase64, utf8 } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SignatureAlgorithm } from "../std/ports.ts";
import type { VerifySignature } from "./note.ts";

/** One signature; `keyid` is a hint that nothing protects. */
export interface DsseSignature {
  readonly keyid?: string;
  readonly sig: Bytes;
}

/** An envelope that was read and not verified. */
export interface DsseEnvelope {
  readonly payloadType: string;
  readonly payload: Bytes;
  readonly signatures: readonly DsseSignature[];
}

/** A key that the caller trusts. */
export interface DsseVerifier {
  readonly algorithm: SignatureAlgorithm;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Bytes;
}

/** What became of an envelope. Only `verified` gives the payload out. */
export type OpenedEnvelope =
  /** `by`: the trusted keys that signed, each once. */
  | { readonly status: "verified"; readonly payload: Bytes; readonly by: readonly DsseVerifier[] }
  | { readonly status: "malformed"; readonly reason: string }
  | { readonly status: "other-type" }
  /** No trusted key signed. */
  | { readonly status: "unsigned" };

/** The bytes that are signed: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body. */
export function preAuthenticationEncoding(payloadType: string, payload: Uint8Array): Bytes {
  const type = utf8(payloadType);
  return concat(utf8(`DSSEv1 ${type.length} `), type, utf8(` ${payload.length} `), payload);
}

/** Signs a payload and formats the envelope. Throws `dsse_malformed`. */
export function signEnvelope(
  payloadType: string,
  payload: Bytes,
  signers: readonly { readonly keyid?: string; sign(message: Uint8Array): Bytes }[],
): string {
  const message = preAuthenticationEncoding(payloadType, payload);
  const signatures = signers.map((signer) => ({
    ...(signer.keyid === undefined ? {} : { keyid: signer.keyid }),
    sig: signer.sign(message),
  }));
  return formatEnvelope({ payloadType, payload, signatures });
}

/** JSON text of an envelope. Throws `dsse_malformed` for values that have no text. */
export function formatEnvelope(envelope: DsseEnvelope): string {
  const text = encode(envelope);
  parseEnvelope(text);
  return text;
}

/**
 * Reads an envelope without verifying it. Throws `dsse_malformed`, its details naming the `reason`: `size`,
 * `json`, `shape`, `payload-type`, `signature-count`, `base64`, `form` (not the one text of its content).
 */
export function parseEnvelope(text: string): DsseEnvelope {
  if (text.length > limits.dsseBytesMax) throw malformed("size");
  if (!text.isWellFormed()) throw malformed("json");
  const value = parseJson(text);
  if (!isObject(value)) throw malformed("shape");
  const { payloadType, payload, signatures } = value;
  if (typeof payloadType !== "string" || !Array.isArray(signatures)) throw malformed("shape");
  if (payloadType === "" || !payloadType.isWellFormed()) throw malformed("payload-type");
  if (signatures.length === 0 || signatures.length > limits.noteSignaturesMax)
    throw malformed("signature-count");
  const envelope = {
    payloadType,
    payload: bytesOf(payload),
    signatures: signatures.map(parseSignature),
  };
  if (encode(envelope) !== text) throw malformed("form");
  return envelope;
}

/**
 * Opens an envelope of one type with the keys that the caller trusts: at least one must have signed. As
 * DSSE has it, signatures that do not hold are passed over and `keyid` decides nothing.
 */
export function openEnvelope(
  text: string,
  payloadType: string,
  verifiers: readonly DsseVerifier[],
  verify: VerifySignature,
): OpenedEnvelope {
  let envelope: DsseEnvelope;
  try {
    envelope = parseEnvelope(text);
  } catch (error) {
    if (!isHoldfastError(error, "dsse_malformed")) throw error;
    return { status: "malformed", reason: String(error.details["reason"]) };
  }
  if (envelope.payloadType !== payloadType) return { status: "other-type" };
  const message = preAuthenticationEncoding(envelope.payloadType, envelope.payload);
  const by = verifiers.filter(({ algorithm, spki }) =>
    envelope.signatures.some(({ sig }) => verify(algorithm, spki, message, sig)),
  );
  return by.length === 0
    ? { status: "unsigned" }
    : { status: "verified", payload: envelope.payload, by };
}

function encode(envelope: DsseEnvelope): string {
  return JSON.stringify({
    payload: base64(envelope.payload),
    payloadType: envelope.payloadType,
    signatures: envelope.signatures.map(({ keyid, sig }) =>
      keyid === undefined || keyid === "" ? { sig: base64(sig) } : { keyid, sig: base64(sig) },
    ),
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // The parser's message quotes the text.
    throw malformed("json");
  }
}

function parseSignature(value: unknown): DsseSignature {
  if (!isObject(value)) throw malformed("shape");
  const { keyid, sig } = value;
  if (keyid !== undefined && (typeof keyid !== "string" || !keyid.isWellFormed()))
    throw malformed("shape");
  return { ...(keyid === undefined ? {} : { keyid }), sig: bytesOf(sig) };
}

function bytesOf(value: unknown): Bytes {
  if (typeof value !== "string") throw malformed("shape");
  const bytes = fromBase64(value);
  if (bytes === undefined) throw malformed("base64");
  return bytes;
}

interface JsonObject {
  readonly payloadType?: unknown;
  readonly payload?: unknown;
  readonly signatures?: unknown;
  readonly keyid?: unknown;
  readonly sig?: unknown;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function malformed(reason: string): HoldfastError {
  return new HoldfastError("dsse_malformed", { reason });
}
