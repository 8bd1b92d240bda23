/** Shares of requests: a token bucket for each name, an address or a device. Nobody spends another's share. */
import { type Clock, HoldfastError } from "@holdfast/core";

/** Requests a second in the long run, and at once. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

interface Bucket {
  tokens: number;
  at: number;
}

const bucketsMax = 50_000;

/** Takes one from the share of that name. Throws `requests_too_many` {retry_after_ms}. */
export function createRates(clock: Clock, rate: Rate): (name: string) => void {
  const buckets = new Map<string, Bucket>();
  return (name) => {
    const now = clock.monotonic();
    const { tokens, at } = buckets.get(name) ?? { tokens: rate.burst, at: now };
    const refilled = Math.min(rate.burst, tokens + ((now - at) / 1_000) * rate.perSecond);
    // Written anew, so that the oldest stands first: a full bucket that is forgotten is no loss.
    buckets.delete(name);
    if (buckets.size >= bucketsMax) buckets.delete(buckets.keys().next().value ?? "");
    buckets.set(name, { tokens: Math.max(0, refilled - 1), at: now });
    if (refilled < 1) {
      const wait = Math.ceil(((1 - refilled) / rate.perSecond) * 1_000);
      throw new HoldfastError("requests_too_many", { retry_after_ms: wait });
    }
  };
}
