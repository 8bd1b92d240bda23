/**
 * Proofs over a tree whose hashes lie elsewhere and are read in batches, as golang.org/x/mod/sumdb/tlog does it: a
 * proof says which hashes it needs, the store answers all of them at once, the proof is computed.
 *
 * Both passes run the same *prove* function of `tree.ts` or `multiproof.ts`, so they cannot disagree:
 *
 * ```ts
 * const tree = createStoredTree(crypto, size, (spans) => store.hashes(spans));
 * const path = await tree.prove((crypto, hashOf) => proveInclusion(crypto, index, size, hashOf));
 * ```
 */
import { type Bytes } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { MaybePromise } from "../keys/provider.ts";
import { type Block, perfectSubtrees, placeInBlock } from "./blocks.ts";
import type { LeafSource } from "./tiles.ts";
import { createTreeBuilder, type HashOf, hashBytes, tileLeaves, type TreeHash } from "./tree.ts";

/**
 * Roots [from, to) of complete subtrees of 256^height leaves: of height 0 the leaves, of height 1 the tile roots.
 * A span lies within one block of 256 neighbours.
 */
export interface HashSpan {
  readonly height: number;
  readonly from: number;
  readonly to: number;
}

/** The hashes of each span, in order and without gaps, 32 bytes each. */
export type ReadSpans = (spans: readonly HashSpan[]) => MaybePromise<readonly (readonly Bytes[])[]>;

/** A proof, given the nodes of its tree. Pure: it runs twice. */
export type Prove<T> = (crypto: TreeHash, hashOf: HashOf) => T;

/** Spans that a proof in the tree of `size` leaves is computed from, each once. Nothing is hashed. */
export function spansOf(size: number, prove: Prove<unknown>): readonly HashSpan[] {
  const spans = new Map<string, HashSpan>();
  prove(unhashed, (level, index) => {
    invariant(level >= 0 && (index + 1) * 2 ** level <= size, "the subtree is complete");
    const { height, block } = placeInBlock(level, index);
    const from = block * tileLeaves;
    const to = Math.min(from + tileLeaves, Math.floor(size / tileLeaves ** height));
    spans.set(nameOf(height, block), { height, from, to });
    return nothing;
  });
  return [...spans.values()];
}

const nothing: Bytes = new Uint8Array(hashBytes);
const unhashed: TreeHash = { sha256: () => nothing };

/** Proofs in the tree of the first `size` leaves. */
export interface StoredTree {
  /** Reads what is not at hand yet, in one batch; several proofs may be under way. Throws `proof_source_short` when the store has other rows. */
  prove<T>(proof: Prove<T>): Promise<T>;
}

/** Keeps what it has read for the proofs that follow: up to `proofBlocksMax` blocks, and those of the last proof. */
export function createStoredTree(crypto: TreeHash, size: number, read: ReadSpans): StoredTree {
  invariant(Number.isSafeInteger(size) && size >= 0, "a tree size is a whole number below 2^53");
  const blocks = new Map<string, Block>();
  return {
    async prove(proof) {
      const spans = spansOf(size, proof);
      // What another proof throws away meanwhile stays with this one.
      const own = new Map(spans.map((span) => [nameOfSpan(span), blocks.get(nameOfSpan(span))]));
      const missing = spans.filter((span) => own.get(nameOfSpan(span)) === undefined);
      if (missing.length > 0) {
        if (blocks.size + missing.length > limits.proofBlocksMax) keepOnly(blocks, spans);
        const found = await read(missing);
        for (const [at, span] of missing.entries()) {
          const block = perfectSubtrees(crypto, checked(span, found[at]));
          own.set(nameOfSpan(span), block);
          blocks.set(nameOfSpan(span), block);
        }
      }
      return proof(crypto, hashesIn(own));
    },
  };
}

function hashesIn(blocks: ReadonlyMap<string, Block | undefined>): HashOf {
  return (level, index) => {
    const { height, block, inner, at } = placeInBlock(level, index);
    const found = blocks.get(nameOf(height, block))?.[inner]?.[at];
    invariant(found !== undefined, "a proof reads the spans that it has named");
    return found;
  };
}

function keepOnly(blocks: Map<string, Block>, spans: readonly HashSpan[]): void {
  const kept = new Set(spans.map(nameOfSpan));
  for (const name of blocks.keys()) if (!kept.has(name)) blocks.delete(name);
}

function nameOf(height: number, block: number): string {
  return `${height}/${block}`;
}

function nameOfSpan({ height, from }: HashSpan): string {
  return nameOf(height, Math.floor(from / tileLeaves));
}

function checked({ height, from, to }: HashSpan, hashes: readonly Bytes[] = []): readonly Bytes[] {
  if (hashes.length !== to - from || hashes.some((hash) => hash.length !== hashBytes)) {
    const rows = height === 0 ? "leaves" : "tile roots";
    throw new HoldfastError("proof_source_short", { rows, from, to, answered: hashes.length });
  }
  return hashes;
}

/** One span from a store that keeps leaves and tile roots only: what lies above is computed. */
export function spanFromTiles(
  crypto: TreeHash,
  source: LeafSource,
  { height, from, to }: HashSpan,
): readonly Bytes[] {
  if (height === 0) return source.leaves(from, to);
  if (height === 1) return source.tileRoots(from, to);
  return Array.from({ length: to - from }, (_, at) => {
    const first = (from + at) * tileLeaves;
    const below = { height: height - 1, from: first, to: first + tileLeaves };
    const tree = createTreeBuilder(crypto);
    for (const hash of spanFromTiles(crypto, source, below)) tree.append(hash);
    return tree.root();
  });
}
