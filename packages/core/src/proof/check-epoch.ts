/** Checks how one server log goes on for another: the epoch statement, and what is held of the log before. */
import { base64, type Bytes, equalBytes } from "../std/bytes.ts";
import type { Crypto } from "../std/ports.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { openEpochText } from "./server-epoch.ts";
import { openSignedCheckpoint, parseServerLogOrigin, type PublicKey } from "./server-key.ts";
import { checkProvenLeaf, noteDigest, type ProvenLeaf } from "./server-leaf.ts";
import { checkConsistency } from "./tree.ts";

/** What is shown of the step from one log to the next. */
export interface ShownEpoch {
  readonly epoch: ProvenLeaf;
  /** A checkpoint of the next log whose signature was checked. */
  readonly next: Checkpoint;
  /** Note of the checkpoint that the statement names. */
  readonly last: string;
}

/**
 * The last checkpoint of the log before, when the statement stands at index 0 of the next log, names exactly that
 * checkpoint, and both are logs of one server under this key; else `undefined`. Never throws.
 */
export function openEpoch(
  crypto: Crypto,
  key: PublicKey,
  { epoch, next, last }: ShownEpoch,
): Checkpoint | undefined {
  const statement = openEpochText(epoch.text);
  const checkpoint = openSignedCheckpoint(crypto, last, key);
  if (statement === undefined || checkpoint === undefined) return undefined;
  const names =
    statement.origin === checkpoint.origin &&
    statement.size === checkpoint.size &&
    statement.root === base64(checkpoint.root) &&
    statement.note === noteDigest(crypto, last);
  const first = epoch.index === 0 && checkProvenLeaf(crypto, epoch, next);
  const goesOn = logStep(checkpoint.origin, next.origin) !== undefined;
  return names && first && goesOn ? checkpoint : undefined;
}

/**
 * What a step from one origin to another is: `restored` goes on in the same shard with a later log number, `moved`
 * in another shard of the same server. `undefined`: neither.
 */
export function logStep(from: string, to: string): "moved" | "restored" | undefined {
  const before = parseServerLogOrigin(from);
  const after = parseServerLogOrigin(to);
  if (before === undefined || after === undefined) return undefined;
  if (before.shard === after.shard) return after.log > before.log ? "restored" : undefined;
  return hostOf(before.shard) === hostOf(after.shard) ? "moved" : undefined;
}

/** Is `last` the tree of `held`, or a later one that contains it? */
export function endsAfter(
  crypto: Pick<Crypto, "sha256">,
  held: { readonly size: number; readonly root: Uint8Array },
  last: { readonly size: number; readonly root: Uint8Array },
  path: readonly Bytes[],
): boolean {
  if (held.size === last.size) return path.length === 0 && equalBytes(held.root, last.root);
  return checkConsistency(crypto, {
    oldSize: held.size,
    oldRoot: Uint8Array.from(held.root),
    newSize: last.size,
    newRoot: Uint8Array.from(last.root),
    path,
  });
}

function hostOf(shard: string): string {
  return shard.slice(0, shard.indexOf("/"));
}
