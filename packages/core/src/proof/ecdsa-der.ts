/**
 * ECDSA P-256 signatures in their two forms: r ‖ s of 32 bytes each (IEEE P1363, what the `Crypto` port
 * makes and checks) and DER `SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 §2.2.3, what signed notes hold).
 * Only canonical DER (X.690 §8.3, §10.1: shortest length, shortest non-negative integer) is read, so that
 * one signature has one text.
 */
import { type Bytes, concat, equalBytes } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";

const scalarBytes = 32;

/** DER form of r ‖ s. The input is 64 bytes from a signer of ours; another length is a bug. */
export function derFromP1363(signature: Uint8Array): Bytes {
  invariant(
    signature.length === 2 * scalarBytes,
    "an ECDSA P-256 signature is r and s of 32 bytes each",
  );
  const r = derInteger(signature.subarray(0, scalarBytes));
  const s = derInteger(signature.subarray(scalarBytes));
  // At most 2 · (2 + 33) = 70 bytes: lengths never need the long form.
  return concat(Uint8Array.of(0x30, r.length + s.length), r, s);
}

/** r ‖ s of a DER signature, or `undefined` when it is not canonical DER of two 256-bit numbers. */
export function p1363FromDer(der: Uint8Array): Bytes | undefined {
  if (der.length < 8 || der[0] !== 0x30 || der[1] !== der.length - 2) return undefined;
  const rLength = der[3] as number;
  const sStart = 4 + rLength;
  const r = scalar(der.subarray(4, sStart));
  const s = scalar(der.subarray(sStart + 2));
  if (r === undefined || s === undefined) return undefined;
  const out = concat(r, s);
  // Encoding is a function: what encodes to the same bytes was canonical.
  return equalBytes(derFromP1363(out), der) ? out : undefined;
}

function derInteger(value: Uint8Array): Bytes {
  let start = 0;
  while (start < value.length - 1 && value[start] === 0) start += 1;
  const digits = value.subarray(start);
  const sign = (digits[0] as number) >= 0x80 ? Uint8Array.of(0) : new Uint8Array(0);
  return concat(Uint8Array.of(0x02, sign.length + digits.length), sign, digits);
}

function scalar(integer: Uint8Array): Bytes | undefined {
  const digits = integer[0] === 0 ? integer.subarray(1) : integer;
  if (digits.length > scalarBytes) return undefined;
  const out = new Uint8Array(scalarBytes);
  out.set(digits, scalarBytes - digits.length);
  return out;
}
