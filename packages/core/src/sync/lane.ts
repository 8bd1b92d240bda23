/**
 * Drives one lane: keeps its state, does what `step` says, and tells it how that ended. One piece of work at a
 * time, one timer, both through ports. Work never rejects: it ends as an input.
 */
import { backoffMs } from "../outbox/backoff.ts";
import { invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { type Abort, createAbort } from "./abort.ts";
import { spread } from "./spread.ts";
import {
  createSyncLane,
  isActive,
  type SyncLane,
  type LaneEffect,
  type LaneInput,
  step,
} from "./step.ts";
import type { AbortSignalLike } from "./transport.ts";

/** Which of the two. */
export type LaneName = "push" | "pull";

/** One piece of work and how it ended; `code` names a failure. */
export interface WorkEnd {
  readonly input: LaneInput;
  readonly code?: string;
}

/** What one lane does; both methods end as an input, whatever happens. */
export interface LaneWork {
  /** One exchange. */
  run(signal: AbortSignalLike): Promise<WorkEnd>;
  /** A new token in place of the refused one. */
  refresh(signal: AbortSignalLike): Promise<WorkEnd>;
  /** How long an idle lane rests; it is woken before when there is something to do. */
  restMs(): number;
  /** Is there something to do that nothing waits for? */
  hasWork(): boolean;
}

/** What {@link createLaneLoop} needs. */
export interface LaneDeps {
  readonly name: LaneName;
  readonly work: LaneWork;
  readonly halted: boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly observer: Observer;
  /** Called after every input, when its effects have begun. */
  readonly changed: (input: LaneInput, code: string | undefined) => void;
}

/** A lane that runs. */
export interface LaneLoop {
  readonly name: LaneName;
  readonly lane: SyncLane;
  /** Code of the failure that the lane waits because of. */
  readonly failure: string | undefined;
  send(input: LaneInput): void;
  /** Resolves once nothing is under way. */
  settled(): Promise<void>;
  /** Restarts a lane that has work and neither runs nor waits nor has a named reason. Was it so? */
  watch(): boolean;
}

const named: ReadonlySet<SyncLane["phase"]> = new Set(["stopped", "halted"]);

/** A lane, stopped, or halted when a person has to look first. */
export function createLaneLoop(deps: LaneDeps): LaneLoop {
  const { name, work, timers, observer } = deps;
  let lane = createSyncLane(deps.halted ? "halted" : "stopped");
  let failure: string | undefined;
  let abort: Abort | undefined;
  let stopTimer: (() => void) | undefined;
  let waiting: (() => void)[] = [];

  function wait(milliseconds: number): void {
    stopTimer?.();
    stopTimer = timers.after(
      milliseconds,
      () => {
        stopTimer = undefined;
        send({ kind: "due" });
      },
      true,
    );
  }

  function begin(effect: "run" | "refresh-token"): void {
    invariant(abort === undefined, "a lane does one thing at a time");
    const own = createAbort();
    abort = own;
    observer.gauge("sync_active", 1, { lane: name });
    const doing = effect === "run" ? work.run(own.signal) : work.refresh(own.signal);
    void doing.then(({ input, code }) => {
      abort = undefined;
      observer.gauge("sync_active", 0, { lane: name });
      send(input, code);
    });
  }

  function perform(effect: LaneEffect): void {
    switch (effect.kind) {
      case "run":
      case "refresh-token":
        begin(effect.kind);
        return;
      case "abort":
        abort?.abort();
        return;
      case "rest":
        wait(work.restMs());
        return;
      case "back-off": {
        observer.count("sync_backoffs", 1, { lane: name });
        const { failures: attempt, atLeastMs: retryAfterMs } = effect;
        wait(backoffMs({ attempt, retryAfterMs }, deps.random));
        return;
      }
      case "wait-open":
        wait(Math.min(Math.max(0, effect.waitMs), limits.backoffMostMs));
        return;
      case "wait-auth":
        wait(spread(limits.backoffMostMs * 0.75, 1 / 3, deps.random));
        return;
    }
  }

  function send(input: LaneInput, code?: string): void {
    const before = lane.phase;
    const { lane: next, effects } = step(lane, input);
    lane = next;
    if (input.kind === "succeeded") failure = undefined;
    if (code !== undefined) failure = code;
    if (next.phase !== before) {
      stopTimer?.();
      stopTimer = undefined;
    }
    for (const effect of effects) perform(effect);
    if (!isActive(lane)) {
      const told = waiting;
      waiting = [];
      for (const resolve of told) resolve();
    }
    deps.changed(input, code);
  }

  return {
    name,
    get lane() {
      return lane;
    },
    get failure() {
      return failure;
    },
    send,
    settled: () =>
      isActive(lane)
        ? new Promise((resolve) => {
            waiting.push(resolve);
          })
        : Promise.resolve(),
    watch() {
      if (abort !== undefined || stopTimer !== undefined || named.has(lane.phase)) return false;
      if (lane.phase === "idle" && !work.hasWork()) return false;
      // Whatever it forgot, it is not under way: begin again from idle.
      lane = { ...lane, phase: "idle" };
      observer.count("sync_lane_restarts", 1, { lane: name });
      send({ kind: "due" });
      return true;
    },
  };
}
