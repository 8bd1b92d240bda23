/**
 * The outside world of the core, one door each: clock, timers, chance and cryptography. No module of the
 * core reaches for any of them by itself, so that one seed replays a whole run.
 */
import type { Bytes } from "./bytes.ts";

/** Two clocks: one that people read and that may jump, one that never goes back. */
export interface Clock {
  /** Wall clock, UTC milliseconds since 1970. Evidence, never order. */
  now(): number;
  /** Milliseconds from an arbitrary start; never decreases. */
  monotonic(): number;
}

/** Deferred work. The returned function cancels. */
export interface Timers {
  /** `background`: the work is not worth keeping a process alive for. */
  after(milliseconds: number, run: () => void, background?: boolean): () => void;
  /** As soon as what is ready now has run (input that has arrived, promises that are settled). */
  soon(run: () => void): void;
}

/** Cryptographically strong random bytes. */
export interface Random {
  bytes(length: number): Bytes;
}

/** Signature algorithms that devices may use. */
export type SignatureAlgorithm = "ed25519" | "ecdsa-p256";

/** AES-256-GCM under one key. Nonce 12 bytes, tag 16 bytes at the end of the ciphertext. */
export interface Aead {
  encrypt(nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Bytes;
  /** Plaintext, or `undefined` when the tag does not match. */
  decrypt(nonce: Uint8Array, ciphertext: Uint8Array, aad: Uint8Array): Bytes | undefined;
}

/** HMAC-SHA-256 under one key, kept in the platform's own form so that one call costs a few microseconds. */
export interface Mac {
  mac(...parts: readonly Uint8Array[]): Bytes;
}

/**
 * Cryptography, synchronous where the platform can (Node, noble). Platforms that cannot (WebCrypto) seal
 * asynchronously behind the key provider.
 */
export interface Crypto {
  sha256(...parts: readonly Uint8Array[]): Bytes;
  /** Key of any length; the bytes may be wiped by the caller afterwards. */
  hmac(key: Uint8Array): Mac;
  /** Key of 32 bytes; the bytes may be wiped by the caller afterwards. */
  aead(key: Uint8Array): Aead;
  /**
   * Verify over the raw message. `spki` is the DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, RFC 8410); an
   * ECDSA signature is r ‖ s of 32 bytes each (IEEE P1363) over SHA-256. Malformed input is `false`.
   * Call it through the signature profile (`proof/signature.ts`), never directly.
   */
  verify(
    algorithm: SignatureAlgorithm,
    spki: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
  ): boolean;
  /** New signing key: PKCS#8 private key, SPKI public key, both DER. */
  generateSigningKey(algorithm: SignatureAlgorithm): {
    readonly privateKey: Bytes;
    readonly spki: Bytes;
  };
  /**
   * Public key of an X25519 private key (RFC 7748 §6.1), both 32 bytes; any 32 bytes are a private key. The
   * bytes may be wiped by the caller afterwards.
   */
  x25519PublicKey(privateKey: Uint8Array): Bytes;
  /** A signer over a PKCS#8 key; the bytes may be wiped by the caller afterwards. */
  signer(algorithm: SignatureAlgorithm, privateKey: Uint8Array): (message: Uint8Array) => Bytes;
  /** Argon2id, RFC 9106. */
  argon2id(password: Uint8Array, salt: Uint8Array, cost: Argon2Cost, length: number): Bytes;
}

/** Cost of one Argon2id derivation (RFC 9106 §3.1). */
export interface Argon2Cost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}
