/** Opening checkpoints of a server log with the one key that was pinned at enrolment. */
import { fromBase64 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { publicKeyOfSpki } from "../std/keyforms.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { type Checkpoint, parseCheckpoint } from "./checkpoint.ts";
import { createNoteVerifier, openNote, parseNote } from "./note.ts";
import { checkPublicKey } from "./public-key.ts";
import { verifySignature } from "./signature.ts";

/** A public key with its algorithm. */
export interface PublicKey {
  readonly algorithm: SignatureAlgorithm;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/** The key of an SPKI in base64, inside the signature profile; `undefined` for anything else. */
export function publicKeyOf(spki: string): PublicKey | undefined {
  const bytes = fromBase64(spki);
  if (bytes === undefined) return undefined;
  const algorithm = (["ed25519", "ecdsa-p256"] as const).find(
    (each) => publicKeyOfSpki(each, bytes) !== undefined,
  );
  if (algorithm === undefined || checkPublicKey(algorithm, bytes) !== undefined) return undefined;
  return { algorithm, spki: bytes };
}

/** The statement of a note that this key signed under the statement's own origin; else `undefined`. */
export function openSignedCheckpoint(
  crypto: Crypto,
  note: string,
  key: PublicKey,
): Checkpoint | undefined {
  try {
    const checkpoint = parseCheckpoint(parseNote(note).text);
    const { algorithm, spki } = key;
    const name = checkpoint.origin;
    const verifier = createNoteVerifier(crypto, { name, algorithm, spki: Uint8Array.from(spki) });
    const opened = openNote(note, [verifier], (...signed) => verifySignature(crypto, ...signed));
    return opened.status === "verified" ? checkpoint : undefined;
  } catch (error) {
    if (isHoldfastError(error)) return undefined;
    throw error;
  }
}

/** `<host>/holdfast/<shard>/<log number>`: the shard's name, and which of its logs. */
export function parseServerLogOrigin(
  origin: string,
): { readonly shard: string; readonly log: number } | undefined {
  const match = /^([^/]+\/holdfast\/[^/]+)\/(0|[1-9][0-9]{0,14})$/.exec(origin);
  return match === null ? undefined : { shard: match[1] as string, log: Number(match[2]) };
}
