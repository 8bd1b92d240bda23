/** Which public keys the signature profile takes; `signature.ts` holds the profile of signatures. */
import { ed25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";
import { base64, type Bytes } from "../std/bytes.ts";
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

function checkEd25519(publicKey: Bytes): PublicKeyProblem | undefined {
  if (isBeyondField(publicKey)) return "not_canonical";
  let point: InstanceType<typeof ed25519.Point>;
  try {
    point = ed25519.Point.fromBytes(publicKey, true);
  } catch {
    return "not_on_curve";
  }
  if (point.isSmallOrder()) return "small_order";
  return point.isTorsionFree() ? undefined : "mixed_order";
}

function checkP256(publicKey: Bytes): PublicKeyProblem | undefined {
  try {
    p256.Point.fromBytes(publicKey).assertValidity();
    return undefined;
  } catch {
    return "not_on_curve";
  }
}

/** Keys that were found good: the same few sign everything, and a check costs about 1 ms. */
const accepted = new Set<string>();
const acceptedMax = 256;

/**
 * Why this public key must not be enrolled, or `undefined` when it may.
 * `spki` is the DER SubjectPublicKeyInfo of RFC 8410 §4 (Ed25519) or RFC 5480 §2 (P-256, uncompressed).
 */
export function checkPublicKey(
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
): PublicKeyProblem | undefined {
  const publicKey = publicKeyOfSpki(algorithm, spki);
  if (publicKey === undefined) return "not_canonical";
  const name = `${algorithm} ${base64(spki)}`;
  if (accepted.has(name)) return undefined;
  const problem = algorithm === "ed25519" ? checkEd25519(publicKey) : checkP256(publicKey);
  if (problem !== undefined) return problem;
  if (accepted.size >= acceptedMax) accepted.clear();
  accepted.add(name);
  return undefined;
}
