/**
 * Leaves of a server log: the server's statements about device logs, as JCS text. They name no person and no
 * tenant by name, so that witnesses may see them.
 *
 *     {"v":1,"kind":"receipt","origin":"<ten>/d/<dev>/<inc>","size":12,"root":b64,"note":b64u,
 *      "owed":[[4,6]],"received":1760000000000,"node":"<dev of the node>"}
 *
 * `note` is SHA-256 of the commit note's text. `owed` are half-open ranges of indices, at most
 * `owedRangesMax`; beyond that {count, hash} of the canonical list. `enrol` and `revoke` say at which size and
 * root a device log began to be taken or ended; `key` names a new checkpoint key; `epoch` the log that this one goes
 * on for (server-epoch.ts).
 */
import { base64url, type Bytes, fromBase64, fromBase64url, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import { parseDeviceLogOrigin } from "./checkpoint.ts";
import { isNoteName } from "./note.ts";
import { isCount, malformed, readMembers } from "./statement-text.ts";
import { checkInclusion, leafHash } from "./tree.ts";

/** Half-open ranges [from, to) of indices of a device log, ascending, apart from each other. */
export type IndexRanges = readonly (readonly [from: number, to: number])[];

/** The ranges themselves, or their digest where they are too many to list. */
export type Owed = IndexRanges | { readonly count: number; readonly hash: string };

/** What a leaf of a server log states. */
export type ServerLeafKind = "receipt" | "enrol" | "revoke" | "key" | "epoch";

/** What the server states about one device log. */
export interface DeviceStatement {
  readonly v: 1;
  readonly kind: "receipt" | "enrol" | "revoke";
  /** Origin of the device log. */
  readonly origin: string;
  /** Leaves of the device log that the statement is about; `enrol`: 1, the opening. */
  readonly size: number;
  /** Root at that size, base64. */
  readonly root: string;
  /** SHA-256 of the commit note's text, base64url. */
  readonly note: string;
  readonly owed: Owed;
  /** receivedAt, UTC milliseconds of the server's clock. */
  readonly received: number;
  /** Device id of the server's node. */
  readonly node: string;
}

/** A statement with its place in the server log. */
export interface ProvenLeaf {
  /** Exact JCS text. */
  readonly text: string;
  readonly index: number;
  /** Inclusion path in the tree of the checkpoint beside it. */
  readonly path: readonly Bytes[];
}

/** JCS text of a statement. */
export function formatStatement(statement: DeviceStatement): string {
  return canonicalJson(statement);
}

/** Reads exactly what {@link formatStatement} writes; anything else throws `server_leaf_malformed`. */
export function parseStatement(text: string): DeviceStatement {
  const fields = readMembers(text, 9);
  const { v, kind, origin, size, root, note, owed, received, node } = fields;
  if (v !== 1) throw malformed("v");
  if (kind !== "receipt" && kind !== "enrol" && kind !== "revoke") throw malformed("kind");
  if (typeof origin !== "string" || parseDeviceLogOrigin(origin) === undefined) {
    throw malformed("origin");
  }
  if (!isCount(size)) throw malformed("size");
  if (typeof root !== "string" || fromBase64(root)?.length !== 32) throw malformed("root");
  if (typeof note !== "string" || fromBase64url(note)?.length !== 32) throw malformed("note");
  if (!isOwed(owed, size)) throw malformed("owed");
  if (!isCount(received)) throw malformed("received");
  if (typeof node !== "string" || !isNoteName(node)) throw malformed("node");
  return fields as unknown as DeviceStatement;
}

/** Is the statement at its place in the server log of that size and root? Never throws. */
export function checkProvenLeaf(
  crypto: Pick<Crypto, "sha256">,
  proven: ProvenLeaf,
  log: { readonly size: number; readonly root: Uint8Array },
): boolean {
  const { index, path } = proven;
  const leaf = leafHash(crypto, utf8(proven.text));
  return checkInclusion(crypto, { leaf, index, path, size: log.size, root: log.root });
}

/** SHA-256 of a commit note's text, base64url: how statements name it. */
export function noteDigest(crypto: Pick<Crypto, "sha256">, note: string): string {
  return base64url(crypto.sha256(utf8(note)));
}

/** Ranges as a statement carries them: themselves while they are few. */
export function owedOf(crypto: Pick<Crypto, "sha256">, ranges: IndexRanges): Owed {
  if (ranges.length <= limits.owedRangesMax) return ranges;
  const count = ranges.reduce((sum, [from, to]) => sum + to - from, 0);
  return { count, hash: base64url(crypto.sha256(utf8(canonicalJson(ranges)))) };
}

/** Do these ranges make that statement? */
export function matchesOwed(
  crypto: Pick<Crypto, "sha256">,
  owed: Owed,
  ranges: IndexRanges,
): boolean {
  return canonicalJson(owed) === canonicalJson(owedOf(crypto, ranges));
}

/** Are these ranges ascending, apart, and below `size`? */
export function isIndexRanges(value: unknown, size: number): value is IndexRanges {
  if (!Array.isArray(value)) return false;
  let end = -1;
  for (const range of value as readonly unknown[]) {
    if (!Array.isArray(range) || range.length !== 2) return false;
    const [from, to] = range as readonly unknown[];
    if (!isCount(from) || !isCount(to) || from <= end || to <= from || to > size) return false;
    end = to;
  }
  return true;
}

function isOwed(value: unknown, size: number): value is Owed {
  if (isIndexRanges(value, size)) return value.length <= limits.owedRangesMax;
  if (typeof value !== "object" || value === null) return false;
  const { count, hash } = value as Readonly<Record<string, unknown>>;
  if (Object.keys(value).length !== 2 || !isCount(count)) return false;
  return typeof hash === "string" && fromBase64url(hash)?.length === 32;
}
