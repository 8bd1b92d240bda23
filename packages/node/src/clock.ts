/** The `Clock` and `Timers` ports on Node. */
import type { Clock, Timers } from "@holdfast/core";

/** Wall clock of the system, and the process's own clock that never goes back. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** setTimeout holds 31 bits; a longer delay would fire at once. */
const delayMsMax = 2 ** 31 - 1;

/** Timers that do not keep the process alive. Delays are cut to 24.8 days. */
export const systemTimers: Timers = {
  after(milliseconds, run) {
    const timer = setTimeout(run, Math.min(Math.max(milliseconds, 0), delayMsMax));
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
