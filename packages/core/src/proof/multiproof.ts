/**
 * Inclusion proofs of several leaves at once, shared nodes only once.
 *
 * The tree is walked from the root, left before right; of every largest subtree without a proven leaf the root
 * is listed, in that order. The checker walks the same way, so that neither indices of nodes nor lengths need
 * to be said. A run of neighbours costs hardly more than one path.
 */
import type { Bytes } from "../std/bytes.ts";
import { equalBytes } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import { hashBytes, type HashOf, nodeHash, rootOverSpan, type TreeHash } from "./tree.ts";

/** One leaf hash at its place. */
export interface PlacedLeaf {
  readonly index: number;
  readonly leaf: Uint8Array;
}

/** What {@link checkInclusions} judges; leaves in order of index, each once. */
export interface InclusionsClaim {
  readonly leaves: readonly PlacedLeaf[];
  readonly size: number;
  readonly root: Uint8Array;
  readonly hashes: readonly Uint8Array[];
}

/** Hashes that prove these indices (ascending, each once, below `size`) in the tree of `size` leaves. */
export function proveInclusions(
  crypto: TreeHash,
  indices: readonly number[],
  size: number,
  hashOf: HashOf,
): readonly Bytes[] {
  invariant(isAscending(indices, size), "proven leaves are in the tree, in order");
  const hashes: Bytes[] = [];
  const walk = (from: number, count: number, first: number, end: number): void => {
    if (first === end) {
      hashes.push(rootOverSpan(crypto, from, count, hashOf));
      return;
    }
    if (count === 1) return;
    const left = leftCount(count);
    const middle = splitAt(indices, first, end, from + left);
    walk(from, left, first, middle);
    walk(from + left, count - left, middle, end);
  };
  if (size > 0) walk(0, size, 0, indices.length);
  return hashes;
}

/** Are all those leaves in the tree with that size and root? Never throws. */
export function checkInclusions(crypto: TreeHash, claim: InclusionsClaim): boolean {
  const { leaves, size, root, hashes } = claim;
  const indices = leaves.map(({ index }) => index);
  if (!Number.isSafeInteger(size) || size < 1 || !isAscending(indices, size)) return false;
  if (![...hashes, ...leaves.map(({ leaf }) => leaf)].every((hash) => hash.length === hashBytes)) {
    return false;
  }
  let next = 0;
  const walk = (
    from: number,
    count: number,
    first: number,
    end: number,
  ): Uint8Array | undefined => {
    if (first === end) return hashes[next++];
    if (count === 1) return leaves[first]?.leaf;
    const left = leftCount(count);
    const middle = splitAt(indices, first, end, from + left);
    const before = walk(from, left, first, middle);
    const after = walk(from + left, count - left, middle, end);
    return before === undefined || after === undefined
      ? undefined
      : nodeHash(crypto, before, after);
  };
  const computed = walk(0, size, 0, leaves.length);
  return computed !== undefined && next === hashes.length && equalBytes(computed, root);
}

function isAscending(indices: readonly number[], size: number): boolean {
  let before = -1;
  for (const index of indices) {
    if (!Number.isSafeInteger(index) || index <= before || index >= size) return false;
    before = index;
  }
  return true;
}

/** First place in [first, end) whose index is not below `index`. */
function splitAt(indices: readonly number[], first: number, end: number, index: number): number {
  let low = first;
  let high = end;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((indices[middle] as number) < index) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** RFC 6962's k: the largest power of two below `count`. */
function leftCount(count: number): number {
  let left = 1;
  while (left * 2 < count) left *= 2;
  return left;
}
