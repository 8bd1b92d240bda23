/** What becomes of leased entries: delivered, back to waiting, or given up on. */
import { HoldfastError } from "../std/errors.ts";
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { Attempts } from "./attempts.ts";
import { outboxWaitMsMax } from "./backoff.ts";
import type { DeadLetters, LetterReason, Severity } from "./dead-letters.ts";
import type { OutboxLeases } from "./leases.ts";
import type { OutboxPolicy } from "./policy.ts";
import { type FailureClass, failureClassOf, type Retry, retryOfClass } from "./retry.ts";
import type { Lane } from "./turns.ts";

/** How an exchange failed, and when its entries are due again (UTC ms). */
export interface ExchangeFailure {
  readonly code: string;
  /** HTTP status, where there was an answer. */
  readonly status?: number;
  readonly nextAt: number;
}

export interface Settlement {
  begin(token: number, endpoint: string, positions?: readonly number[]): number;
  delivered(positions: Iterable<number>): number;
  failed(token: number, attempt: number, failure: ExchangeFailure, others?: "wait" | "stay"): void;
  reject(position: number, reason: LetterReason): void;
}

/** Ports of the settlement. */
export interface SettlementDeps {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policy: OutboxPolicy;
  readonly leases: OutboxLeases;
  readonly attempts: Attempts;
  readonly deadLetters: DeadLetters;
}

interface LeasedRow {
  readonly position: number;
  readonly lane: Lane;
  readonly attempts: number;
}

/** Answers after which trying the same again needs somebody else first. */
const untouched: ReadonlySet<Retry> = new Set<Retry>(["auth", "halt"]);

export function createSettlement(deps: SettlementDeps): Settlement {
  const { driver, clock, observer, policy, leases, attempts, deadLetters } = deps;
  const ofToken = driver.prepare(
    "SELECT position, lane, attempts FROM outbox WHERE token = ? ORDER BY position",
  );
  const heldOf = driver.prepare(
    `SELECT count(*) AS value FROM json_each(?) AS wanted
       CROSS JOIN outbox ON outbox.position = wanted.value WHERE outbox.token = ?`,
  );
  const stateOf = driver.prepare("SELECT state FROM outbox WHERE position = ?");
  const remove = driver.prepare("DELETE FROM outbox WHERE position = ?");
  const forget = driver.prepare("DELETE FROM dead_letters WHERE position = ?");
  const wait = driver.prepare(
    `UPDATE outbox SET state = 'waiting', token = NULL, attempts = attempts + ?,
       next_at = coalesce(?, next_at) WHERE position = ?`,
  );

  function begin(token: number, endpoint: string, wanted?: readonly number[]): number {
    leases.assertHeld(token);
    if (wanted === undefined) {
      const leased = ofToken.all<LeasedRow>(token).map(({ position }) => position);
      return attempts.begin(token, endpoint, leased);
    }
    const positions = wanted.toSorted((a, b) => a - b);
    const held = heldOf.get<{ value: number }>(JSON.stringify(positions), token)?.value;
    if (held !== positions.length) {
      throw new HoldfastError("outbox_lease_lost", { token });
    }
    return attempts.begin(token, endpoint, positions);
  }

  function failed(
    token: number,
    attempt: number,
    failure: ExchangeFailure,
    others: "wait" | "stay" = "wait",
  ): void {
    leases.assertHeld(token);
    const failureClass = failureClassOf(failure.code, failure.status);
    const keep = untouched.has(retryOfClass(failureClass));
    const attempted = attempts.positions(attempt, token);
    const nextAt = boundedNext(failure.nextAt, clock.now());
    for (const row of ofToken.all<LeasedRow>(token)) {
      if (others === "stay" && !attempted.has(row.position)) continue;
      if (keep || !attempted.has(row.position)) wait.run(0, null, row.position);
      else if (isExhausted(row, failureClass, policy)) {
        deadLetters.hold(row.position, exhaustion(row, failure, failureClass), true, failureClass);
      } else wait.run(1, nextAt, row.position);
    }
    attempts.finish(attempt, "failed", failure.code, failure.status);
    if (!keep) observer.count("outbox_backoffs", 1, { class: failureClass });
  }

  return {
    begin,
    delivered(positions) {
      let removed = 0;
      for (const position of positions) {
        removed += remove.run(position);
        forget.run(position);
      }
      if (removed > 0) observer.count("outbox_delivered", removed);
      return removed;
    },
    failed,
    reject(position, reason) {
      const row = stateOf.get<{ state: string }>(position);
      if (row === undefined) return;
      const failureClass = failureClassOf(reason.code, reason.status);
      deadLetters.hold(position, reason, row.state === "leased", failureClass);
    },
  };
}

function boundedNext(nextAt: number, now: number): number {
  if (!Number.isFinite(nextAt)) return now;
  return Math.floor(Math.min(Math.max(nextAt, now), now + outboxWaitMsMax));
}

function isExhausted(row: LeasedRow, failureClass: FailureClass, policy: OutboxPolicy): boolean {
  const most = policy.attemptsMax[failureClass];
  return most > 0 && row.attempts + 1 >= most;
}

function exhaustion(
  row: LeasedRow,
  failure: ExchangeFailure,
  failureClass: FailureClass,
): LetterReason {
  const severity: Severity = row.lane === "urgent" ? "critical" : "high";
  const { code, status } = failure;
  const message = `given up on after ${row.attempts + 1} attempts, the last one: ${failureClass}`;
  return { code, message, severity, ...(status === undefined ? {} : { status }) };
}
