/**
 * Circuit breaker of one endpoint: closed → open → half-open. While failure is general, attempts cost the
 * device's battery and the server's recovery and deliver nothing.
 *
 * - closed: every attempt is admitted. `failures` in a row of classes that count; when they reach the
 *   threshold of the class of the last one, it opens.
 * - open: nothing is admitted until `retryAt`; then exactly one attempt, the probe: half-open.
 * - half-open: nothing else is admitted until the probe ends. A probe that never ends (its process died) is
 *   given up at `retryAt`, and the next attempt is the probe.
 *
 * Any answer of the server closes it: also a refusal shows that the endpoint works. A failed probe opens it
 * again for twice as long, up to a cap. Pure; `breakers.ts` keeps the rows.
 */
import { limits } from "../std/limits.ts";
import { type ByFailureClass, breakerThresholdsDefault, type FailureClass } from "./retry.ts";

export interface BreakerPolicy {
  readonly thresholds: ByFailureClass;
  readonly cooldownFirstMs: number;
  readonly cooldownMostMs: number;
  /** How long a probe may take before another one is admitted. */
  readonly probeMs: number;
}

/** Thresholds of retry.ts; 30 s doubling up to 5 min; a probe of 1 min. */
export const breakerDefault: BreakerPolicy = {
  thresholds: breakerThresholdsDefault,
  cooldownFirstMs: limits.breakerCooldownFirstMs,
  cooldownMostMs: limits.backoffMostMs,
  probeMs: limits.breakerProbeMs,
};

/** State of the breaker of one endpoint. */
export interface Breaker {
  readonly state: "closed" | "open" | "half-open";
  /** Failures in a row that count. */
  readonly failures: number;
  /** How often it opened, ever. */
  readonly trips: number;
  readonly changedAt: number;
  /** open: when a probe is admitted. half-open: when the probe is given up. */
  readonly retryAt: number | undefined;
}

/** The breaker of an endpoint of which nothing is known. */
export function closedBreaker(now: number): Breaker {
  return { state: "closed", failures: 0, trips: 0, changedAt: now, retryAt: undefined };
}

/** May an attempt be made, and as what? */
export type Admission =
  | { readonly admitted: true; readonly probe: boolean; readonly breaker: Breaker }
  | { readonly admitted: false; readonly retryAt: number };

/** Decides on an attempt at `now`. An admitted one must be reported by {@link afterAttempt}. */
export function admit(breaker: Breaker, now: number, policy: BreakerPolicy): Admission {
  const { state, retryAt } = breaker;
  if (state === "closed") return { admitted: true, probe: false, breaker };
  const most = state === "open" ? policy.cooldownMostMs : policy.probeMs;
  // A time further away than the longest wait: the clock went back since.
  if (retryAt !== undefined && now < retryAt && retryAt <= now + most) {
    return { admitted: false, retryAt };
  }
  const probing: Breaker = {
    ...breaker,
    state: "half-open",
    changedAt: now,
    retryAt: now + policy.probeMs,
  };
  return { admitted: true, probe: true, breaker: probing };
}

/** How an admitted attempt ended: answered, failed with a class, or given up before there was an answer. */
export type AttemptOutcome = "answered" | "cancelled" | FailureClass;

/** The breaker after an attempt. */
export function afterAttempt(
  breaker: Breaker,
  outcome: AttemptOutcome,
  now: number,
  policy: BreakerPolicy,
): Breaker {
  if (saysNothing(outcome)) {
    // The probe is over without a verdict: the next attempt is the probe.
    if (breaker.state !== "half-open") return breaker;
    return { ...breaker, state: "open", changedAt: now, retryAt: now };
  }
  const threshold = outcome === "answered" ? 0 : policy.thresholds[outcome];
  if (threshold === 0) return closedAgain(breaker, now);
  // Late failures of attempts that began before it opened do not make it wait longer.
  if (breaker.state === "open") return breaker;
  const failures = breaker.failures + 1;
  if (breaker.state === "closed" && failures < threshold) return { ...breaker, failures };
  const doublings = Math.min(52, Math.max(0, failures - threshold));
  const cooldown = Math.min(policy.cooldownMostMs, policy.cooldownFirstMs * 2 ** doublings);
  const trips = breaker.trips + 1;
  return { state: "open", failures, trips, changedAt: now, retryAt: now + cooldown };
}

/** What happens on this device alone says nothing of the endpoint. */
function saysNothing(outcome: AttemptOutcome): outcome is "cancelled" | "local" {
  return outcome === "cancelled" || outcome === "local";
}

function closedAgain(breaker: Breaker, now: number): Breaker {
  if (breaker.state === "closed" && breaker.failures === 0) return breaker;
  return {
    ...closedBreaker(breaker.state === "closed" ? breaker.changedAt : now),
    trips: breaker.trips,
  };
}
