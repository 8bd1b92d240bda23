/**
 * The signature profile: which public keys and signatures count, beyond "the equation holds". Verifiers
 * differ on the edges of Ed25519 (RFC 8032 leaves the cofactor open) and ECDSA has two signatures for every
 * one; inside the profile every verifier gives the same verdict and a signature has one form.
 *
 * A key is checked once, when it is enrolled or an incarnation opens; each signature is checked when it
 * is read. Neither replaces the other: {@link verifySignature} assumes a key that `checkPublicKey`
 * (`public-key.ts`) passed.
 *
 * Ed25519: key canonical and in the prime-order subgroup; R canonical and not of small order; S below the
 * order; equation without cofactor. P-256: key an uncompressed point; s in the lower half of the order.
 */
import { type Bytes, fromHex } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import { isHighS, signatureBytes } from "../std/keyforms.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { isBeyondField } from "./public-key.ts";

function constant(text: string): Bytes {
  const bytes = fromHex(text);
  invariant(bytes !== undefined && bytes.length === 32, "a field element has 32 bytes");
  return bytes;
}

/** Order of the subgroup (RFC 8032 §5.1), little-endian. */
const order = constant("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

/**
 * y of the eight points whose order divides 8: 1, −1, 0 and the two of order 8. With either sign bit, and
 * with y = 0 and 1 written beyond the field (which {@link isBeyondField} refuses), these are all 14
 * encodings of small-order points.
 */
const smallOrderY: readonly Bytes[] = [
  constant("0100000000000000000000000000000000000000000000000000000000000000"),
  constant("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
  constant("0000000000000000000000000000000000000000000000000000000000000000"),
  constant("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
  constant("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
];

function hasSmallOrder(encoded: Uint8Array): boolean {
  return smallOrderY.some((y) => {
    for (let i = 0; i < 31; i++) if (encoded[i] !== y[i]) return false;
    return ((encoded[31] as number) & 0x7f) === y[31];
  });
}

/** S < L, both little-endian. */
function isBelowOrder(signature: Uint8Array): boolean {
  for (let i = 31; i >= 0; i--) {
    const difference = (signature[32 + i] as number) - (order[i] as number);
    if (difference !== 0) return difference < 0;
  }
  return false;
}

function isInProfile(algorithm: SignatureAlgorithm, signature: Uint8Array): boolean {
  if (signature.length !== signatureBytes) return false;
  if (algorithm === "ecdsa-p256") return !isHighS(signature);
  return isBelowOrder(signature) && !isBeyondField(signature) && !hasSmallOrder(signature);
}

/**
 * Does the signature of `message` count? Refuses what the profile refuses before `crypto` is asked. The
 * key must have passed `checkPublicKey`. Ed25519 signatures are R ‖ S, ECDSA ones r ‖ s.
 */
export function verifySignature(
  crypto: Pick<Crypto, "verify">,
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  return isInProfile(algorithm, signature) && crypto.verify(algorithm, spki, message, signature);
}
