/**
 * Bytes and their text forms: UTF-8, hex, base64 (RFC 4648 §4) and base64url without padding (§5).
 * Decoders are strict: a text that re-encodes to something else is refused with `undefined`.
 */
import { HoldfastError } from "./errors.ts";

/** Bytes in memory of their own, as cryptography makes and takes them. */
export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** UTF-8 bytes of a text. */
export function utf8(text: string): Bytes {
  return encoder.encode(text);
}

/** Text of UTF-8 bytes; throws `utf8_malformed`. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new HoldfastError("utf8_malformed", { bytes: bytes.length }, { cause });
  }
}

/** All parts in one piece of new memory. */
export function concat(...parts: readonly Uint8Array[]): Bytes {
  return concatAll(parts);
}

/** {@link concat} for more parts than a call has room for. */
export function concatAll(parts: readonly Uint8Array[]): Bytes {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Equal content? Not constant in time: for digests and public values only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Equal content, in a time that depends on the length alone: for MACs and key-check values. */
export function equalSecretBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number);
  return difference === 0;
}

/** Overwrite key bytes after use. */
export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}

const hexDigits = "0123456789abcdef";
const byteToHex = Array.from(
  { length: 256 },
  (_, byte) => (hexDigits[byte >> 4] as string) + (hexDigits[byte & 15] as string),
);

/** Lower-case hex. */
export function hex(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += byteToHex[byte] as string;
  return out;
}

/** Bytes of lower-case hex, or `undefined` for any other text. */
export function fromHex(text: string): Bytes | undefined {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) return undefined;
  const out = new Uint8Array(text.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return out;
}

const base = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const standard = `${base}+/`;
const urlSafe = `${base}-_`;

/** Character codes of both alphabets. */
const codesOf = (alphabet: string): readonly number[] =>
  Array.from(alphabet, (character) => character.charCodeAt(0));
const standardCodes = codesOf(standard);
const urlSafeCodes = codesOf(urlSafe);
const padCode = 0x3d;
/** Bytes that become text in one call: its arguments lie on the stack. A multiple of 3. */
const encodedAtOnce = 3_072;

/** One string made at once: gluing characters together makes dozens that are thrown away. */
function encode64(bytes: Uint8Array, alphabet: readonly number[], pad: boolean): string {
  if (bytes.length > encodedAtOnce) {
    let out = "";
    for (let i = 0; i < bytes.length; i += encodedAtOnce) {
      out += encode64(bytes.subarray(i, i + encodedAtOnce), alphabet, pad);
    }
    return out;
  }
  const codes: number[] = [];
  const left = bytes.length % 3;
  const whole = bytes.length - left;
  for (let i = 0; i < whole; i += 3) {
    const word =
      ((bytes[i] as number) << 16) | ((bytes[i + 1] as number) << 8) | (bytes[i + 2] as number);
    codes.push(
      alphabet[word >> 18] as number,
      alphabet[(word >> 12) & 63] as number,
      alphabet[(word >> 6) & 63] as number,
      alphabet[word & 63] as number,
    );
  }
  if (left > 0) {
    const second = left === 2 ? (bytes[whole + 1] as number) << 8 : 0;
    const word = ((bytes[whole] as number) << 16) | second;
    codes.push(alphabet[word >> 18] as number, alphabet[(word >> 12) & 63] as number);
    if (left === 2) codes.push(alphabet[(word >> 6) & 63] as number);
    if (pad) codes.push(...(left === 2 ? [padCode] : [padCode, padCode]));
  }
  return String.fromCharCode(...codes);
}

function decodeTable(alphabet: string): Int8Array {
  const table = new Int8Array(128).fill(-1);
  for (let i = 0; i < alphabet.length; i++) table[alphabet.charCodeAt(i)] = i;
  return table;
}
const standardTable = decodeTable(standard);
const urlSafeTable = decodeTable(urlSafe);

function decode64(text: string, table: Int8Array): Bytes | undefined {
  const tail = text.length % 4;
  if (tail === 1) return undefined;
  const out = new Uint8Array(Math.floor((text.length * 3) / 4));
  let word = 0;
  let bits = 0;
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const digit = code < 128 ? (table[code] as number) : -1;
    if (digit < 0) return undefined;
    word = ((word << 6) | digit) & 0xffffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out[at++] = (word >> bits) & 255;
    }
  }
  // Left-over bits must be zero, or two texts would stand for the same bytes.
  if ((word & ((1 << bits) - 1)) !== 0) return undefined;
  return out;
}

/** Padded base64 (RFC 4648 §4). */
export function base64(bytes: Uint8Array): string {
  return encode64(bytes, standardCodes, true);
}

/** Bytes of padded base64, or `undefined` when the text is not its canonical form. */
export function fromBase64(text: string): Bytes | undefined {
  if (text.length % 4 !== 0) return undefined;
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  return decode64(text.slice(0, text.length - padding), standardTable);
}

/** Unpadded base64url (RFC 4648 §5). */
export function base64url(bytes: Uint8Array): string {
  return encode64(bytes, urlSafeCodes, false);
}

/** Bytes of unpadded base64url, or `undefined` when the text is not its canonical form. */
export function fromBase64url(text: string): Bytes | undefined {
  return decode64(text, urlSafeTable);
}

/** Big-endian unsigned 32-bit length, as frames and length-prefixed bodies carry it. */
export function u32(value: number): Bytes {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value);
  return out;
}
