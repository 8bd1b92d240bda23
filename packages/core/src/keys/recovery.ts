/**
 * Recovery keys, kept offline: an X25519 key pair of age (C2SP age, X25519 recipient type), as an age identity
 * or as 24 printed words (BIP-39, English list: 32 bytes and a checksum). Both spell the same key, so what is
 * wrapped to it opens with stock `age -d -i` as well.
 *
 * Only the recipient is kept in the keyring. age draws its file keys and ephemeral keys from the platform's own
 * generator, the one place of the core that does not take chance from its ports.
 */
import { bech32 } from "@scure/base";
import { entropyToMnemonic, mnemonicToEntropy } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { Decrypter, Encrypter, identityToRecipient } from "age-encryption";
import { wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import type { Random } from "../std/ports.ts";
import type { RecoveryCipher } from "./recovery-cipher.ts";

/** A recovery key in the open: print it, put it into a safe, forget it. */
export interface RecoveryKey {
  /** `AGE-SECRET-KEY-1…` */
  readonly identity: string;
  /** `age1…` */
  readonly recipient: string;
  /** 24 words. */
  readonly words: string;
}

const identityPrefix = "AGE-SECRET-KEY-";
const keyBytes = 32;

function malformed(cause?: unknown): HoldfastError {
  // The cause of a decoding error may quote the key: it is left out.
  return new HoldfastError("recovery_key_malformed", {}, cause === undefined ? {} : { cause });
}

async function keyOver(secret: Uint8Array): Promise<RecoveryKey> {
  const identity = bech32.encodeFromBytes(identityPrefix, secret).toUpperCase();
  const recipient = await identityToRecipient(identity);
  return { identity, recipient, words: entropyToMnemonic(secret, wordlist) };
}

/** A new recovery key. */
export async function generateRecoveryKey(random: Random): Promise<RecoveryKey> {
  const secret = random.bytes(keyBytes);
  try {
    return await keyOver(secret);
  } finally {
    wipe(secret);
  }
}

/** Reads a recovery key, as words or as an age identity. Throws `recovery_key_malformed`. */
export async function readRecoveryKey(text: string): Promise<RecoveryKey> {
  const secret = secretOf(text);
  try {
    return await keyOver(secret);
  } finally {
    wipe(secret);
  }
}

function secretOf(text: string): Uint8Array {
  const line = text
    .split("\n")
    .map((each) => each.trim())
    .filter((each) => each !== "" && !each.startsWith("#"))
    .join(" ");
  let secret: Uint8Array;
  try {
    secret = /^age-secret-key-1/i.test(line)
      ? bech32.decodeToBytes(line).bytes
      : mnemonicToEntropy(line.toLowerCase().split(/\s+/).join(" "), wordlist);
  } catch {
    throw malformed();
  }
  if (secret.length !== keyBytes) throw malformed();
  return secret;
}

/** The port to recovery keys, with age. */
export const ageRecovery: RecoveryCipher = {
  async wrap(recipient, plaintext) {
    const encrypter = new Encrypter();
    try {
      encrypter.addRecipient(recipient);
    } catch (cause) {
      throw malformed(cause);
    }
    return Uint8Array.from(await encrypter.encrypt(Uint8Array.from(plaintext)));
  },
  async unwrap(identity, wrapped) {
    const decrypter = new Decrypter();
    const { identity: own } = await readRecoveryKey(identity);
    decrypter.addIdentity(own);
    try {
      return Uint8Array.from(await decrypter.decrypt(Uint8Array.from(wrapped)));
    } catch (cause) {
      if (cause instanceof Error && cause.message.startsWith("no identity matched")) return null;
      throw new HoldfastError("key_unwrap_failed", { provider: "recovery" }, { cause });
    }
  },
  async recipientOf(identity) {
    return (await readRecoveryKey(identity)).recipient;
  },
};
