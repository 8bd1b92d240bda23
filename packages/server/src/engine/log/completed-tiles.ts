/** Roots of tiles of 256 leaves that a growing tree completes; of 256 such roots at the height above, and so on. */
import { type Bytes, createTreeBuilder, type Crypto, emptyRange, tileLeaves } from "@holdfast/core";

/** A complete tile and its root. */
export interface CompletedTile {
  readonly tile: number;
  readonly root: Bytes;
}

/** First hash of the first tile that `count` hashes from index `from` on complete; `undefined`: they complete none. */
export function completedFrom(from: number, count: number): number | undefined {
  const first = Math.floor(from / tileLeaves);
  return first === Math.floor((from + count) / tileLeaves) ? undefined : first * tileLeaves;
}

/** The tiles that are complete among the hashes from `start` on, as {@link completedFrom} gives it. */
export function completedTiles(
  crypto: Pick<Crypto, "sha256">,
  start: number | undefined,
  hashes: readonly Bytes[],
): readonly CompletedTile[] {
  if (start === undefined) return [];
  const tiles: CompletedTile[] = [];
  const builder = createTreeBuilder(crypto, emptyRange, (tile, root) => {
    tiles.push({ tile: start / tileLeaves + tile, root });
  });
  const whole = hashes.length - (hashes.length % tileLeaves);
  for (const hash of hashes.slice(0, whole)) builder.append(hash);
  return tiles;
}
