/**
 * Keys and signatures as bytes: the one DER form of each key that Holdfast writes and reads, and ECDSA
 * signatures as r ‖ s (IEEE P1363). The forms have fixed lengths, so a prefix says it all and two byte
 * strings never stand for one key.
 *
 * Sources: RFC 8410 §4 and §7 (Ed25519), RFC 5480 §2 (P-256 SPKI), RFC 5958 §2 and RFC 5915 §3 (PKCS#8).
 */
import { type Bytes, concat, equalBytes, fromHex } from "./bytes.ts";
import { invariant } from "./errors.ts";
import type { SignatureAlgorithm } from "./ports.ts";

function prefix(text: string): Bytes {
  const bytes = fromHex(text);
  invariant(bytes !== undefined, "a DER prefix is hex");
  return bytes;
}

const spkiPrefix: Readonly<Record<SignatureAlgorithm, Bytes>> = {
  ed25519: prefix("302a300506032b6570032100"),
  "ecdsa-p256": prefix("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
};
const rawPublicBytes: Readonly<Record<SignatureAlgorithm, number>> = {
  ed25519: 32,
  "ecdsa-p256": 65,
};

const ed25519Pkcs8 = prefix("302e020100300506032b657004220420");
const p256Pkcs8 = prefix(
  "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420",
);
const p256Pkcs8Public = prefix("a144034200");
const privateBytes = 32;

/** Order of P-256 (SEC 2 §2.4.2), big-endian, and half of it, rounded down. */
const p256OrderBytes = prefix("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
const p256HalfOrder = prefix("7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8");

function tail(bytes: Uint8Array, start: Uint8Array, length: number): Bytes | undefined {
  if (bytes.length !== start.length + length) return undefined;
  return equalBytes(bytes.subarray(0, start.length), start)
    ? new Uint8Array(bytes.subarray(start.length))
    : undefined;
}

/**
 * Public key bytes of a canonical SPKI: 32 bytes for Ed25519, the 65 of an uncompressed point for P-256.
 * `undefined` for every other form. Says nothing about the point itself.
 */
export function publicKeyOfSpki(
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
): Bytes | undefined {
  const raw = tail(spki, spkiPrefix[algorithm], rawPublicBytes[algorithm]);
  return algorithm === "ecdsa-p256" && raw?.[0] !== 4 ? undefined : raw;
}

/** The SPKI of public key bytes in the forms of {@link publicKeyOfSpki}. */
export function spkiOfPublicKey(algorithm: SignatureAlgorithm, publicKey: Uint8Array): Bytes {
  invariant(
    publicKey.length === rawPublicBytes[algorithm],
    "public key has the length of its algorithm",
  );
  return concat(spkiPrefix[algorithm], publicKey);
}

/**
 * The private key inside PKCS#8: the seed of Ed25519, the scalar of P-256, 32 bytes that the caller wipes.
 * `undefined` for every other form and for a scalar out of range. P-256 carries its public key, as OpenSSL
 * and WebCrypto write it; the two are not compared.
 */
export function secretOfPkcs8(algorithm: SignatureAlgorithm, pkcs8: Uint8Array): Bytes | undefined {
  if (algorithm === "ed25519") return tail(pkcs8, ed25519Pkcs8, privateBytes);
  const rest = tail(
    pkcs8,
    p256Pkcs8,
    privateBytes + p256Pkcs8Public.length + rawPublicBytes[algorithm],
  );
  if (rest === undefined) return undefined;
  const marker = rest.subarray(privateBytes, privateBytes + p256Pkcs8Public.length);
  const isScalar = equalBytes(marker, p256Pkcs8Public) && isP256Scalar(rest);
  const secret = isScalar ? rest.slice(0, privateBytes) : undefined;
  rest.fill(0);
  return secret;
}

/** 1 ≤ d < n for the first 32 bytes, in a time that does not depend on them. OpenSSL leaves this open. */
function isP256Scalar(bytes: Uint8Array): boolean {
  let any = 0;
  let borrow = 0;
  for (let i = privateBytes - 1; i >= 0; i--) {
    const byte = bytes[i] as number;
    any |= byte;
    borrow = ((byte - (p256OrderBytes[i] as number) - borrow) >> 8) & 1;
  }
  return any !== 0 && borrow === 1;
}

/** PKCS#8 of a private key; the public key is written for P-256 alone. */
export function pkcs8OfSecret(
  algorithm: SignatureAlgorithm,
  secret: Uint8Array,
  publicKey: Uint8Array,
): Bytes {
  invariant(secret.length === privateBytes, "a private key has 32 bytes");
  return algorithm === "ed25519"
    ? concat(ed25519Pkcs8, secret)
    : concat(p256Pkcs8, secret, p256Pkcs8Public, publicKey);
}

/** Bytes of both kinds of signature: R ‖ S (RFC 8032 §5.1.6) and r ‖ s (IEEE P1363). */
export const signatureBytes = 64;

/** Is s in the upper half of the order? Then (r, n − s) is a second signature of the same message. */
export function isHighS(signature: Uint8Array): boolean {
  for (let i = 0; i < 32; i++) {
    const difference = (signature[32 + i] as number) - (p256HalfOrder[i] as number);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

/** The low-S form of an ECDSA signature, n − s in place of a high s. */
export function toLowS(signature: Bytes): Bytes {
  if (!isHighS(signature)) return signature;
  const out = signature.slice();
  let borrow = 0;
  for (let i = privateBytes - 1; i >= 0; i--) {
    const difference = (p256OrderBytes[i] as number) - (signature[32 + i] as number) - borrow;
    out[32 + i] = difference & 255;
    borrow = difference < 0 ? 1 : 0;
  }
  return out;
}
