/**
 * Nodes of a tree from what a store keeps: every leaf, and the root of every complete tile of 256 leaves
 * (one row per 256 events). Every other node is computed when a proof asks for it.
 *
 * The hierarchy is 256 wide at every step, as in C2SP tlog-tiles: a *block* (height h, index i) holds the
 * nodes of levels 8h to 8h+8 above 256 neighbours. Blocks of height 0 are read as leaves, of height 1 as
 * tile roots, higher ones come from the roots of the blocks below.
 *
 * Memory is bounded: `proofBlocksMax` blocks of 16 KiB and `proofBlockRootsMax` roots, least recently used
 * out first.
 */
import { type Bytes } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { type Block, blockLevels, perfectSubtrees, placeInBlock } from "./blocks.ts";
import {
  type CompactRange,
  createTreeBuilder,
  type HashOf,
  hashBytes,
  tileLeaves,
  type TreeHash,
} from "./tree.ts";

/** Stored hashes, in order and without gaps; each answer has exactly `to - from` hashes of 32 bytes. */
export interface LeafSource {
  /** Leaf hashes of the leaves [from, to). */
  leaves(from: number, to: number): readonly Bytes[];
  /** Roots of the complete tiles [from, to); tile t covers the leaves [256 t, 256 (t + 1)). */
  tileRoots(from: number, to: number): readonly Bytes[];
}

/**
 * A {@link HashOf} over the first `size` leaves of a source. Asking for a subtree that is not complete
 * within `size` is a bug. Throws `proof_source_short` when the source answers with fewer or other rows.
 */
export function createHashSource(crypto: TreeHash, source: LeafSource, size: number): HashOf {
  invariant(Number.isSafeInteger(size) && size >= 0, "a tree size is a whole number below 2^53");
  const blocks = createRecent<Block>(limits.proofBlocksMax);
  const roots = createRecent<Bytes>(limits.proofBlockRootsMax);

  function neighbours(height: number, from: number, to: number): readonly Bytes[] {
    if (height === 0) return checked(source.leaves(from, to), from, to, "leaves");
    if (height === 1) return checked(source.tileRoots(from, to), from, to, "tile roots");
    return Array.from({ length: to - from }, (_, i) => blockRoot(height - 1, from + i));
  }

  function block(height: number, index: number): Block {
    return blocks(`${height}/${index}`, () => {
      const available = Math.floor(size / tileLeaves ** height);
      const from = index * tileLeaves;
      return perfectSubtrees(
        crypto,
        neighbours(height, from, Math.min(from + tileLeaves, available)),
      );
    });
  }

  function blockRoot(height: number, index: number): Bytes {
    return roots(`${height}/${index}`, () => {
      const from = index * tileLeaves;
      const levels = perfectSubtrees(crypto, neighbours(height, from, from + tileLeaves));
      return levels[blockLevels]?.[0] as Bytes;
    });
  }

  return (level, index) => {
    const span = 2 ** level;
    invariant(level >= 0 && index >= 0 && (index + 1) * span <= size, "the subtree is complete");
    const place = placeInBlock(level, index);
    return block(place.height, place.block)[place.inner]?.[place.at] as Bytes;
  };
}

/**
 * The compact range of the first `size` leaves, from tile roots and at most 255 leaves: opens a tree of
 * 100,000 leaves by reading some 400 rows. Trusts the stored tile roots; whoever verifies recomputes them
 * from the leaves. Throws `proof_source_short`.
 */
export function rangeFromTiles(crypto: TreeHash, source: LeafSource, size: number): CompactRange {
  invariant(Number.isSafeInteger(size) && size >= 0, "a tree size is a whole number below 2^53");
  const tiles = Math.floor(size / tileLeaves);
  const upper = createTreeBuilder(crypto);
  for (let from = 0; from < tiles; from += limits.proofReadRowsMax) {
    const to = Math.min(from + limits.proofReadRowsMax, tiles);
    for (const root of checked(source.tileRoots(from, to), from, to, "tile roots"))
      upper.append(root);
  }
  const lower = createTreeBuilder(crypto);
  const tail = tiles * tileLeaves;
  if (tail < size)
    for (const leaf of checked(source.leaves(tail, size), tail, size, "leaves")) lower.append(leaf);
  // Subtrees of whole tiles never merge with those of the tail: their sizes share no bit.
  return { size, hashes: [...upper.range().hashes, ...lower.range().hashes] };
}

function checked(
  hashes: readonly Bytes[],
  from: number,
  to: number,
  rows: "leaves" | "tile roots",
): readonly Bytes[] {
  if (hashes.length !== to - from || hashes.some((hash) => hash.length !== hashBytes))
    throw new HoldfastError("proof_source_short", { rows, from, to, answered: hashes.length });
  return hashes;
}

/** Values by key, made when missing, the least recently used dropped beyond `max`. */
function createRecent<T>(max: number): (key: string, make: () => T) => T {
  const values = new Map<string, T>();
  return (key, make) => {
    const known = values.get(key);
    const value = known ?? make();
    if (known !== undefined) values.delete(key);
    values.set(key, value);
    for (const oldest of values.keys()) {
      if (values.size <= max) break;
      values.delete(oldest);
    }
    return value;
  };
}
