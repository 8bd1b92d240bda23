/**
 * How long to wait after a failed attempt: exponential, full jitter, capped (AWS Architecture Blog,
 * "Exponential Backoff And Jitter"): between 0 and first · 2^(attempt − 1) ms, at most `most`. Full jitter
 * because a server that comes back must not meet all its devices in the same second.
 *
 * What the server asks for (Retry-After, RFC 9110 §10.2.3) is waited in full, up to a bound, and the jitter
 * comes on top of it. Pure; chance is handed in.
 */
import { limits } from "../std/limits.ts";
import type { Random } from "../std/ports.ts";

/** Bounds of the wait. */
export interface BackoffPolicy {
  readonly firstMs: number;
  readonly mostMs: number;
  /** The longest that a server may make this device wait. */
  readonly retryAfterMostMs: number;
}

/** The bounds in `limits`. */
export const backoffDefault: BackoffPolicy = {
  firstMs: limits.backoffFirstMs,
  mostMs: limits.backoffMostMs,
  retryAfterMostMs: limits.retryAfterMsMax,
};

/** No entry waits longer than this for its next try, whatever was asked. */
export const outboxWaitMsMax = limits.retryAfterMsMax + limits.backoffMostMs;

/** The upper end of the wait before jitter, milliseconds. `attempt`: failures so far, from 1. */
export function backoffCeilingMs(
  attempt: number,
  policy: Pick<BackoffPolicy, "firstMs" | "mostMs"> = backoffDefault,
): number {
  // Beyond 2^52 doubles lose whole milliseconds; the cap is far below.
  const doublings = Math.min(52, Math.max(0, Math.floor(attempt) - 1));
  return Math.min(policy.mostMs, policy.firstMs * 2 ** doublings);
}

/** Whole milliseconds to wait after failure number `attempt` in a row. */
export function backoffMs(
  failure: { readonly attempt: number; readonly retryAfterMs?: number },
  random: Random,
  policy: BackoffPolicy = backoffDefault,
): number {
  const asked = failure.retryAfterMs ?? 0;
  const floor = asked > 0 ? Math.min(Math.ceil(asked), policy.retryAfterMostMs) : 0;
  const ceiling = backoffCeilingMs(failure.attempt, policy);
  return floor + Math.floor(fraction(random) * (ceiling + 1));
}

/** Evenly from [0, 1): 48 bits of chance. */
function fraction(random: Random): number {
  return random.bytes(6).reduce((sum, byte) => sum * 256 + byte, 0) / 2 ** 48;
}
