/** Random words that must not be found in clear anywhere: made again from a seed by whoever looks for them. */
import { createChance } from "../faults/random.ts";

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/** Distinct words of 24 bytes. */
export function markersOf(seed: number, count: number): readonly string[] {
  const chance = createChance(seed);
  return Array.from({ length: count }, () =>
    Array.from({ length: 24 }, () => letters[chance.below(letters.length)]).join(""),
  );
}
