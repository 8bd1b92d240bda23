/**
 * Keeps the live tail open: a stream of hints that there is something to pull. It is opened again with
 * backoff; while it is closed, the pull lane polls. A tail that ends, or a hint that is lost, costs time only.
 */
import { backoffMs } from "../outbox/backoff.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { createAbort } from "./abort.ts";
import type { Authorizer } from "./auth.ts";
import { troubleOf } from "./failure.ts";
import type { Transport } from "./transport.ts";

/** What {@link createTail} needs. */
export interface TailDeps {
  readonly transport: Pick<Transport, "tail">;
  readonly auth: Authorizer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly observer: Observer;
  /** There may be something to pull. */
  readonly hinted: () => void;
}

/** The tail of one engine. */
export interface Tail {
  /** Is a tail open, as far as this side knows? */
  readonly open: boolean;
  start(): void;
  stop(): void;
}

/** One opening: its end is reported once, and nothing of it counts afterwards. */
interface Opening {
  close(): void;
}

/** A tail that is not started yet. */
export function createTail(deps: TailDeps): Tail {
  const { auth, clock, timers, observer } = deps;
  let started = false;
  let opening: Opening | undefined;
  let isOpen = false;
  let failures = 0;
  let stopTimer: (() => void) | undefined;

  function later(error: unknown): void {
    const { retryAfterMs } = troubleOf(error);
    const asked = retryAfterMs === undefined ? {} : { retryAfterMs };
    failures += 1;
    const wait = backoffMs({ attempt: failures, ...asked }, deps.random);
    stopTimer = timers.after(wait, begin, true);
  }

  function begin(): void {
    stopTimer = undefined;
    if (!started) return;
    opening = openOnce();
  }

  function openOnce(): Opening {
    const abort = createAbort();
    let over = false;
    let close: (() => void) | undefined;
    let since = clock.monotonic();

    function ended(error: unknown, token: string | undefined): void {
      if (over) return;
      over = true;
      isOpen = false;
      opening = undefined;
      observer.count("sync_tail_ends", 1);
      if (token !== undefined && troubleOf(error).retry === "auth") auth.refused(token);
      if (close !== undefined && clock.monotonic() - since >= limits.tailSteadyMs) failures = 0;
      if (started) later(error);
    }

    void auth.token(abort.signal).then(
      (token) => {
        if (over) return;
        since = clock.monotonic();
        isOpen = true;
        const listener = {
          hint(): void {
            if (!over) deps.hinted();
          },
          ended(error: unknown): void {
            ended(error, token);
          },
        };
        try {
          close = deps.transport.tail(listener, { token, signal: abort.signal });
        } catch (error) {
          ended(error, token);
          return;
        }
        // It may have ended before its own close was known. Hints were lost until now: look once.
        if (over) close();
        else deps.hinted();
      },
      (error: unknown) => {
        ended(error, undefined);
      },
    );
    return {
      close() {
        over = true;
        abort.abort();
        close?.();
      },
    };
  }

  return {
    get open() {
      return isOpen;
    },
    start() {
      if (started) return;
      started = true;
      failures = 0;
      begin();
    },
    stop() {
      started = false;
      isOpen = false;
      stopTimer?.();
      stopTimer = undefined;
      opening?.close();
      opening = undefined;
    },
  };
}
