/** The port to recovery keys; implemented with age in `recovery.ts`, apart, because it is seldom needed. */
import type { Bytes } from "../std/bytes.ts";

/** Wraps to recipients of recovery keys, and opens with their secret halves. */
export interface RecoveryCipher {
  /** Encrypts to a recipient (`age1…`). Throws `recovery_key_malformed`. */
  wrap(recipient: string, plaintext: Uint8Array): Promise<Bytes>;
  /** The plaintext, which the caller wipes; `null`: wrapped to another recovery key. Throws `recovery_key_malformed`. */
  unwrap(identity: string, wrapped: Uint8Array): Promise<Bytes | null>;
  /** The recipient of a secret half. Throws `recovery_key_malformed`. */
  recipientOf(identity: string): Promise<string>;
}
