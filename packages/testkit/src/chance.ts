/**
 * Seeded chance: one number replays a whole run. Never for keys of a real store.
 */
import type { Bytes, Random } from "@holdfast/core";

/** A seeded source of chance; also serves as the `Random` port. */
export interface Chance extends Random {
  /** A whole number from 0 up to, not including, `below`. */
  integer(below: number): number;
  /** True once in `times` on average. */
  oneIn(times: number): boolean;
  /** One of the items; throws on an empty list. */
  pick<T>(items: readonly T[]): T;
  /** The items in another order. */
  shuffle<T>(items: readonly T[]): readonly T[];
}

/** Chance from a seed: mulberry32, 32 bits of state. The same seed gives the same run everywhere. */
export function createChance(seed: number): Chance {
  let state = seed >>> 0;

  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  const integer = (below: number): number => Math.floor((next() / 2 ** 32) * below);

  return {
    integer,
    oneIn: (times) => integer(times) === 0,
    pick(items) {
      if (items.length === 0) throw new RangeError("nothing to pick from");
      return items[integer(items.length)] as (typeof items)[number];
    },
    shuffle(items) {
      const out = [...items];
      for (let last = out.length - 1; last > 0; last--) {
        const other = integer(last + 1);
        [out[last], out[other]] = [out[other] as never, out[last] as never];
      }
      return out;
    },
    bytes(length): Bytes {
      const out = new Uint8Array(length);
      for (let at = 0; at < length; at++) out[at] = next() & 0xff;
      return out;
    },
  };
}
