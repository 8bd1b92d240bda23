/** What an application may set of the outbox; every default is stated here or beside the limit it names. */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { attemptsMaxDefault, type ByFailureClass } from "./retry.ts";

/** Bounds, maximum attempts and retention (ms) of an outbox. */
export interface OutboxPolicy {
  /** Entries beyond which appends in the normal lane are refused with `outbox_full`. */
  readonly entriesMax: number;
  /** Fraction of `entriesMax` at which a warning is logged. */
  readonly warnFraction: number;
  /** How long an archived dead letter is kept before `purge`, or a running engine, may remove its entry. */
  readonly retentionMs: number;
  /** A lease that was not renewed for this long may be taken over. */
  readonly leaseExpiryMs: number;
  /** Attempts by class of the last failure after which an entry becomes a dead letter; 0: never. */
  readonly attemptsMax: ByFailureClass;
}

/** 1,000,000 entries, warning at 80 %; 30 days; 2 minutes; attempts as in retry.ts. */
export const outboxPolicyDefault: OutboxPolicy = {
  entriesMax: limits.outboxEntriesMax,
  warnFraction: 0.8,
  retentionMs: limits.deadLetterRetentionMs,
  leaseExpiryMs: limits.outboxLeaseExpiryMs,
  attemptsMax: attemptsMaxDefault,
};

/** What may be left out. */
export type OutboxOptions = Partial<Omit<OutboxPolicy, "attemptsMax">> & {
  readonly attemptsMax?: Partial<ByFailureClass>;
};

/** The policy with what was left out filled in. Throws `outbox_option_invalid`. */
export function outboxPolicy(options: OutboxOptions = {}): OutboxPolicy {
  const policy = {
    ...outboxPolicyDefault,
    ...options,
    attemptsMax: { ...attemptsMaxDefault, ...options.attemptsMax },
  };
  const whole = (value: number, least: number): boolean =>
    Number.isSafeInteger(value) && value >= least;
  const faults: readonly (readonly [option: string, fine: boolean])[] = [
    ["entriesMax", whole(policy.entriesMax, 1)],
    ["warnFraction", policy.warnFraction > 0 && policy.warnFraction <= 1],
    ["retentionMs", whole(policy.retentionMs, 0)],
    ["leaseExpiryMs", whole(policy.leaseExpiryMs, 1)],
    ...Object.entries(policy.attemptsMax).map(
      ([name, value]) =>
        [
          `attemptsMax.${name}`,
          Object.hasOwn(attemptsMaxDefault, name) && whole(value, 0),
        ] as const,
    ),
  ];
  const fault = faults.find(([, fine]) => !fine);
  if (fault !== undefined) throw new HoldfastError("outbox_option_invalid", { option: fault[0] });
  return policy;
}
