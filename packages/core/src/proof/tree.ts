/**
 * The Merkle tree of RFC 6962 §2.1 over SHA-256: append, root, inclusion and consistency proofs.
 *
 * - A **leaf** is always the 32-byte leaf hash, SHA-256(0x00 ‖ entry); {@link leafHash} makes one. An inner
 *   node is SHA-256(0x01 ‖ left ‖ right). The root of the empty tree is SHA-256 of nothing.
 * - A **compact range** is all that appending needs: the roots of the perfect subtrees that a tree of that
 *   size consists of, largest first. It holds at most 53 hashes.
 * - *Prove* reads nodes through a {@link HashOf} that the caller supplies (`tiles.ts` has one over stored
 *   leaves); *check* needs no storage, takes anything and answers true or false.
 *
 * Sizes and indices go up to 2^53−1, so all index arithmetic is on doubles: no bit operators.
 *
 * ```ts
 * const tree = createTreeBuilder(crypto);
 * for (const entry of entries) tree.append(leafHash(crypto, entry));
 * const path = proveInclusion(crypto, 2, tree.size, hashOf);
 * checkInclusion(crypto, { leaf, index: 2, size: tree.size, root: tree.root(), path }); // true
 * ```
 */
import { type Bytes, equalBytes } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";

/** The one primitive that trees need. */
export type TreeHash = Pick<Crypto, "sha256">;

/** Bytes of every hash of a tree. */
export const hashBytes = 32;

/** Leaves of one tile: the store keeps one row per complete tile (C2SP tlog-tiles uses the same width). */
export const tileLeaves = 256;

/** Root of the perfect subtree over leaves [index · 2^level, (index + 1) · 2^level). */
export type HashOf = (level: number, index: number) => Bytes;

/** A tree of `size` leaves as the roots of its perfect subtrees, largest (leftmost) first. */
export interface CompactRange {
  readonly size: number;
  readonly hashes: readonly Bytes[];
}

/** The tree without leaves. */
export const emptyRange: CompactRange = { size: 0, hashes: [] };

const leafPrefix = Uint8Array.of(0);
const nodePrefix = Uint8Array.of(1);

/** Leaf hash of an entry: SHA-256(0x00 ‖ entry), RFC 6962 §2.1. */
export function leafHash(crypto: TreeHash, entry: Uint8Array): Bytes {
  return crypto.sha256(leafPrefix, entry);
}

/** Hash of an inner node: SHA-256(0x01 ‖ left ‖ right), RFC 6962 §2.1. Both sides are 32 bytes. */
export function nodeHash(crypto: TreeHash, left: Uint8Array, right: Uint8Array): Bytes {
  return crypto.sha256(nodePrefix, left, right);
}

/** Does a value that came from outside (disk, wire) have the form of a compact range? */
export function isCompactRange(range: CompactRange): boolean {
  if (!isCount(range.size)) return false;
  let subtrees = 0;
  for (let left = range.size; left > 0; left = Math.floor(left / 2)) subtrees += left % 2;
  return range.hashes.length === subtrees && range.hashes.every(isHash);
}

/** The range one leaf longer. `leaf` is a leaf hash. For many leaves use {@link createTreeBuilder}. */
export function appendLeaf(crypto: TreeHash, range: CompactRange, leaf: Bytes): CompactRange {
  const builder = createTreeBuilder(crypto, range);
  builder.append(leaf);
  return builder.range();
}

/** Root hash of the tree that a range stands for. */
export function rootOf(crypto: TreeHash, range: CompactRange): Bytes {
  let root = range.hashes.at(-1);
  if (root === undefined) return crypto.sha256();
  for (let i = range.hashes.length - 2; i >= 0; i--)
    root = nodeHash(crypto, range.hashes[i] as Bytes, root);
  return root.slice();
}

/** A growing tree. Its state is the compact range; a caller whose commit fails drops it and starts again. */
export interface TreeBuilder {
  /** Leaves so far. */
  readonly size: number;
  /** Append one leaf hash (32 bytes; kept by reference, not copied). */
  append(leaf: Bytes): void;
  root(): Bytes;
  range(): CompactRange;
}

/** One input buffer for all inner nodes of builders: the port hashes one part faster than three. */
const node = new Uint8Array(1 + 2 * hashBytes);
node[0] = 1;

/**
 * A mutable tree that starts from `range`. `tileDone` is told the root of every tile of 256 leaves
 * completed by an append: what the store keeps for {@link HashOf} (see `tiles.ts`).
 */
export function createTreeBuilder(
  crypto: TreeHash,
  range: CompactRange = emptyRange,
  tileDone?: (tile: number, root: Bytes) => void,
): TreeBuilder {
  invariant(isCompactRange(range), "a compact range has one hash per set bit of its size");
  const hashes = [...range.hashes];
  let size = range.size;
  function append(leaf: Bytes): void {
    invariant(leaf.length === hashBytes, "a leaf is a hash of 32 bytes");
    invariant(size < Number.MAX_SAFE_INTEGER, "a tree has at most 2^53-1 leaves");
    let hash = leaf;
    let level = 0;
    for (let left = size; left % 2 === 1; left = (left - 1) / 2) {
      node.set(hashes.pop() as Bytes, 1);
      node.set(hash, 1 + hashBytes);
      hash = crypto.sha256(node);
      level += 1;
      if (level === 8) tileDone?.((size + 1) / tileLeaves - 1, hash);
    }
    hashes.push(hash);
    size += 1;
  }

  return {
    get size() {
      return size;
    },
    append,
    root: () => rootOf(crypto, { size, hashes }),
    range: () => ({ size, hashes: [...hashes] }),
  };
}

/**
 * Inclusion proof of leaf `index` in the tree of `size` leaves: PATH(m, D[n]) of RFC 6962 §2.1.1, from the
 * leaf upwards. `index` must be below `size` (anything else is a bug of the caller).
 */
export function proveInclusion(
  crypto: TreeHash,
  index: number,
  size: number,
  hashOf: HashOf,
): readonly Bytes[] {
  invariant(isCount(size) && isCount(index) && index < size, "a proven leaf is in the tree");
  const path: Bytes[] = [];
  let from = 0;
  let count = size;
  while (count > 1) {
    const { leaves, level } = leftPart(count);
    if (index < from + leaves) {
      path.push(rootOverSpan(crypto, from + leaves, count - leaves, hashOf));
      count = leaves;
    } else {
      path.push(hashOf(level, from / leaves));
      from += leaves;
      count -= leaves;
    }
  }
  return path.reverse();
}

/**
 * What {@link checkInclusion} judges: a leaf hash, its place, the tree and the path between them. Size and
 * root must come from one signed checkpoint: a root does not commit to its size, and a path may hold for
 * several sizes.
 */
export interface InclusionClaim {
  readonly leaf: Uint8Array;
  readonly index: number;
  readonly size: number;
  readonly root: Uint8Array;
  readonly path: readonly Uint8Array[];
}

/** Is the leaf at that index of the tree with that size and root? RFC 9162 §2.1.3.2. Never throws. */
export function checkInclusion(crypto: TreeHash, claim: InclusionClaim): boolean {
  const { leaf, index, size, root, path } = claim;
  if (!isCount(size) || !isCount(index) || index >= size) return false;
  if (!isHash(leaf) || !path.every(isHash)) return false;
  let at = index;
  let last = size - 1;
  let hash = leaf;
  for (const sibling of path) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(crypto, sibling, hash);
      // On the right border, levels without a sibling are skipped.
      while (at % 2 === 0 && at !== 0) {
        at /= 2;
        last = Math.floor(last / 2);
      }
    } else {
      hash = nodeHash(crypto, hash, sibling);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && equalBytes(hash, root);
}

/**
 * Consistency proof between the trees of `oldSize` and `newSize` leaves: PROOF(m, D[n]) of RFC 6962 §2.1.2.
 * 0 < oldSize ≤ newSize (anything else is a bug of the caller); equal sizes need no hashes.
 */
export function proveConsistency(
  crypto: TreeHash,
  oldSize: number,
  newSize: number,
  hashOf: HashOf,
): readonly Bytes[] {
  invariant(isCount(oldSize) && isCount(newSize), "tree sizes are whole numbers below 2^53");
  invariant(
    oldSize > 0 && oldSize <= newSize,
    "a later tree is at least as large as a tree with leaves",
  );
  const path: Bytes[] = [];
  let from = 0;
  let old = oldSize;
  let count = newSize;
  while (old !== count) {
    const { leaves, level } = leftPart(count);
    if (old <= leaves) {
      path.push(rootOverSpan(crypto, from + leaves, count - leaves, hashOf));
      count = leaves;
    } else {
      path.push(hashOf(level, from / leaves));
      from += leaves;
      old -= leaves;
      count -= leaves;
    }
  }
  // The old root itself is known to the checker; any other subtree must be given.
  if (from > 0) path.push(rootOverSpan(crypto, from, count, hashOf));
  return path.reverse();
}

/** What {@link checkConsistency} judges: two trees of one log and the path between them. */
export interface ConsistencyClaim {
  readonly oldSize: number;
  readonly oldRoot: Uint8Array;
  readonly newSize: number;
  readonly newRoot: Uint8Array;
  readonly path: readonly Uint8Array[];
}

/**
 * Is the new tree the old one with leaves appended? RFC 9162 §2.1.4.2. Never throws.
 *
 * `oldSize` 0 is `false`: every tree extends the empty one, so such a claim proves nothing and a caller who
 * relied on it would be deceived. At equal sizes the path is empty and only equality of the roots counts.
 */
export function checkConsistency(crypto: TreeHash, claim: ConsistencyClaim): boolean {
  const { oldSize, oldRoot, newSize, newRoot, path } = claim;
  if (!isCount(oldSize) || !isCount(newSize) || oldSize === 0 || oldSize > newSize) return false;
  if (oldSize === newSize) return path.length === 0 && equalBytes(oldRoot, newRoot);
  if (path.length === 0 || !path.every(isHash)) return false;
  let at = oldSize - 1;
  let last = newSize - 1;
  while (at % 2 === 1) {
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  // An old tree that is one perfect subtree (at = 0 now) is its own first node.
  const [first, rest] = at === 0 ? [oldRoot, path] : [path[0] as Uint8Array, path.slice(1)];
  if (!isHash(first)) return false;
  let oldHash = first;
  let newHash = first;
  for (const sibling of rest) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      oldHash = nodeHash(crypto, sibling, oldHash);
      newHash = nodeHash(crypto, sibling, newHash);
      while (at % 2 === 0 && at !== 0) {
        at /= 2;
        last = Math.floor(last / 2);
      }
    } else {
      newHash = nodeHash(crypto, newHash, sibling);
    }
    at = Math.floor(at / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && equalBytes(oldHash, oldRoot) && equalBytes(newHash, newRoot);
}

/** The compact range of the first `size` leaves, from the nodes of any tree that begins with them. */
export function rangeOfNodes(size: number, hashOf: HashOf): CompactRange {
  invariant(isCount(size), "tree sizes are whole numbers below 2^53");
  const hashes: Bytes[] = [];
  let level = 0;
  for (let left = size; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) hashes.push(hashOf(level, left - 1));
    level += 1;
  }
  return { size, hashes: hashes.reverse() };
}

/** Root over leaves [from, from + count), where `from` is a multiple of a power of two ≥ count. */
export function rootOverSpan(crypto: TreeHash, from: number, count: number, hashOf: HashOf): Bytes {
  const { leaves, level } = leftPart(count);
  if (2 * leaves === count) return hashOf(level + 1, from / count);
  if (count === 1) return hashOf(0, from);
  const right = rootOverSpan(crypto, from + leaves, count - leaves, hashOf);
  return nodeHash(crypto, hashOf(level, from / leaves), right);
}

/** The left subtree of a tree of `count` leaves: the largest power of two below `count` (RFC 6962's k). */
function leftPart(count: number): { readonly leaves: number; readonly level: number } {
  let leaves = 1;
  let level = 0;
  while (leaves * 2 < count) {
    leaves *= 2;
    level += 1;
  }
  return { leaves, level };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isHash(hash: Uint8Array): boolean {
  return hash.length === hashBytes;
}
