/**
 * The first leaf of a server log that goes on for another one: an `epoch` statement, as JCS text.
 *
 *     {"v":1,"kind":"epoch","origin":"<host>/holdfast/<shard>/<log number>","size":812,"root":b64,
 *      "note":b64u,"events":640,"received":1760000000000,"node":"<dev of the node>"}
 *
 * It names the last checkpoint of the log before: origin, size, root, and SHA-256 of the note's text; and the last
 * position that an event had by then, where whoever lost the rest goes on to pull. It stands at index 0, so that a log can go on for one other log only and says so before anything else. A tenant that moves
 * between shards and a server that is restored both begin a log like this (docs/decisions/0015).
 */
import { fromBase64, fromBase64url } from "../std/bytes.ts";
import { isHoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { isNoteName } from "./note.ts";
import { parseServerLogOrigin } from "./server-key.ts";
import { isCount, malformed, readMembers } from "./statement-text.ts";

/** Which log a server log goes on for, and where that one ended. */
export interface EpochStatement {
  readonly v: 1;
  readonly kind: "epoch";
  /** Origin of the log before. */
  readonly origin: string;
  /** Leaves of its last checkpoint. */
  readonly size: number;
  /** Root at that size, base64. */
  readonly root: string;
  /** SHA-256 of that checkpoint's note, base64url. */
  readonly note: string;
  /** Last position that was given in the log before; 0: none. */
  readonly events: number;
  /** When the log began, UTC milliseconds of the server's clock. */
  readonly received: number;
  /** Device id of the server's node. */
  readonly node: string;
}

/** JCS text of an epoch statement. */
export function formatEpoch(statement: EpochStatement): string {
  return canonicalJson(statement);
}

/** Reads exactly what {@link formatEpoch} writes; anything else throws `server_leaf_malformed`. */
export function parseEpoch(text: string): EpochStatement {
  const fields = readMembers(text, 9);
  const { v, kind, origin, size, root, note, events, received, node } = fields;
  if (v !== 1) throw malformed("v");
  if (kind !== "epoch") throw malformed("kind");
  if (typeof origin !== "string" || !isNoteName(origin)) throw malformed("origin");
  if (parseServerLogOrigin(origin) === undefined) throw malformed("origin");
  // Every log begins with a leaf, so that none ends without one.
  if (!isCount(size) || size === 0) throw malformed("size");
  if (typeof root !== "string" || fromBase64(root)?.length !== 32) throw malformed("root");
  if (typeof note !== "string" || fromBase64url(note)?.length !== 32) throw malformed("note");
  if (!isCount(events)) throw malformed("events");
  if (!isCount(received)) throw malformed("received");
  if (typeof node !== "string" || !isNoteName(node)) throw malformed("node");
  return fields as unknown as EpochStatement;
}

/** The statement, if the text is one; else `undefined`. */
export function openEpochText(text: string): EpochStatement | undefined {
  try {
    return parseEpoch(text);
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) return undefined;
    throw error;
  }
}
