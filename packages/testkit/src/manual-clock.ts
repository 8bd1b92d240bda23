/**
 * Time by hand: a clock and its timers that move only when told to.
 */
import type { Clock, Timers } from "@holdfast/core";

/** Clock and timers in one; hand it over as both ports. `soon` is no time: the platform runs it. */
export interface ManualClock extends Clock, Timers {
  /** Moves both clocks on and runs the timers that come due, in order of their time. */
  advance(milliseconds: number): void;
  /** Sets the wall clock, also back; the monotonic clock stays. */
  setWall(milliseconds: number): void;
  /** Timers that wait. */
  readonly pending: number;
}

interface Timer {
  readonly due: number;
  readonly run: () => void;
}

/** Starts at that wall time, UTC milliseconds; by default 2026-01-01. */
export function createManualClock(start = Date.UTC(2026, 0, 1)): ManualClock {
  let wall = start;
  let monotonic = 0;
  let timers: readonly Timer[] = [];

  function nextDue(until: number): Timer | undefined {
    return timers
      .filter(({ due }) => due <= until)
      .toSorted((a, b) => a.due - b.due)
      .at(0);
  }

  return {
    now: () => wall,
    monotonic: () => monotonic,
    after(milliseconds, run) {
      const timer = { due: monotonic + Math.max(0, milliseconds), run };
      timers = [...timers, timer];
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    soon(run) {
      setImmediate(run);
    },
    advance(milliseconds) {
      const until = monotonic + milliseconds;
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        const fired = timer;
        timers = timers.filter((other) => other !== fired);
        wall += fired.due - monotonic;
        monotonic = fired.due;
        fired.run();
      }
      wall += until - monotonic;
      monotonic = until;
    },
    setWall(milliseconds) {
      wall = milliseconds;
    },
    get pending() {
      return timers.length;
    },
  };
}

/** Moves the clock until the promise settles; the machine's own time plays no part. */
export async function settle<T>(clock: ManualClock, promise: Promise<T>): Promise<T> {
  const state = { settled: false };
  const mark = (): void => {
    state.settled = true;
  };
  promise.then(mark, mark);
  while (!state.settled) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance(5);
  }
  return promise;
}
