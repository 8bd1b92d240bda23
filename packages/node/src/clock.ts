/** The `Clock` and `Timers` ports on Node. */
import type { Clock, Timers } from "@holdfast/core";

/** Wall clock of the system, and the process's own clock that never goes back. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** setTimeout holds 31 bits; a longer delay would fire at once. */
const delayMsMax = 2 ** 31 - 1;

/** Timers of the process; background ones do not keep it alive. Delays are cut to 24.8 days. */
export const systemTimers: Timers = {
  after(milliseconds, run, background = false) {
    const timer = setTimeout(run, Math.min(Math.max(milliseconds, 0), delayMsMax));
    if (background) timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
  soon(run) {
    setImmediate(run);
  },
};
