/**
 * What is wrapped to recovery keys: the epoch key, and signing keys that their provider lets go of.
 *
 *     plaintext = SHA-256(JCS context) ‖ key
 *
 * age files have no associated data: the digest binds a wrap to its store and to what it is.
 */
import { type Bytes, concat, equalBytes, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalBytes } from "../std/jcs.ts";
import { sha256 } from "@noble/hashes/sha2.js";
import type { RecoveryCipher } from "./recovery-cipher.ts";
import type { HeaderRecord, RecoveryRecord } from "./record.ts";

const digestBytes = 32;

function digestOf(
  { store, tenant }: Pick<HeaderRecord, "store" | "tenant">,
  kind: "epoch" | "signing",
  name: string,
  recovery: string,
): Uint8Array {
  return sha256(canonicalBytes({ v: 1, kind, store, tenant, name, recovery }));
}

async function wrapTo(
  cipher: RecoveryCipher,
  { recipient }: RecoveryRecord,
  digest: Uint8Array,
  key: Uint8Array,
): Promise<Bytes> {
  const plaintext = concat(digest, key);
  try {
    return await cipher.wrap(recipient, plaintext);
  } finally {
    wipe(plaintext);
  }
}

async function unwrapWith(
  cipher: RecoveryCipher,
  identity: string,
  digest: Uint8Array,
  wrapped: Uint8Array,
): Promise<Bytes | null> {
  const plaintext = await cipher.unwrap(identity, wrapped);
  if (plaintext === null) return null;
  try {
    if (!equalBytes(plaintext.subarray(0, digestBytes), digest)) {
      throw new HoldfastError("key_unwrap_failed", { provider: "recovery" });
    }
    return plaintext.slice(digestBytes);
  } finally {
    wipe(plaintext);
  }
}

/** The epoch key, wrapped to a recovery key. */
export function wrapEpochFor(
  cipher: RecoveryCipher,
  header: HeaderRecord,
  epoch: string,
  recovery: RecoveryRecord,
  epochKey: Uint8Array,
): Promise<Bytes> {
  return wrapTo(cipher, recovery, digestOf(header, "epoch", epoch, recovery.id), epochKey);
}

/** The epoch key, which the caller wipes; `null`: wrapped to another one. Throws `key_unwrap_failed`. */
export function unwrapEpochWith(
  cipher: RecoveryCipher,
  header: HeaderRecord,
  epoch: string,
  recovery: RecoveryRecord,
  identity: string,
  wrapped: Uint8Array,
): Promise<Bytes | null> {
  return unwrapWith(cipher, identity, digestOf(header, "epoch", epoch, recovery.id), wrapped);
}

/** A private signing key (PKCS#8), wrapped to a recovery key. */
export function wrapSigningFor(
  cipher: RecoveryCipher,
  header: HeaderRecord,
  incarnation: string,
  recovery: RecoveryRecord,
  key: Uint8Array,
): Promise<Bytes> {
  return wrapTo(cipher, recovery, digestOf(header, "signing", incarnation, recovery.id), key);
}

/** The way back; as {@link unwrapEpochWith}. */
export function unwrapSigningWith(
  cipher: RecoveryCipher,
  header: HeaderRecord,
  incarnation: string,
  recovery: RecoveryRecord,
  identity: string,
  wrapped: Uint8Array,
): Promise<Bytes | null> {
  const digest = digestOf(header, "signing", incarnation, recovery.id);
  return unwrapWith(cipher, identity, digest, wrapped);
}
