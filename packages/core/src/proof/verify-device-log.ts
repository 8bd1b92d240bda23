/**
 * Verifies one device log: who signs it and by whose authority, its links, and its tree against every note.
 */
import { type Header, noPrevious } from "../event/event.ts";
import { isCurrentHeader, type NewerHeader } from "../event/header.ts";
import { base64, base64url, type Bytes, equalBytes, fromBase64, utf8 } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { SignatureAlgorithm } from "../std/ports.ts";
import { deviceLogOrigin, parseCheckpoint } from "./checkpoint.ts";
import { preAuthenticationEncoding } from "./dsse.ts";
import {
  type EventRow,
  type LogVerifyDeps,
  type NoteRow,
  pageRows,
  type Report,
} from "./log-source.ts";
import { createNoteVerifier, openNote, parseNote } from "./note.ts";
import { checkPublicKey } from "./public-key.ts";
import { verifySignature } from "./signature.ts";
import { createTreeBuilder } from "./tree.ts";

export interface DeviceLogWalk {
  readonly commits: number;
  readonly key: { readonly algorithm: SignatureAlgorithm; readonly spki: Bytes } | undefined;
  /** Leaf of the first event, base64url. */
  readonly first?: string | undefined;
  /** Root hash at a size where a commit ended, base64. */
  rootAt(size: number): string | undefined;
  /** Checks the link to the event before and, for the first event, the opening. */
  link(row: EventRow, header: Header | NewerHeader): void;
  /** Adds the leaf, and compares the tree with the notes that end there. */
  append(row: EventRow, leaf: Bytes): void;
  /** Compares the end of the log with its notes, and checks the newest signature. */
  finish(): void;
}

/** Finds the walk of another incarnation of the same device. */
export type FindWalk = (incarnation: string) => DeviceLogWalk | undefined;

export function walkDeviceLog(
  deps: LogVerifyDeps,
  report: Report,
  names: { readonly device: string; readonly incarnation: string },
  find: FindWalk,
): DeviceLogWalk {
  const { crypto, source } = deps;
  const { device, incarnation } = names;
  const tree = createTreeBuilder(crypto);
  const roots = new Map([[0, base64(crypto.sha256())]]);
  let previous = noPrevious;
  let ahead: NoteRow[] = [];
  let lastNote: NoteRow | undefined;
  let key: DeviceLogWalk["key"];
  let commits = 0;
  let first: string | undefined;

  function checkLinks(header: Header | NewerHeader, object: string): void {
    if (header.seq !== tree.size + 1) {
      report("sequence_gap", object, `expected sequence ${tree.size + 1}`);
    } else if (header.prev !== previous) {
      report("link_broken", object, "prev is not the leaf before");
    }
  }

  /** Compares the tree with every note at its size. */
  function checkNotes(): void {
    for (;;) {
      if (ahead.length === 0) {
        ahead = [...source.notes(device, incarnation, lastNote?.size ?? 0, pageRows)];
      }
      const [next] = ahead;
      if (next === undefined || next.size > tree.size) return;
      ahead.shift();
      lastNote = next;
      commits += 1;
      const root = base64(tree.root());
      roots.set(next.size, root);
      checkNote(next, root);
    }
  }

  function checkNote(row: NoteRow, root: string): void {
    const object = `commit ${row.size} of ${incarnation}`;
    if (row.size !== tree.size) report("commit_misplaced", object, "no event ends there");
    if (row.root !== root) report("root_wrong", object, "the events give another root");
    try {
      const statement = parseCheckpoint(parseNote(row.note).text);
      const agrees =
        statement.origin === deviceLogOrigin({ tenant: deps.tenant, ...names }) &&
        statement.size === row.size &&
        base64(statement.root) === root;
      if (!agrees) report("note_wrong", object, "the note says something else than the events");
    } catch {
      report("note_malformed", object, "the note is not a signed checkpoint");
      return;
    }
    if (deps.allNotes) checkSignature(row);
  }

  function checkSignature(row: NoteRow): void {
    if (key === undefined) return;
    const object = `commit ${row.size} of ${incarnation}`;
    try {
      const name = deviceLogOrigin({ tenant: deps.tenant, ...names });
      const verifier = createNoteVerifier(crypto, { name, ...key });
      const opened = openNote(row.note, [verifier], (...signed) =>
        verifySignature(crypto, ...signed),
      );
      if (opened.status === "verified") return;
      report("signature_wrong", object, `the note is ${opened.status}`);
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      report("signature_wrong", object, `no key can have signed it: ${error.code}`);
    }
  }

  return {
    get commits() {
      return commits;
    },
    get key() {
      return key;
    },
    rootAt: (size) => roots.get(size),
    link(row, header) {
      checkLinks(header, `event ${row.position}`);
      if (header.seq === 1) key = checkOpening(deps, report, row, header, find);
    },
    get first() {
      return first;
    },
    append(row, leaf) {
      if (tree.size === 0) first = row.leaf;
      tree.append(leaf);
      previous = row.leaf;
      checkNotes();
    },
    finish() {
      const attested = lastNote?.size ?? 0;
      if (attested < tree.size) {
        report("commit_missing", `sequence ${attested + 1} of ${incarnation}`, "no note covers it");
      }
      const beyond = source.notes(device, incarnation, tree.size, 1)[0];
      if (beyond !== undefined) {
        const object = `sequence ${tree.size + 1} of ${incarnation}`;
        report("tail_missing", object, `a note attests ${beyond.size} events`);
      }
      if (lastNote !== undefined && !deps.allNotes) checkSignature(lastNote);
    },
  };
}

/** The first event of a device log says whose key signs it. */
function checkOpening(
  deps: LogVerifyDeps,
  report: Report,
  row: EventRow,
  header: Header | NewerHeader,
  find: FindWalk,
): DeviceLogWalk["key"] {
  const object = `event ${row.position}`;
  if (!isCurrentHeader(header)) {
    report("opening_newer", object, "the key that signs this log cannot be read");
    return undefined;
  }
  const { pub } = header;
  const spki = bytesOf(pub?.["spki"]);
  const algorithm = pub?.["alg"];
  const readable = algorithm === "ed25519" || algorithm === "ecdsa-p256";
  if (header.type !== "IncarnationOpened" || spki === undefined || !readable) {
    report("opening_missing", object, "a device log begins with IncarnationOpened");
    return undefined;
  }
  if (checkPublicKey(algorithm, spki) !== undefined) {
    report("key_refused", object, "the signing key is outside the signature profile");
    return undefined;
  }
  // Nobody vouches for another device's log until it is pulled with its receipt: it is not taken on trust.
  const expected = deps.ownKey(header.inc);
  if (row.own !== 1 || expected === undefined || !equalBytes(expected, spki)) {
    report("key_foreign", object, "the signing key is not the one in the keyring");
  }
  if (pub?.["predecessor"] !== undefined) {
    checkSuccession(deps, report, header, spki, find);
  } else if (base64url(deps.crypto.sha256(spki)).slice(0, 22) !== header.dev) {
    report("device_wrong", object, "the device is not the digest of its first key");
  }
  return { algorithm, spki };
}

/** A later incarnation is authorised by the key of the one before, over its size and root. */
function checkSuccession(
  deps: LogVerifyDeps,
  report: Report,
  header: Header,
  spki: Uint8Array,
  find: FindWalk,
): void {
  const object = `sequence 1 of ${header.inc}`;
  const { predecessor, size, root, sig } = header.pub ?? {};
  const before = typeof predecessor === "string" ? find(predecessor) : undefined;
  if (before?.key === undefined) {
    report("predecessor_missing", object, "the predecessor's log is not here");
    return;
  }
  if (before.rootAt(Number(size)) !== root) {
    report("predecessor_wrong", object, "size and root are not the predecessor's");
  }
  const { dev, inc, ten } = header;
  const statement = canonicalJson({ dev, inc, predecessor, root, size, spki: base64(spki), ten });
  const signed = preAuthenticationEncoding(successionType, utf8(statement));
  const { algorithm, spki: signer } = before.key;
  const signature = bytesOf(sig) ?? new Uint8Array(0);
  if (!verifySignature(deps.crypto, algorithm, signer, signed, signature)) {
    report("succession_forged", object, "the predecessor's key did not sign the succession");
  }
}

function bytesOf(value: unknown): Bytes | undefined {
  return typeof value === "string" ? fromBase64(value) : undefined;
}

const successionType = "application/vnd.holdfast.succession+json";
