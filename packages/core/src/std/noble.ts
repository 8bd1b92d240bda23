/**
 * The `Crypto` port in JavaScript alone, for platforms without synchronous cryptography of their own and
 * as the second opinion in tests. Answers are those of OpenSSL; it is five to ten times slower.
 *
 * JavaScript promises no constant time: where a platform has native cryptography, use that.
 */
import { gcm } from "@noble/ciphers/aes.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { p256 } from "@noble/curves/nist.js";
import { argon2id } from "@noble/hashes/argon2.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { type Bytes, equalBytes } from "./bytes.ts";
import { HoldfastError, invariant } from "./errors.ts";
import {
  pkcs8OfSecret,
  publicKeyOfSpki,
  secretOfPkcs8,
  signatureBytes,
  spkiOfPublicKey,
} from "./keyforms.ts";
import type { Aead, Crypto, Mac, Random, SignatureAlgorithm } from "./ports.ts";

/** The libraries type results as possibly shared memory; they allocate each result themselves. */
function own(bytes: Uint8Array): Bytes {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Bytes) : new Uint8Array(bytes);
}

function createMac(key: Uint8Array): Mac {
  // The keyed state is computed once and cloned for each call; hmac copies what it needs of the key.
  const keyed = hmac.create(sha256, key);
  return {
    mac(...parts) {
      const state = keyed.clone();
      for (const part of parts) state.update(part);
      return own(state.digest());
    },
  };
}

function createAead(key: Uint8Array): Aead {
  invariant(key.length === 32, "AES-256-GCM has a key of 32 bytes");
  const ownKey = key.slice();
  return {
    encrypt(nonce, plaintext, aad) {
      invariant(nonce.length === 12, "AES-256-GCM has a nonce of 12 bytes");
      return own(gcm(ownKey, nonce, aad).encrypt(plaintext));
    },
    decrypt(nonce, ciphertext, aad) {
      invariant(nonce.length === 12, "AES-256-GCM has a nonce of 12 bytes");
      if (ciphertext.length < 16) return undefined;
      try {
        return own(gcm(ownKey, nonce, aad).decrypt(ciphertext));
      } catch {
        return undefined;
      }
    },
  };
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  return value;
}

/**
 * Ed25519 without the cofactor, as OpenSSL and RFC 8032 §5.1.7 (second form) have it: compute
 * R' = [S]B − [k]A and compare its encoding with R. The library's own verify multiplies by the cofactor
 * and so accepts signatures with a small-order part in R, on which two readers would then disagree.
 * OpenSSL 3.0 gives the same verdicts on every edge case; 3.5 refuses some with points of small order,
 * all of which the signature profile refuses before anybody is asked (tested).
 */
function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const { Point } = ed25519;
  const order = Point.Fn.ORDER;
  const encodedR = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= order) return false;
  // Encodings that are not canonical are the signature profile's to refuse; OpenSSL decodes them too.
  const a = Point.fromBytes(publicKey, true);
  const digest = sha512.create().update(encodedR).update(publicKey).update(message).digest();
  const k = littleEndian(digest) % order;
  const r = Point.BASE.multiplyUnsafe(s).subtract(a.multiplyUnsafe(k));
  return equalBytes(r.toBytes(), encodedR);
}

function verify(
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const publicKey = publicKeyOfSpki(algorithm, spki);
  if (publicKey === undefined || signature.length !== signatureBytes) return false;
  try {
    return algorithm === "ed25519"
      ? verifyEd25519(publicKey, message, signature)
      : p256.verify(signature, message, publicKey, { lowS: false, prehash: true });
  } catch {
    // Bytes that are no point of the curve, or r and s out of range.
    return false;
  }
}

function generateSigningKey(
  algorithm: SignatureAlgorithm,
  random: Random,
): { readonly privateKey: Bytes; readonly spki: Bytes } {
  const curve = algorithm === "ed25519" ? ed25519 : p256;
  // P-256 reduces 48 bytes to a scalar, so that no scalar is likelier than another (FIPS 186-5 A.2.1).
  const seed = random.bytes(algorithm === "ed25519" ? 32 : 48);
  const secret = curve === ed25519 ? seed : curve.utils.randomSecretKey(seed);
  const publicKey =
    algorithm === "ed25519" ? ed25519.getPublicKey(secret) : p256.getPublicKey(secret, false);
  const pair = {
    privateKey: pkcs8OfSecret(algorithm, secret, publicKey),
    spki: spkiOfPublicKey(algorithm, publicKey),
  };
  seed.fill(0);
  secret.fill(0);
  return pair;
}

function signer(
  algorithm: SignatureAlgorithm,
  privateKey: Uint8Array,
): (message: Uint8Array) => Bytes {
  const secret = secretOfPkcs8(algorithm, privateKey);
  if (secret === undefined) throw new HoldfastError("key_malformed", { algorithm });
  if (algorithm === "ed25519") return (message) => own(ed25519.sign(message, secret));
  return (message) => own(p256.sign(message, secret, { lowS: true, prehash: true }));
}

/**
 * Cryptography in JavaScript; the same answers as every other implementation of the port. `signer` throws
 * `key_malformed` for bytes that are not the PKCS#8 form of the algorithm.
 */
export function nobleCrypto(random: Random): Crypto {
  return {
    sha256(...parts) {
      if (parts.length === 1) return own(sha256(parts[0] as Uint8Array));
      const state = sha256.create();
      for (const part of parts) state.update(part);
      return own(state.digest());
    },
    hmac: createMac,
    aead: createAead,
    verify,
    generateSigningKey: (algorithm) => generateSigningKey(algorithm, random),
    x25519PublicKey: (privateKey) => own(x25519.getPublicKey(privateKey)),
    signer,
    argon2id: (password, salt, cost, length) =>
      own(
        argon2id(password, salt, {
          m: cost.memoryKib,
          t: cost.passes,
          p: cost.lanes,
          dkLen: length,
          // The library's own default refuses costs above 1 GiB; the caller's cost is the bound here.
          maxmem: (cost.memoryKib + 1024) * 1024,
        }),
      ),
  };
}
