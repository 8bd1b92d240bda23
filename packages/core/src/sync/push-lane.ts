/**
 * One push exchange: plan under lease, send, store what the server answered. Whatever happens after the plan,
 * its entries are settled or given back; a process that dies meanwhile leaves them to the lease's expiry.
 */
import { backoffMs } from "../outbox/backoff.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Random } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import {
  afterSuccess,
  type BatchSize,
  type Carried,
  firstBatch,
  smaller,
  withAdvertised,
} from "./batch-size.ts";
import { endOf, type Exchange, type ExchangeTools, isTimeout } from "./exchange.ts";
import { type ExchangeTrouble, troubleOf } from "./failure.ts";
import { followBehind, followLog, isLogBehind } from "./follow-log.ts";
import type { LaneWork, WorkEnd } from "./lane.ts";
import type { Hello } from "./messages/hello.ts";
import type { PushAnswer } from "./messages/push.ts";
import { spread } from "./spread.ts";
import type { PlannedPush, PushOutcome, SyncStore } from "./sync-store.ts";
import type { Transport } from "./transport.ts";

/** What {@link createPushLane} needs. */
export interface PushLaneDeps {
  readonly store: SyncStore;
  readonly transport: Pick<Transport, "push" | "epoch" | "present">;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer: Observer;
  /** Told when events that were delivered wait again. */
  readonly tailLost?: () => void;
  /** Told what an exchange delivered. */
  readonly pushed: (delivered: number, rejected: number) => void;
}

/** The work of the push lane, which also takes over the server's bounds. */
export interface PushLane extends LaneWork {
  greeted(hello: Hello): void;
}

/** Single bodies refused one after the other before the refusals are taken to mean more than the bodies. */
const refusalsInRowMax = 3;

const nothingLeft: WorkEnd = { input: { kind: "succeeded", more: false } };

/** Pushes exchange by exchange. */
export function createPushLane(deps: PushLaneDeps): PushLane {
  const { store, clock, random } = deps;
  let size: BatchSize = firstBatch();
  let refusalsInRow = 0;

  /** A store that cannot be read just now has something due: the exchange then says what is wrong. */
  const dueAt = (): number | undefined => {
    try {
      return store.nextDueAt();
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      return Number.NEGATIVE_INFINITY;
    }
  };
  const isDue = (): boolean => {
    const due = dueAt();
    return due !== undefined && due <= clock.now();
  };

  async function give(plan: PlannedPush, trouble: ExchangeTrouble, waitMs: number): Promise<void> {
    const { code, status } = trouble;
    const nextAt = clock.now() + waitMs;
    const failure = { code, nextAt, ...(status === undefined ? {} : { status }) };
    try {
      await store.pushFailed(plan, failure);
    } catch (error) {
      // Somebody else has the entries by now: nothing is left to give back.
      if (!isHoldfastError(error, "outbox_lease_lost")) throw error;
    }
  }

  /** After an exchange that failed on its way: the entries go back, and the size may shrink. */
  async function afterFailure(plan: PlannedPush, error: unknown): Promise<WorkEnd> {
    const trouble = troubleOf(error);
    const end = endOf(trouble);
    const carried = carriedBy(plan);
    const halved = smaller(size, carried);
    if (trouble.code === "sync_cancelled" || trouble.retry === "auth") {
      await give(plan, trouble, 0);
    } else if (isTimeout(error)) {
      await give(plan, trouble, 0);
      if (halved !== undefined) size = halved;
      // A slow network is no reason to try one body at once again: it waits like any other failure.
    } else if (trouble.retry === "smaller" || trouble.retry === "never") {
      return afterRefusal(plan, trouble, halved);
    } else {
      const { retryAfterMs } = trouble;
      const asked = retryAfterMs === undefined ? {} : { retryAfterMs };
      await give(plan, trouble, backoffMs({ attempt: 1, ...asked }, random));
    }
    return end;
  }

  /** The server does not want the exchange as a whole: halve it, until the body is found that it is about. */
  async function afterRefusal(
    plan: PlannedPush,
    trouble: ExchangeTrouble,
    halved: BatchSize | undefined,
  ): Promise<WorkEnd> {
    const { code, status } = trouble;
    if (halved !== undefined) {
      size = halved;
      await give(plan, { ...trouble, code: "push_not_taken", status: undefined }, 0);
      return { input: { kind: "failed", class: "smaller" }, code };
    }
    refusalsInRow += 1;
    if (refusalsInRow > refusalsInRowMax) {
      // One body after the other: it is not about the bodies, and they wait for better times.
      const whole = { ...trouble, code: "push_not_taken", status: undefined };
      await give(plan, whole, limits.backoffMostMs);
      return { input: { kind: "failed", class: "never" }, code };
    }
    const named = trouble.retry === "smaller" ? "event_too_large" : code;
    await give(plan, { ...trouble, code: named, status }, 0);
    return {
      input: { kind: "failed", class: trouble.retry === "smaller" ? "now" : "never" },
      code,
    };
  }

  async function exchangeOnce(tools: ExchangeTools): Promise<WorkEnd | undefined> {
    const plan = await store.planPush(size.bounds);
    if (plan === undefined) return undefined;
    const started = clock.monotonic();
    let answer: PushAnswer;
    try {
      answer = await tools.call((options) => deps.transport.push(plan.request, options));
    } catch (error) {
      if (isLogBehind(error)) {
        // The lane waits when it must; the entries need not wait as well.
        await give(plan, troubleOf(error), 0);
        const followed = await followBehind(deps, tools, error, plan.request.checkpoint);
        if (followed !== undefined) return followed;
        throw new SettledFailure(endOf(troubleOf(error)), error);
      }
      const end = await afterFailure(plan, error);
      throw new SettledFailure(end, error);
    }
    const elapsed = clock.monotonic() - started;
    const before = store.watermarks().receiptedSize;
    const outcome = await store.takePush(plan, answer);
    refusalsInRow = 0;
    if (outcome.status === "receipted") {
      size = afterSuccess(size, carriedBy(plan), elapsed);
      deps.pushed(outcome.delivered, outcome.rejected);
    }
    if (outcome.status === "moved") return followLog(deps, tools, outcome.shown);
    return endOfOutcome(outcome, before !== store.watermarks().receiptedSize);
  }

  return {
    async run(signal) {
      if (!isDue()) return nothingLeft;
      let settled: WorkEnd | undefined;
      const end = await deps.exchange.run(signal, async (tools) => {
        try {
          return await exchangeOnce(tools);
        } catch (error) {
          if (!(error instanceof SettledFailure)) throw error;
          settled = error.end;
          throw error.reason;
        }
      });
      return settled ?? leaseLostIsOrdinary(end);
    },
    refresh: (signal) => deps.exchange.refresh(signal),
    restMs() {
      const due = dueAt();
      const poll = spread(limits.pollMs, 0.1, random);
      if (due === undefined) return poll;
      // Not at once: whoever holds the entries that are due is another process.
      return Math.min(poll, Math.max(limits.backoffFirstMs, due - clock.now()));
    },
    hasWork: isDue,
    greeted(hello) {
      size = withAdvertised(size, hello.limits);
    },
  };
}

/** A failure whose entries were given back: what the lane is told, and what breaker and telemetry are. */
class SettledFailure extends Error {
  override readonly name = "SettledFailure";
  readonly end: WorkEnd;
  readonly reason: unknown;

  constructor(end: WorkEnd, reason: unknown) {
    super("the entries were given back");
    this.end = end;
    this.reason = reason;
  }
}

function carriedBy(plan: PlannedPush): Carried {
  const { entries, fills } = plan.request;
  return {
    bodies: plan.positions.length,
    bytes: plan.bytes,
    leaves: entries.length + fills.length,
  };
}

function endOfOutcome(
  outcome: Exclude<PushOutcome, { readonly status: "moved" }>,
  receiptGrew: boolean,
): WorkEnd {
  switch (outcome.status) {
    case "receipted": {
      const moved = receiptGrew || outcome.delivered > 0 || outcome.rejected > 0;
      if (!outcome.more || moved) return { input: { kind: "succeeded", more: outcome.more } };
      return { input: { kind: "failed", class: "now" }, code: "sync_no_progress" };
    }
    case "replan":
      return { input: { kind: "failed", class: "now" }, code: "push_stale" };
    case "reopened":
      return { input: { kind: "failed", class: "now" }, code: "push_reopened" };
    case "contradiction":
      break;
  }
  return { input: { kind: "failed", class: "halt" }, code: outcome.code };
}

/** Another process took the entries over: it delivers them, or they are planned anew. */
function leaseLostIsOrdinary(end: WorkEnd): WorkEnd {
  if (end.code !== "outbox_lease_lost") return end;
  return { input: { kind: "failed", class: "now" }, code: end.code };
}
