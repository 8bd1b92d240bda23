/** Ends of work: a signal as platforms have it, and a bound of time around one call to the outside. */
import { HoldfastError } from "../std/errors.ts";
import type { Timers } from "../std/ports.ts";
import type { AbortSignalLike } from "./transport.ts";

/** A signal and what sets it off. */
export interface Abort {
  readonly signal: AbortSignalLike;
  abort(): void;
}

/** Like the platform's AbortController, which the core cannot count on. */
export function createAbort(): Abort {
  let aborted = false;
  const listeners = new Set<() => void>();
  return {
    signal: {
      get aborted() {
        return aborted;
      },
      addEventListener: (_, listener) => {
        listeners.add(listener);
      },
      removeEventListener: (_, listener) => {
        listeners.delete(listener);
      },
    },
    abort() {
      if (aborted) return;
      aborted = true;
      const told = [...listeners];
      listeners.clear();
      for (const listener of told) listener();
    },
  };
}

/**
 * One call to the outside: ends with its answer, with `sync_cancelled` once the signal is set off, or with
 * `network_timeout`. Whoever was called is told; its late answer goes nowhere.
 */
export function bounded<T>(
  timers: Timers,
  milliseconds: number,
  outer: AbortSignalLike,
  call: (signal: AbortSignalLike) => Promise<T>,
): Promise<T> {
  if (outer.aborted) return Promise.reject(new HoldfastError("sync_cancelled"));
  const inner = createAbort();
  return new Promise<T>((resolve, reject) => {
    const end = (code: "sync_cancelled" | "network_timeout"): void => {
      finish();
      reject(new HoldfastError(code));
      inner.abort();
    };
    const cancelled = (): void => {
      end("sync_cancelled");
    };
    const stopTimer = timers.after(milliseconds, () => {
      end("network_timeout");
    });
    const finish = (): void => {
      stopTimer();
      outer.removeEventListener("abort", cancelled);
    };
    outer.addEventListener("abort", cancelled);
    call(inner.signal).then(
      (answer) => {
        finish();
        resolve(answer);
      },
      (error: unknown) => {
        finish();
        reject(error);
      },
    );
  });
}
