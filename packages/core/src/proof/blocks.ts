/**
 * Blocks of a tree: a *block* (height h, index i) holds the nodes of levels 8h to 8h+8 above 256 neighbours, as
 * C2SP tlog-tiles has it.
 */
import type { Bytes } from "../std/bytes.ts";
import { nodeHash, tileLeaves, type TreeHash } from "./tree.ts";

/** Levels of nodes above up to 256 neighbours: `[0]` the neighbours, each further one half as long. */
export type Block = readonly (readonly Bytes[])[];

/** Levels that a block spans. */
export const blockLevels = 8;

/** Where a node lies: in which block, at which level of it, and as which one there. */
export interface PlaceInBlock {
  readonly height: number;
  readonly block: number;
  readonly inner: number;
  readonly at: number;
}

/** The block that holds the node, of two the higher one. */
export function placeInBlock(level: number, index: number): PlaceInBlock {
  const height = Math.floor(level / blockLevels);
  const inner = level - height * blockLevels;
  const perBlock = tileLeaves / 2 ** inner;
  const block = Math.floor(index / perBlock);
  return { height, block, inner, at: index - block * perBlock };
}

/** Every complete subtree over up to 256 neighbours. */
export function perfectSubtrees(crypto: TreeHash, neighbours: readonly Bytes[]): Block {
  const levels: (readonly Bytes[])[] = [neighbours];
  for (let level = 0; level < blockLevels; level++) {
    const below = levels[level] as readonly Bytes[];
    const above: Bytes[] = [];
    for (let i = 0; i + 1 < below.length; i += 2)
      above.push(nodeHash(crypto, below[i] as Bytes, below[i + 1] as Bytes));
    levels.push(above);
  }
  return levels;
}
