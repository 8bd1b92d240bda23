/**
 * Files encrypted as age-encryption.org/v1 (C2SP age): the header by the age library, the payload here, because the
 * library's ChaCha20-Poly1305 is JavaScript (measured: see bench `backup`).
 *
 * Payload: a nonce of 16 bytes, then chunks of 64 KiB, each encrypted with ChaCha20-Poly1305 under
 * HKDF-SHA-256(file key, nonce, "payload") and the nonce counter (11 bytes, big-endian) ‖ last (1 byte).
 *
 * A backup ends with a whole chunk: what is encrypted is padded to a multiple of 64 KiB. So a file that lost bytes at
 * its end shows it by its length, or by a last chunk that is not marked as the last, and is told from an altered one.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, scryptSync } from "node:crypto";
import { type Bytes, HoldfastError, limits } from "@holdfast/core";
import { Decrypter, Encrypter, type Identity, type Recipient, Stanza } from "age-encryption";

/** Who may open what is encrypted: recipients (`age1…`), or whoever knows a passphrase. */
export type AgeRecipients =
  | { readonly recipients: readonly string[] }
  | { readonly passphrase: string };

/** What opens it: identities (`AGE-SECRET-KEY-1…`), or a passphrase. */
export type AgeIdentities =
  | { readonly identities: readonly string[] }
  | { readonly passphrase: string };

/** Plaintext of one chunk; the ciphertext has a tag of 16 bytes more. */
export const ageChunkBytes = 64 * 1024;
const tagBytes = 16;
const nonceBytes = 16;
/** 64 MiB of memory: as much as unlocking a store takes. */
const scryptLog = 16;
const headerBytesMax = 64 * 1024;

/** Header of a new file, and the key of its payload. Throws `backup_recipient_invalid`. */
export async function startAge(
  to: AgeRecipients,
): Promise<{ readonly start: Bytes; readonly key: Buffer }> {
  const encrypter = new Encrypter();
  let fileKey: Uint8Array = new Uint8Array(0);
  try {
    if ("passphrase" in to) encrypter.addRecipient(passphraseRecipient(to.passphrase));
    else for (const recipient of to.recipients) encrypter.addRecipient(recipient);
  } catch (cause) {
    throw new HoldfastError("backup_recipient_invalid", {}, { cause });
  }
  // A recipient of no stanza: it sees the file key, for the payload below.
  encrypter.addRecipient({
    wrapFileKey(key) {
      fileKey = Uint8Array.from(key);
      return [];
    },
  });
  const whole = await encrypter.encrypt(new Uint8Array(0));
  const header = whole.subarray(0, whole.length - nonceBytes - tagBytes);
  const nonce = randomBytes(nonceBytes);
  const key = payloadKey(fileKey, nonce);
  fileKey.fill(0);
  return { start: Uint8Array.from(Buffer.concat([header, nonce])), key };
}

/** Where the payload of a file begins, and its key. `read` gives the first bytes of the file. */
export async function openAge(
  first: Uint8Array,
  by: AgeIdentities,
): Promise<{ readonly at: number; readonly key: Buffer }> {
  const text = Buffer.from(first.buffer, first.byteOffset, Math.min(first.length, headerBytesMax));
  if (!text.subarray(0, magic.length).equals(magic.subarray(0, text.length))) {
    throw new HoldfastError("backup_foreign");
  }
  const end = /\n--- [A-Za-z0-9+/]{43}\n/.exec(text.toString("latin1"));
  if (end === null) {
    throw new HoldfastError(first.length < headerBytesMax ? "backup_truncated" : "backup_altered", {
      part: "header",
    });
  }
  const size = end.index + end[0].length;
  const fileKey = await fileKeyOf(text.subarray(0, size), by);
  const nonce = first.subarray(size, size + nonceBytes);
  if (nonce.length < nonceBytes) throw new HoldfastError("backup_truncated", { part: "nonce" });
  const key = payloadKey(fileKey, nonce);
  fileKey.fill(0);
  return { at: size + nonceBytes, key };
}

const magic = Buffer.from("age-encryption.org/v1\n");

async function fileKeyOf(header: Uint8Array, by: AgeIdentities): Promise<Uint8Array> {
  const decrypter = new Decrypter();
  try {
    if ("passphrase" in by) decrypter.addIdentity(passphraseIdentity(by.passphrase));
    else for (const identity of by.identities) decrypter.addIdentity(identity);
  } catch (cause) {
    throw new HoldfastError("backup_recipient_invalid", {}, { cause });
  }
  try {
    return await decrypter.decryptHeader(header);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : "";
    // The key fits and the header's MAC does not, or its lines have no sense.
    const code = text.startsWith("no identity") ? "backup_key_wrong" : "backup_altered";
    throw new HoldfastError(code, { part: "header" }, { cause });
  }
}

/** C2SP age, "Payload". */
function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): Buffer {
  return Buffer.from(hkdfSync("sha256", fileKey, nonce, "payload", 32));
}

/** Encrypts a payload, piece by piece. `finish` pads by what `pad` gives for a number of bytes. */
export function createAgeSealer(key: Uint8Array): {
  push(piece: Uint8Array): readonly Buffer[];
  /** Bytes of the chunk under way. */
  held(): number;
  finish(): readonly Buffer[];
} {
  let parts: Uint8Array[] = [];
  let held = 0;
  let counter = 0;

  function chunk(bytes: Uint8Array, last: boolean): Buffer {
    const cipher = createCipheriv("chacha20-poly1305", key, chunkNonce(counter++, last), {
      authTagLength: tagBytes,
    });
    const body = cipher.update(bytes);
    cipher.final();
    return Buffer.concat([body, cipher.getAuthTag()]);
  }

  /** Chunks that are certainly not the last: bytes follow. */
  function drain(): Buffer[] {
    if (held <= ageChunkBytes) return [];
    const whole = Buffer.concat(parts);
    const chunks: Buffer[] = [];
    let at = 0;
    for (; whole.length - at > ageChunkBytes; at += ageChunkBytes) {
      chunks.push(chunk(whole.subarray(at, at + ageChunkBytes), false));
    }
    parts = [whole.subarray(at)];
    held = whole.length - at;
    return chunks;
  }

  return {
    push(piece) {
      parts.push(piece);
      held += piece.length;
      return drain();
    },
    held: () => held,
    finish: () => [...drain(), chunk(Buffer.concat(parts), true)],
  };
}

/** Decrypts the chunk with that number. Throws `backup_truncated`, `backup_altered`. */
export function openAgeChunk(
  key: Uint8Array,
  counter: number,
  bytes: Uint8Array,
  last: boolean,
): Buffer {
  const plain = decryptChunk(key, counter, bytes, last);
  if (plain !== undefined) return plain;
  const other = last && decryptChunk(key, counter, bytes, false) !== undefined;
  throw new HoldfastError(other ? "backup_truncated" : "backup_altered", { chunk: counter });
}

function decryptChunk(
  key: Uint8Array,
  counter: number,
  bytes: Uint8Array,
  last: boolean,
): Buffer | undefined {
  const decipher = createDecipheriv("chacha20-poly1305", key, chunkNonce(counter, last), {
    authTagLength: tagBytes,
  });
  decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes));
  const plain = decipher.update(bytes.subarray(0, bytes.length - tagBytes));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
}

function chunkNonce(counter: number, last: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(counter, 5, 6);
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** Bytes of a chunk in the file. */
export const ageSealedChunkBytes = ageChunkBytes + tagBytes;

const scryptDomain = "age-encryption.org/v1/scrypt";

/** C2SP age, "The scrypt recipient type", with the platform's scrypt. */
function passphraseRecipient(passphrase: string): Recipient {
  if (passphrase === "") throw new Error("an empty passphrase");
  return {
    wrapFileKey(fileKey) {
      const salt = randomBytes(16);
      const key = scryptKey(passphrase, salt, scryptLog);
      const cipher = createCipheriv("chacha20-poly1305", key, Buffer.alloc(12), {
        authTagLength: tagBytes,
      });
      const body = cipher.update(fileKey);
      cipher.final();
      key.fill(0);
      const args = ["scrypt", unpadded(salt), String(scryptLog)];
      return [new Stanza(args, Buffer.concat([body, cipher.getAuthTag()]))];
    },
  };
}

function passphraseIdentity(passphrase: string): Identity {
  return {
    unwrapFileKey(stanzas) {
      const [stanza] = stanzas;
      const [type, salt = "", log = ""] = stanza?.args ?? [];
      // A stanza of this type stands alone.
      if (stanza === undefined || type !== "scrypt" || stanzas.length !== 1) return null;
      const bytes = Buffer.from(salt, "base64");
      const cost = Number(log);
      const known = bytes.length === 16 && /^[1-9][0-9]?$/.test(log) && stanza.body.length === 32;
      if (!known || cost > limits.backupScryptLogMax) throw new Error("malformed scrypt stanza");
      const key = scryptKey(passphrase, bytes, cost);
      const decipher = createDecipheriv("chacha20-poly1305", key, Buffer.alloc(12), {
        authTagLength: tagBytes,
      });
      key.fill(0);
      decipher.setAuthTag(stanza.body.subarray(16));
      const fileKey = decipher.update(stanza.body.subarray(0, 16));
      try {
        decipher.final();
        return fileKey;
      } catch {
        return null;
      }
    },
  };
}

function scryptKey(passphrase: string, salt: Uint8Array, log: number): Buffer {
  const labelled = Buffer.concat([Buffer.from(scryptDomain), salt]);
  const cost = 2 ** log;
  return scryptSync(passphrase, labelled, 32, {
    N: cost,
    r: 8,
    p: 1,
    maxmem: cost * 1_024 + 2 ** 24,
  });
}

function unpadded(bytes: Buffer): string {
  return bytes.toString("base64").replaceAll("=", "");
}
