/** The wall clock as a store may record it. */
import type { Clock } from "../std/ports.ts";

const latest = 2 ** 48 - 1;
/** Longer than any wait that is kept in the store, so that one from before the year began anew is recognised. */
const yearMs = 365 * 86_400_000;

/**
 * The clock is evidence: whatever it says is recorded, within what a header and a column can hold. Beyond that it
 * goes round within the first or the last year that can be recorded: leases, backoff and breakers wait by it, and a
 * clock that stood still would end none of those waits.
 */
export function recordable(clock: Clock): Clock {
  return {
    now: () => within(Math.floor(clock.now())),
    monotonic: () => clock.monotonic(),
  };
}

function within(said: number): number {
  if (said >= 0 && said <= latest) return said;
  if (!Number.isFinite(said)) return said > 0 ? latest : 0;
  const intoYear = ((said % yearMs) + yearMs) % yearMs;
  return said < 0 ? intoYear : latest - yearMs + intoYear;
}
