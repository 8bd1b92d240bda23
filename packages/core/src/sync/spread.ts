/** Waits that must not fall together: a share up or down, evenly. */
import type { Random } from "../std/ports.ts";

/** `milliseconds` ± `share`, whole. */
export function spread(milliseconds: number, share: number, random: Random): number {
  const [high = 0, low = 0] = random.bytes(2);
  const chance = (high * 256 + low) / 65_536;
  return Math.round(milliseconds * (1 + share * (2 * chance - 1)));
}
