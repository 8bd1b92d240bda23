/**
 * Circuit breaker of one key provider: closed → open → half-open.
 *
 * - closed: calls go to the provider. One failure opens it: a device that is gone or hangs costs every call
 *   its deadline, and another provider, where the policy has one, answers meanwhile.
 * - open: no call goes there until `retryAt`; then a probe, in the background: half-open.
 * - half-open: the probe runs. Success closes; failure opens again for twice as long, up to a cap.
 *
 * Failures that arrive late, of calls that began before it opened, change nothing. Pure.
 */

/** For how long it stays open. */
export interface ProviderBreakerPolicy {
  readonly cooldownFirstMs: number;
  readonly cooldownMostMs: number;
}

/** 1 s, doubling up to 30 s: a token that is put back serves again within that time. */
export const providerBreakerDefault: ProviderBreakerPolicy = {
  cooldownFirstMs: 1_000,
  cooldownMostMs: 30_000,
};

/** State of the breaker of one provider. */
export interface ProviderBreaker {
  readonly state: "closed" | "open" | "half-open";
  /** Failures in a row, probes included. */
  readonly failures: number;
  /** open: when a probe may be made, by the monotonic clock. */
  readonly retryAt: number | undefined;
}

/** A provider of which nothing bad is known. */
export const closedProviderBreaker: ProviderBreaker = {
  state: "closed",
  failures: 0,
  retryAt: undefined,
};

/** `failed` and `answered`: a call. `probe`: one begins. `probe-failed`, `probe-answered`: how it ended. */
export type ProviderBreakerInput =
  | "failed"
  | "answered"
  | "probe"
  | "probe-failed"
  | "probe-answered";

/** The breaker after an input at `now` (monotonic, ms). */
export function stepProviderBreaker(
  breaker: ProviderBreaker,
  input: ProviderBreakerInput,
  now: number,
  policy: ProviderBreakerPolicy,
): ProviderBreaker {
  switch (input) {
    case "failed":
      return breaker.state === "closed" ? opened(breaker, now, policy) : breaker;
    case "answered":
      return breaker;
    case "probe":
      return { ...breaker, state: "half-open", retryAt: undefined };
    case "probe-failed":
      return opened(breaker, now, policy);
    case "probe-answered":
      return closedProviderBreaker;
    default:
      return input satisfies never;
  }
}

function opened(
  { failures }: ProviderBreaker,
  now: number,
  { cooldownFirstMs, cooldownMostMs }: ProviderBreakerPolicy,
): ProviderBreaker {
  const cooldown = Math.min(cooldownMostMs, cooldownFirstMs * 2 ** Math.min(failures, 30));
  return { state: "open", failures: failures + 1, retryAt: now + cooldown };
}
