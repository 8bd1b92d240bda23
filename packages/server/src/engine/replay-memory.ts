/** Assertions that were used, so that none is taken twice: in the memory of one process, or where all nodes look. */
import { HoldfastError, type MaybePromise } from "@holdfast/core";

/** A used assertion. */
export interface UsedAssertion {
  readonly tenant: string;
  /** Device, incarnation and id of the assertion. */
  readonly name: string;
  /** Until when it must be remembered, and now: UTC milliseconds. */
  readonly until: number;
  readonly now: number;
}

/** What is remembered of used assertions. */
export interface ReplayMemory {
  /**
   * Remembers one that was not used before and answers true; false: it was used. Of two that ask at once one hears
   * true. `admit` is asked before one is remembered that seems new; when it throws, it stays unremembered. Throws
   * `server_busy` when no more fit, and the storage codes.
   */
  use(assertion: UsedAssertion, admit: () => void): MaybePromise<boolean>;
}

const rememberedMax = 100_000;

/** Remembered by this process. */
export function createReplayMemory(): ReplayMemory {
  const used = new Map<string, number>();
  return {
    use({ tenant, name, until, now }, admit) {
      const key = `${tenant}/${name}`;
      if (used.has(key)) return false;
      admit();
      forget(used, now);
      if (used.size >= rememberedMax) throw new HoldfastError("server_busy");
      used.set(key, until);
      return true;
    },
  };
}

/** What has expired need not be remembered: it would be refused by its time. */
function forget(used: Map<string, number>, now: number): void {
  for (const [name, until] of used) {
    if (until > now) break;
    used.delete(name);
  }
}
