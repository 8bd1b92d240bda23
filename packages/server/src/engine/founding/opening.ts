/**
 * What a device log begins with: an `IncarnationOpened` header that names the key which signs the log. The first of
 * a device is authorised by its own name, the digest of its first key; a later one by its predecessor's key.
 */
import {
  base64url,
  type Bytes,
  checkPublicKey,
  createNoteVerifier,
  type Crypto,
  deviceId,
  deviceLogOrigin,
  fromBase64,
  type Header,
  HoldfastError,
  incarnationOpenedType,
  type IncarnationPub,
  isCurrentHeader,
  isHoldfastError,
  leafHash,
  noPrevious,
  openNote,
  parseCheckpoint,
  type Checkpoint,
  parseHeader,
  preAuthenticationEncoding,
  readIncarnationPub,
  successionPayloadType,
  successionStatement,
  utf8,
  verifySignature,
} from "@holdfast/core";
import type { DeviceLogRow } from "../server-store.ts";

/** An opening whose form and key are right; not yet whether anybody authorised it. */
export interface Opening {
  readonly text: string;
  readonly header: Header;
  readonly pub: IncarnationPub;
  readonly spki: Bytes;
  readonly leafBytes: Bytes;
  readonly leaf: string;
}

function wrong(part: string): HoldfastError {
  return new HoldfastError("opening_wrong", { part });
}

/** Reads an opening. Throws `opening_wrong` naming the part. */
export function readOpening(crypto: Crypto, text: string): Opening {
  const header = headerOf(text);
  const { type, seq, prev } = header;
  if (type !== incarnationOpenedType || seq !== 1 || prev !== noPrevious) throw wrong("place");
  const pub = readIncarnationPub(header.pub);
  const spki = pub === undefined ? undefined : fromBase64(pub.spki);
  if (pub === undefined || spki === undefined) throw wrong("pub");
  const problem = checkPublicKey(pub.alg, spki);
  if (problem !== undefined) throw wrong(`key ${problem}`);
  const leafBytes = leafHash(crypto, utf8(text));
  return { text, header, pub, spki, leafBytes, leaf: base64url(leafBytes) };
}

function headerOf(text: string): Header {
  try {
    const header = parseHeader(text);
    if (isCurrentHeader(header)) return header;
  } catch (error) {
    if (!isHoldfastError(error, "header_invalid")) throw error;
  }
  throw wrong("header");
}

/** Is the device named after this very key? Throws `opening_wrong`. */
export function checkSelfAuthorised(crypto: Crypto, opening: Opening): void {
  if (opening.pub.reason !== "first") throw wrong("reason");
  if (deviceId(crypto, opening.spki) !== opening.header.dev) throw wrong("device");
}

/** Did the predecessor's key hand over to this incarnation? Throws `opening_wrong`. */
export function checkSuccession(crypto: Crypto, opening: Opening, predecessor: DeviceLogRow): void {
  const { header, pub, spki } = opening;
  const signature = fromBase64(pub.sig ?? "");
  const statement = successionStatement({
    tenant: header.ten,
    device: header.dev,
    incarnation: header.inc,
    spki,
    predecessor: predecessor.incarnation,
    size: pub.size ?? 0,
    root: pub.root ?? "",
  });
  const message = preAuthenticationEncoding(successionPayloadType, statement);
  const { algorithm, spki: signer } = predecessor;
  if (signature === undefined || !verifySignature(crypto, algorithm, signer, message, signature)) {
    throw wrong("sig");
  }
}

/**
 * Opens a commit note of that device log. Throws `push_note_malformed` when it is no note of this log,
 * `push_signature_wrong` when its key did not sign it.
 */
export function openCommitNote(
  crypto: Crypto,
  log: { readonly tenant: string; readonly device: string; readonly incarnation: string },
  key: { readonly algorithm: "ed25519" | "ecdsa-p256"; readonly spki: Bytes },
  note: string,
): Checkpoint {
  const name = deviceLogOrigin(log);
  const verifier = createNoteVerifier(crypto, { name, algorithm: key.algorithm, spki: key.spki });
  const opened = openNote(note, [verifier], (...args) => verifySignature(crypto, ...args));
  if (opened.status === "malformed") {
    throw new HoldfastError("push_note_malformed", { part: opened.reason });
  }
  if (opened.status !== "verified") throw new HoldfastError("push_signature_wrong");
  let statement: Checkpoint;
  try {
    statement = parseCheckpoint(opened.text);
  } catch (cause) {
    throw new HoldfastError("push_note_malformed", { part: "statement" }, { cause });
  }
  if (statement.origin !== name) throw new HoldfastError("push_note_malformed", { part: "origin" });
  return statement;
}
