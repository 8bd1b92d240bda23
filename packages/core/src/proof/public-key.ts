/**
 * Which public keys the signature profile takes. Here is point arithmetic on public values only, a page of it
 * in place of a library for curves: that library costs a process 8 MB, and a process that appends asks for
 * a key perhaps once. A test compares every verdict with the library's (`tests/public-key.test.ts`).
 *
 * Never use any of this with secret values: BigInt takes the time that the values ask for.
 */
import type { Bytes } from "../std/bytes.ts";
import { publicKeyOfSpki } from "../std/keyforms.ts";
import type { SignatureAlgorithm } from "../std/ports.ts";

/**
 * Why a public key is refused. `not_canonical`: not the one DER form, or a coordinate beyond the field;
 * `not_on_curve`: no point; `small_order`: everybody can sign for it; `mixed_order`: verifiers disagree.
 */
export type PublicKeyProblem = "not_canonical" | "not_on_curve" | "small_order" | "mixed_order";

/**
 * Is the y coordinate of an Ed25519 encoding (32 bytes) 2^255 − 19 or more? The top bit is the sign of x.
 */
export function isBeyondField(encoded: Uint8Array): boolean {
  if (((encoded[31] as number) & 0x7f) !== 0x7f || (encoded[0] as number) < 0xed) return false;
  for (let i = 1; i < 31; i++) if (encoded[i] !== 0xff) return false;
  return true;
}

/** Field of Ed25519 (RFC 8032 §5.1), order of its subgroup, and the curve's d = −121665 / 121666. */
const p = 2n ** 255n - 19n;
const order = 2n ** 252n + 27742317777372353535851937790883648493n;
const d = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n;
/** A square root of −1. */
const rootOfMinusOne = 0x2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0n;

/** Field of P-256 and the b of y² = x³ − 3x + b (SP 800-186 §3.2.1.3). */
const p256Field = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const p256B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

/** The residue from 0 to modulus − 1. */
function reduce(value: bigint, modulus: bigint): bigint {
  const rest = value % modulus;
  return rest < 0n ? rest + modulus : rest;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base, left = exponent; left > 0n; left >>= 1n) {
    if ((left & 1n) === 1n) result = (result * square) % p;
    square = (square * square) % p;
  }
  return result;
}

function bigEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

/** A point of edwards25519 in extended coordinates: x = X/Z, y = Y/Z, T = XY/Z (RFC 8032 §5.1.4). */
interface Point {
  readonly x: bigint;
  readonly y: bigint;
  readonly z: bigint;
  readonly t: bigint;
}

/** RFC 8032 §5.1.3, except that x = 0 may have either sign: such points have small order. */
function decompress(encoded: Uint8Array): Point | undefined {
  const text = bigEndian(encoded.toReversed());
  const sign = text >> 255n;
  const y = text & (2n ** 255n - 1n);
  const u = reduce(y * y - 1n, p);
  const v = (((d * y) % p) * y + 1n) % p;
  const v3 = (((v * v) % p) * v) % p;
  const v7 = (((v3 * v3) % p) * v) % p;
  let x = (((u * v3) % p) * power((u * v7) % p, (p - 5n) / 8n)) % p;
  const square = (((v * x) % p) * x) % p;
  if (square !== u) {
    if (square !== reduce(-u, p)) return undefined;
    x = (x * rootOfMinusOne) % p;
  }
  if ((x & 1n) !== sign) x = reduce(-x, p);
  return { x, y, z: 1n, t: (x * y) % p };
}

/** Addition for every pair of points: the formulas of RFC 8032 §5.1.4 are complete. */
function add(a: Point, b: Point): Point {
  const minus = reduce(a.y - a.x, p) * reduce(b.y - b.x, p);
  const plus = (a.y + a.x) * (b.y + b.x);
  const c = ((2n * d * a.t) % p) * b.t;
  const e = reduce(plus - minus, p);
  const h = (plus + minus) % p;
  const zz = 2n * a.z * b.z;
  const f = reduce(zz - c, p);
  const g = (zz + c) % p;
  return { x: (e * f) % p, y: (g * h) % p, z: (f * g) % p, t: (e * h) % p };
}

/** Is [factor]point the neutral element, (0, 1)? */
function vanishes(point: Point, factor: bigint): boolean {
  let sum: Point = { x: 0n, y: 1n, z: 1n, t: 0n };
  for (const bit of factor.toString(2)) {
    sum = add(sum, sum);
    if (bit === "1") sum = add(sum, point);
  }
  return sum.x === 0n && sum.y === sum.z;
}

function checkEd25519(publicKey: Bytes): PublicKeyProblem | undefined {
  if (isBeyondField(publicKey)) return "not_canonical";
  const point = decompress(publicKey);
  if (point === undefined) return "not_on_curve";
  if (vanishes(point, 8n)) return "small_order";
  return vanishes(point, order) ? undefined : "mixed_order";
}

/** `publicKey` is 0x04 ‖ x ‖ y. The curve has prime order, and (0, 0) is not on it. */
function checkP256(publicKey: Bytes): PublicKeyProblem | undefined {
  const x = bigEndian(publicKey.subarray(1, 33));
  const y = bigEndian(publicKey.subarray(33));
  if (x >= p256Field || y >= p256Field) return "not_on_curve";
  return reduce(y * y - x * x * x + 3n * x - p256B, p256Field) === 0n ? undefined : "not_on_curve";
}

/**
 * Why this public key must not be enrolled, or `undefined` when it may. About 2 ms: keep the answer.
 * `spki` is the DER SubjectPublicKeyInfo of RFC 8410 §4 (Ed25519) or RFC 5480 §2 (P-256, uncompressed).
 */
export function checkPublicKey(
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
): PublicKeyProblem | undefined {
  const publicKey = publicKeyOfSpki(algorithm, spki);
  if (publicKey === undefined) return "not_canonical";
  return algorithm === "ed25519" ? checkEd25519(publicKey) : checkP256(publicKey);
}
