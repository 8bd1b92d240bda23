/**
 * Verifies the log of another installation from what was pulled with it: events with gaps, the notes that
 * prove them, the links between these notes, and what the server stated about them. The log is vouched for by
 * its enrolment leaf and every note by a receipt; nothing is taken on the server's word that a key of the
 * device could have signed.
 */
import { type Header, noPrevious } from "../event/event.ts";
import { isCurrentHeader, type NewerHeader } from "../event/header.ts";
import { base64, base64url, type Bytes, fromBase64, fromBase64url, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { deviceLogOrigin } from "./checkpoint.ts";
import { preAuthenticationEncoding } from "./dsse.ts";
import {
  type LogVerifyDeps,
  type NoteRow,
  pageRows,
  type ProofRow,
  type Report,
  type SyncRows,
} from "./log-source.ts";
import { checkInclusions } from "./multiproof.ts";
import { openSignedCheckpoint, type PublicKey, publicKeyOf } from "./server-key.ts";
import { type DeviceStatement, noteDigest } from "./server-leaf.ts";
import { verifySignature } from "./signature.ts";
import { checkConsistency } from "./tree.ts";
import type { DeviceLogWalk, FindWalk } from "./verify-device-log.ts";
import { hashesOf, type ServerLogWalk } from "./verify-server-log.ts";

/** A note whose signature holds. */
interface SignedNote {
  readonly size: number;
  readonly root: Bytes;
  readonly digest: string;
}

interface HeldEvent {
  readonly position: number;
  readonly leaf: Bytes;
}

const successionType = "application/vnd.holdfast.succession+json";

/** A walk over one foreign log; events come in order of position, in any order of the log. */
export function walkForeignLog(
  deps: LogVerifyDeps & { readonly sync: SyncRows; readonly serverLog: ServerLogWalk },
  report: Report,
  names: { readonly device: string; readonly incarnation: string },
  find: FindWalk,
): DeviceLogWalk {
  const { crypto, source, sync, serverLog } = deps;
  const { device, incarnation } = names;
  const origin = deviceLogOrigin({ tenant: deps.tenant, ...names });
  const held = new Map<number, HeldEvent>();
  const previous = new Map<number, string>();
  const unread = new Map<number, Bytes>();
  const notes = new Map<number, SignedNote>();
  let opening: Header | undefined;
  let key: PublicKey | undefined;
  let index = 0;

  /** The key that signs the log, if the opening is one. */
  function readOpening(header: Header): void {
    opening = header;
    const spki = header.pub?.["spki"];
    const read = typeof spki === "string" ? publicKeyOf(spki) : undefined;
    const object = `log ${incarnation}`;
    if (header.type !== "IncarnationOpened" || read?.algorithm !== header.pub?.["alg"]) {
      report("opening_missing", object, "a device log begins with IncarnationOpened");
      return;
    }
    key = read;
  }

  function checkNote(row: NoteRow, signer: PublicKey): SignedNote | undefined {
    const object = `commit ${row.size} of ${incarnation}`;
    const signed = openSignedCheckpoint(crypto, row.note, signer);
    if (signed === undefined) {
      report("signature_wrong", object, "the log's key did not sign the note");
      return undefined;
    }
    if (signed.origin !== origin || signed.size !== row.size || base64(signed.root) !== row.root) {
      report("note_wrong", object, "the note says something else than its row");
      return undefined;
    }
    return { size: row.size, root: signed.root, digest: noteDigest(crypto, row.note) };
  }

  function checkNotes(signer: PublicKey): void {
    const links = new Map(sync.links(device, incarnation).map((link) => [link.size, link]));
    let before: SignedNote | undefined;
    for (let after = 0; ;) {
      const rows = source.notes(device, incarnation, after, pageRows);
      for (const row of rows) {
        const note = checkNote(row, signer);
        if (note === undefined) continue;
        notes.set(note.size, note);
        if (before !== undefined) checkLink(before, note, links.get(note.size));
        before = note;
      }
      const last = rows.at(-1);
      if (last === undefined) return;
      after = last.size;
    }
  }

  function checkLink(
    before: SignedNote,
    note: SignedNote,
    link: { readonly before: number; readonly path: Uint8Array } | undefined,
  ): void {
    const path = hashesOf(link?.path ?? new Uint8Array(1));
    const joined =
      link?.before === before.size &&
      path !== undefined &&
      checkConsistency(crypto, {
        oldSize: before.size,
        oldRoot: before.root,
        newSize: note.size,
        newRoot: note.root,
        path,
      });
    const object = `commit ${note.size} of ${incarnation}`;
    if (!joined) report("note_unlinked", object, "it does not continue the note before");
  }

  /** The enrolment vouches for the opening, receipts for the notes. */
  function checkStatements(): void {
    const stated: DeviceStatement[] = [];
    const rows = sync.serverLeaves(device, incarnation);
    serverLog.checkLost(rows, `log ${incarnation}`);
    for (const row of rows) {
      const object = `${row.kind} ${row.size} of ${incarnation}`;
      const statement = serverLog.statement(row, object);
      if (statement === undefined) continue;
      if (statement.origin !== origin) report("receipt_wrong", object, "it is of another log");
      else stated.push(statement);
    }
    const first = held.get(0);
    const isEnrolled = stated.some(
      ({ kind, size, root }) =>
        kind === "enrol" && size === 1 && first !== undefined && root === base64(first.leaf),
    );
    if (!isEnrolled) report("key_foreign", `log ${incarnation}`, "nobody vouches for its key");
    for (const { size, root, digest } of notes.values()) {
      const isReceipted = stated.some(
        (each) =>
          each.kind === "receipt" &&
          each.size === size &&
          each.root === base64(root) &&
          each.note === digest,
      );
      const object = `commit ${size} of ${incarnation}`;
      if (!isReceipted) report("receipt_missing", object, "the server did not receipt it");
    }
  }

  function checkProofs(): void {
    // Their text is not here; what is beside them in a proof is proven with their leaves.
    for (const { index: at, leaf } of sync.newer(device, incarnation)) {
      const read = fromBase64url(leaf);
      if (read?.length === 32) unread.set(at, read);
    }
    const proven = new Set<number>();
    for (const row of sync.proofs(device, incarnation)) {
      const indices = provenIndices(row);
      if (indices === undefined) {
        report("inclusion_wrong", `proof ${row.size} of ${incarnation}`, "it does not hold");
      } else for (const each of indices) proven.add(each);
    }
    for (const [at, { position }] of held) {
      if (proven.has(at)) continue;
      report("event_unproven", `event ${position}`, "no proof that is held covers it");
    }
  }

  /** The indices that a stored proof proves; `undefined` when it does not hold. */
  function provenIndices(row: ProofRow): readonly number[] | undefined {
    const note = notes.get(row.size);
    const hashes = hashesOf(row.hashes);
    const indices = readIndices(row.indices);
    if (note === undefined || hashes === undefined || indices === undefined) return undefined;
    const leaves = indices.flatMap((each) => {
      const leaf = held.get(each)?.leaf ?? unread.get(each);
      return leaf === undefined ? [] : [{ index: each, leaf }];
    });
    if (leaves.length !== indices.length) return undefined;
    const { size, root } = note;
    return checkInclusions(crypto, { leaves, size, root, hashes }) ? indices : undefined;
  }

  function checkLinks(): void {
    for (const [at, prev] of previous) {
      const before = at === 0 ? noPrevious : held.get(at - 1)?.leaf;
      const expected = before instanceof Uint8Array ? base64url(before) : before;
      if (expected === undefined || expected === prev) continue;
      const object = `event ${held.get(at)?.position ?? 0}`;
      report("link_broken", object, "prev is not the leaf before");
    }
  }

  return {
    get commits() {
      return notes.size;
    },
    get key() {
      return key === undefined ? undefined : { ...key, spki: Uint8Array.from(key.spki) };
    },
    rootAt(size) {
      const note = notes.get(size);
      return note === undefined ? undefined : base64(note.root);
    },
    link(_, header: Header | NewerHeader) {
      index = header.seq - 1;
      previous.set(index, header.prev);
      if (index === 0 && isCurrentHeader(header)) readOpening(header);
    },
    append(row, leaf) {
      // The column, where the header cannot be read.
      if (row.sequence !== index + 1) index = row.sequence - 1;
      held.set(index, { position: row.position, leaf });
    },
    finish() {
      const object = `log ${incarnation}`;
      if (deps.ownKey(incarnation) !== undefined) {
        report("log_disowned", object, "it is signed with a key of this store's keyring");
      }
      if (opening === undefined || key === undefined) {
        if (opening === undefined) report("opening_missing", object, "its opening is not here");
        return;
      }
      checkAuthority({ crypto, sync, report, find }, opening, key);
      checkNotes(key);
      checkStatements();
      checkProofs();
      checkLinks();
    },
  };
}

/** On whose authority the key signs: its own, its predecessor's, or the server's. */
function checkAuthority(
  parts: {
    readonly crypto: LogVerifyDeps["crypto"];
    readonly sync: SyncRows;
    readonly report: Report;
    readonly find: FindWalk;
  },
  header: Header,
  signer: PublicKey,
): void {
  const { crypto, sync, report, find } = parts;
  const object = `log ${header.inc}`;
  const { predecessor, size, root, sig, spki } = header.pub ?? {};
  if (predecessor === undefined) {
    if (base64url(crypto.sha256(signer.spki)).slice(0, 22) !== header.dev) {
      report("device_wrong", object, "the device is not the digest of its first key");
    }
    return;
  }
  const before = typeof predecessor === "string" ? find(predecessor)?.key : undefined;
  // Where the predecessor is not here, the enrolment leaf stands for the key.
  if (before === undefined) return;
  const { dev, inc, ten } = header;
  const statement = canonicalJson({ dev, inc, predecessor, root, size, spki, ten });
  const message = preAuthenticationEncoding(successionType, utf8(statement));
  const signature = (typeof sig === "string" ? fromBase64(sig) : undefined) ?? new Uint8Array(0);
  const signers = [before, publicKeyOf(sync.server()?.key ?? "")];
  const holds = signers.some(
    (each) =>
      each !== undefined && verifySignature(crypto, each.algorithm, each.spki, message, signature),
  );
  if (!holds) report("succession_forged", object, "neither predecessor nor server signed it");
}

function readIndices(text: string): readonly number[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!Array.isArray(value)) return undefined;
    const indices = value as readonly unknown[];
    return indices.every((each): each is number => Number.isSafeInteger(each))
      ? indices
      : undefined;
  } catch {
    return undefined;
  }
}
