/**
 * C2SP signed-note v1.0.0: a text signed by one or more keys.
 *
 * ```text
 * This is an example message.
 *
 * — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
 * ```
 *
 * The text includes its final newline; an empty line follows, then one line per signature: em dash, space,
 * key name, space, base64 of (4-byte key id ‖ signature). What is signed is the text alone, in UTF-8.
 *
 * Two signature types:
 * - `0x01` Ed25519 (RFC 8032). Key id = SHA-256(name ‖ 0x0A ‖ 0x01 ‖ 32-byte key)[0:4]; the vkey holds the
 *   32-byte key.
 * - `0x02` ECDSA over P-256 with SHA-256. Key id = SHA-256(SPKI DER)[0:4], without the name, as the
 *   specification fixes for this type; the vkey holds the SPKI; the signature is ASN.1 DER, as
 *   transparency-dev makes and checks it (`formats/note/note_verifier.go`). Only canonical DER is read.
 *
 * A text must not be used before {@link openNote} says `verified`.
 */
import {
  base64,
  type Bytes,
  concat,
  equalBytes,
  fromBase64,
  fromHex,
  fromUtf8,
  hex,
  utf8,
} from "../std/bytes.ts";
import { HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { derFromP1363, p1363FromDer } from "./ecdsa-der.ts";

/** One signature line. */
export interface NoteSignature {
  readonly name: string;
  /** 8 lower-case hex digits. */
  readonly keyId: string;
  /** As the note holds it: Ed25519 64 bytes, ECDSA ASN.1 DER; of unknown keys anything. */
  readonly signature: Bytes;
}

/** A note that was read and not verified. */
export interface Note {
  /** Ends in a newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A public key under the name by which notes call it. */
export interface NoteKey {
  readonly name: string;
  readonly algorithm: SignatureAlgorithm;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Bytes;
}

/** A known key: {@link createNoteVerifier} and {@link parseVkey} make them. */
export interface NoteVerifier extends NoteKey {
  /** 8 lower-case hex digits. */
  readonly keyId: string;
}

/** A verifier with its private half; `sign` answers as the `Crypto` port does (ECDSA as r ‖ s). */
export interface NoteSigner extends NoteVerifier {
  sign(message: Uint8Array): Bytes;
}

/** The check of one signature, as the `Crypto` port and the signature profile have it (ECDSA as r ‖ s). */
export type VerifySignature = (
  algorithm: SignatureAlgorithm,
  spki: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
) => boolean;

/** What became of a note. Only `verified` gives the text out. */
export type OpenedNote =
  | {
      readonly status: "verified";
      readonly text: string;
      /** Known keys whose signatures hold, each once, in the note's order. */
      readonly by: readonly NoteVerifier[];
      /** Signatures of keys that are not known; nothing was checked about them. */
      readonly unknown: readonly NoteSignature[];
    }
  /** Not a signed note; `reason` as in the details of `note_malformed`. */
  | { readonly status: "malformed"; readonly reason: string }
  /** A known key's signature does not hold: the note is refused whatever else is on it. */
  | { readonly status: "bad-signature"; readonly name: string; readonly keyId: string }
  /** No known key signed. */
  | { readonly status: "unsigned" };

/** May this be the name of a key (and the origin of a log)? No Unicode space, plus or control character. */
export function isNoteName(name: string): boolean {
  return (
    name !== "" &&
    name.isWellFormed() &&
    !/[\p{White_Space}+]/u.test(name) &&
    !hasControl(name) &&
    utf8(name).length <= limits.noteNameBytesMax
  );
}

/**
 * The note of a text and its signatures. Throws `note_malformed` when the text does not end in a newline or
 * holds control characters, when a name or key id is not one, or without or with too many signatures.
 */
export function formatNote(text: string, signatures: readonly NoteSignature[]): string {
  if (!text.endsWith("\n")) throw malformed("text-end");
  if (signatures.length === 0) throw malformed("no-signatures");
  if (signatures.length > limits.noteSignaturesMax) throw malformed("signature-count");
  let note = `${text}\n`;
  for (const { name, keyId, signature } of signatures) {
    const id = fromHex(keyId);
    if (!isNoteName(name)) throw malformed("name");
    if (id?.length !== 4) throw malformed("key-id");
    if (signature.length === 0) throw malformed("signature");
    note += `— ${name} ${base64(concat(id, signature))}\n`;
  }
  // With names, ids and signatures of the right form, this is all that parseNote could still refuse.
  if (hasControl(text)) throw malformed("control");
  return noteText(note);
}

/**
 * Reads a note without verifying it. Throws `note_malformed`, its details naming the `reason`: `utf8`,
 * `size`, `control`, `no-signatures`, `end`, `signature-count`, `signature-line`, `name`, `base64`, `signature`.
 */
export function parseNote(input: string | Uint8Array): Note {
  const note = noteText(input);
  if (hasControl(note)) throw malformed("control");
  const split = note.lastIndexOf("\n\n");
  if (split < 0) throw malformed("no-signatures");
  const block = note.slice(split + 2);
  if (block === "") throw malformed("no-signatures");
  if (!block.endsWith("\n")) throw malformed("end");
  const lines = block.slice(0, -1).split("\n");
  if (lines.length > limits.noteSignaturesMax) throw malformed("signature-count");
  return { text: note.slice(0, split + 1), signatures: lines.map(parseSignatureLine) };
}

/**
 * Opens a note with the keys that the caller trusts. Signatures of other keys are ignored; every signature
 * of a known key must hold, and there must be one. Throws `note_key_ambiguous` when two different known
 * keys share name and key id.
 */
export function openNote(
  input: string | Uint8Array,
  verifiers: readonly NoteVerifier[],
  verify: VerifySignature,
): OpenedNote {
  const known = keysByName(verifiers);
  let note: Note;
  try {
    note = parseNote(input);
  } catch (error) {
    if (!isHoldfastError(error, "note_malformed")) throw error;
    return { status: "malformed", reason: String(error.details["reason"]) };
  }
  const message = utf8(note.text);
  const by = new Set<NoteVerifier>();
  const unknown: NoteSignature[] = [];
  for (const line of note.signatures) {
    const verifier = known.get(`${line.name}+${line.keyId}`);
    if (verifier === undefined) {
      unknown.push(line);
      continue;
    }
    const signature = signatureForPort(verifier.algorithm, line.signature);
    if (signature === undefined || !verify(verifier.algorithm, verifier.spki, message, signature))
      return { status: "bad-signature", name: line.name, keyId: line.keyId };
    by.add(verifier);
  }
  return by.size === 0
    ? { status: "unsigned" }
    : { status: "verified", text: note.text, by: [...by], unknown };
}

/** Signs a text with each signer and formats the note. Throws `note_malformed`. */
export function signNote(text: string, signers: readonly NoteSigner[]): string {
  const message = utf8(text);
  const signatures = signers.map((signer) => {
    const made = signer.sign(message);
    const signature = signer.algorithm === "ecdsa-p256" ? derFromP1363(made) : made;
    return { name: signer.name, keyId: signer.keyId, signature };
  });
  return formatNote(text, signatures);
}

/** A verifier for a key. Throws `vkey_malformed` when the name is none or the SPKI not of that algorithm. */
export function createNoteVerifier(crypto: Pick<Crypto, "sha256">, key: NoteKey): NoteVerifier {
  if (!isNoteName(key.name)) throw badKey("name");
  const { name, algorithm, spki } = key;
  return { name, algorithm, spki, keyId: noteKeyId(crypto, key) };
}

/** Key id of a key under a name, 8 hex digits, as the module header defines it. Throws `vkey_malformed`. */
export function noteKeyId(crypto: Pick<Crypto, "sha256">, key: NoteKey): string {
  const material = keyMaterial(key.algorithm, key.spki);
  const digest =
    key.algorithm === "ed25519"
      ? crypto.sha256(utf8(`${key.name}\n`), Uint8Array.of(typeByte.ed25519), material)
      : crypto.sha256(material);
  return hex(digest.subarray(0, 4));
}

/** Verifier key text: `<name>+<key id in hex>+<base64(type ‖ key)>`. Throws `vkey_malformed`. */
export function formatVkey(verifier: NoteVerifier): string {
  if (!isNoteName(verifier.name)) throw badKey("name");
  const material = keyMaterial(verifier.algorithm, verifier.spki);
  const key = base64(concat(Uint8Array.of(typeByte[verifier.algorithm]), material));
  return `${verifier.name}+${verifier.keyId}+${key}`;
}

/**
 * Reads a verifier key and checks its key id. Throws `vkey_malformed`, its details naming the `reason`:
 * `parts`, `name`, `base64`, `type`, `key`, `key-id`.
 */
export function parseVkey(crypto: Pick<Crypto, "sha256">, text: string): NoteVerifier {
  const name = text.slice(0, Math.max(0, text.indexOf("+")));
  const rest = text.slice(name.length);
  // Base64 may hold plus signs, so the text is cut from the left.
  if (rest[0] !== "+" || rest[9] !== "+") throw badKey("parts");
  const keyId = rest.slice(1, 9);
  const bytes = fromBase64(rest.slice(10));
  if (bytes === undefined) throw badKey("base64");
  const material = bytes.slice(1);
  const algorithm = algorithmOfType(bytes[0]);
  const spki = algorithm === "ed25519" ? concat(spkiPrefix.ed25519, material) : material;
  const verifier = createNoteVerifier(crypto, { name, algorithm, spki });
  if (verifier.keyId !== keyId) throw badKey("key-id");
  return verifier;
}

const typeByte = { ed25519: 0x01, "ecdsa-p256": 0x02 } as const;

/** What an SPKI of the algorithm starts with: RFC 8410 §4; RFC 5480 §2 with an uncompressed point. */
const spkiPrefix = {
  ed25519: Uint8Array.from([0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0]),
  "ecdsa-p256": Uint8Array.from([
    0x30, 0x59, 0x30, 0x13, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 3, 1, 7, 3, 0x42, 0, 4,
  ]),
} as const;
const spkiKeyBytes = { ed25519: 32, "ecdsa-p256": 64 } as const;

/** The key as key ids and vkeys hold it: the 32 bytes of Ed25519, the whole SPKI of ECDSA. */
function keyMaterial(algorithm: SignatureAlgorithm, spki: Bytes): Bytes {
  const prefix = spkiPrefix[algorithm];
  if (
    spki.length !== prefix.length + spkiKeyBytes[algorithm] ||
    !equalBytes(spki.subarray(0, prefix.length), prefix)
  )
    throw badKey("key");
  return algorithm === "ed25519" ? spki.slice(prefix.length) : spki;
}

function algorithmOfType(type: number | undefined): SignatureAlgorithm {
  if (type === typeByte.ed25519) return "ed25519";
  if (type === typeByte["ecdsa-p256"]) return "ecdsa-p256";
  throw badKey("type");
}

function signatureForPort(algorithm: SignatureAlgorithm, signature: Bytes): Bytes | undefined {
  if (algorithm === "ecdsa-p256") return p1363FromDer(signature);
  return signature.length === 64 ? signature : undefined;
}

function keysByName(verifiers: readonly NoteVerifier[]): ReadonlyMap<string, NoteVerifier> {
  const known = new Map<string, NoteVerifier>();
  for (const verifier of verifiers) {
    invariant(isNoteName(verifier.name), "a verifier has the name of a key");
    const id = `${verifier.name}+${verifier.keyId}`;
    const other = known.get(id);
    if (other === undefined) known.set(id, verifier);
    else if (!equalBytes(other.spki, verifier.spki))
      throw new HoldfastError("note_key_ambiguous", { key: verifier.keyId });
  }
  return known;
}

function noteText(input: string | Uint8Array): string {
  // Checked before decoding too, so that a huge input costs nothing.
  if (input.length > limits.noteBytesMax) throw malformed("size");
  if (typeof input === "string") {
    if (!input.isWellFormed()) throw malformed("utf8");
    // A UTF-16 code unit is at most three bytes.
    const mayExceed = input.length * 3 > limits.noteBytesMax;
    if (mayExceed && utf8(input).length > limits.noteBytesMax) throw malformed("size");
    return input;
  }
  try {
    return fromUtf8(input);
  } catch (cause) {
    throw malformed("utf8", cause);
  }
}

function parseSignatureLine(line: string): NoteSignature {
  const [dash, name, encoded, ...more] = line.split(" ");
  if (dash !== "—" || name === undefined || encoded === undefined || more.length > 0)
    throw malformed("signature-line");
  if (!isNoteName(name)) throw malformed("name");
  const bytes = fromBase64(encoded);
  if (bytes === undefined) throw malformed("base64");
  if (bytes.length < 5) throw malformed("signature");
  return { name, keyId: hex(bytes.subarray(0, 4)), signature: bytes.slice(4) };
}

/** ASCII control characters other than newline. */
function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 && code !== 0x0a) return true;
  }
  return false;
}

function malformed(reason: string, cause?: unknown): HoldfastError {
  return new HoldfastError("note_malformed", { reason }, cause === undefined ? {} : { cause });
}

function badKey(reason: string): HoldfastError {
  return new HoldfastError("vkey_malformed", { reason });
}
