/**
 * Sections: commitment and frame.
 *
 * ```text
 * commitment  c = SHA-256("holdfast/section/v1\n" ‖ salt(32) ‖ plaintext)
 * frame       version(1) ‖ generation(4, big endian) ‖ nonce(12) ‖ AES-256-GCM(salt ‖ plaintext) ‖ tag(16)
 * frame key   HKDF-Expand(data key of that generation, "holdfast/aead/v1|" ‖ section ‖ leaf)
 * AAD         leaf ‖ section
 * ```
 *
 * The header holds commitments, never ciphertext: a frame may be encrypted again under another key without
 * touching a leaf, a swapped key is found when the commitment is compared, and one section can be disclosed
 * by handing over its salt and plaintext. spec/event.md is normative.
 */
import type { DataKey } from "../keys/data-key.ts";
import { type Bytes, concat, equalBytes, utf8, wipe } from "../std/bytes.ts";
import type { Crypto, Random } from "../std/ports.ts";

/** First byte of every frame. */
export const frameVersion = 1;
/** Bytes of a section's salt. */
export const saltBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const prefixBytes = 1 + 4 + nonceBytes;
const commitmentDomain = utf8("holdfast/section/v1\n");

/** The salted commitment that the header carries for one section. 32 bytes. */
export function commitSection(crypto: Crypto, salt: Uint8Array, plaintext: Uint8Array): Bytes {
  return crypto.sha256(commitmentDomain, salt, plaintext);
}

/** Encrypts one section of the event with that leaf. */
export function sealFrame(
  deps: { readonly crypto: Crypto; readonly random: Random },
  key: DataKey,
  section: string,
  leaf: Uint8Array,
  salted: Uint8Array,
): Bytes {
  const frameKey = key.frameKey(section, leaf);
  const aead = deps.crypto.aead(frameKey);
  wipe(frameKey);
  const nonce = deps.random.bytes(nonceBytes);
  const ciphertext = aead.encrypt(nonce, salted, concat(leaf, utf8(section)));
  const frame = new Uint8Array(prefixBytes + ciphertext.length);
  frame[0] = frameVersion;
  new DataView(frame.buffer).setUint32(1, key.generation);
  frame.set(nonce, 5);
  frame.set(ciphertext, prefixBytes);
  return frame;
}

/** Generation of the data key that a frame needs, or `undefined` when it is no frame of this format. */
export function frameGeneration(frame: Uint8Array): number | undefined {
  if (frame.length < prefixBytes + saltBytes + tagBytes || frame[0] !== frameVersion)
    return undefined;
  return new DataView(frame.buffer, frame.byteOffset).getUint32(1);
}

/** What was in a frame. */
export interface OpenedFrame {
  readonly salt: Uint8Array;
  readonly plaintext: Uint8Array;
}

/**
 * Decrypts a frame and compares it with the commitment of the header. `undefined`: altered, of another
 * event, or under another key.
 */
export function openFrame(
  crypto: Crypto,
  key: DataKey,
  section: string,
  leaf: Uint8Array,
  frame: Uint8Array,
  commitment: Uint8Array,
): OpenedFrame | undefined {
  if (frameGeneration(frame) === undefined) return undefined;
  const frameKey = key.frameKey(section, leaf);
  const aead = crypto.aead(frameKey);
  wipe(frameKey);
  const opened = aead.decrypt(
    frame.subarray(5, prefixBytes),
    frame.subarray(prefixBytes),
    concat(leaf, utf8(section)),
  );
  if (opened === undefined) return undefined;
  const salt = opened.subarray(0, saltBytes);
  const plaintext = opened.subarray(saltBytes);
  if (!equalBytes(commitSection(crypto, salt, plaintext), commitment)) return undefined;
  return { salt, plaintext };
}
