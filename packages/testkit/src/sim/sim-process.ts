/**
 * One life of a program on a simulated machine: its clocks, its timers, and its end. A process that was
 * killed gets no timer and no answer any more, whatever was on its way; a paused one gets them when it
 * goes on.
 */
import type { Clock, ProcessIdentity, Timers } from "@holdfast/core";
import type { Scheduler } from "./scheduler.ts";

/** The wall clock of a machine: people, batteries and time servers set it. Shared by its processes. */
export interface WallClock {
  /** Milliseconds between the wall clock and virtual time. */
  offset: number;
  /** How much faster the machine counts than virtual time does: 0.01 is one percent. */
  readonly drift: number;
}

/** A running, paused or dead program. */
export interface SimProcess {
  readonly name: string;
  readonly alive: boolean;
  readonly paused: boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly identity: ProcessIdentity;
  /** Ends it where it stands. What hangs on it is given back by `atDeath`, outside of any call. */
  kill(): void;
  pause(): void;
  resume(): void;
  /** Runs when the process has been killed, as a step of its own. */
  atDeath(run: () => void): void;
  /** Delivers something from outside: now, when it goes on, or never. */
  deliver(label: string, run: () => void): void;
}

/** What a process is started with. */
export interface SimProcessOptions {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly wall: WallClock;
  /** Holders of leases that run: a machine knows its own processes. */
  readonly running: Set<string>;
}

/** Starts a process: it is alive at once. */
export function startProcess(options: SimProcessOptions): SimProcess {
  const { name, scheduler, wall, running } = options;
  const speed = 1 + wall.drift;
  const started = scheduler.now;
  const held: { readonly label: string; readonly run: () => void }[] = [];
  const endings: (() => void)[] = [];
  let alive = true;
  let paused = false;

  function deliver(label: string, run: () => void): void {
    if (!alive) return;
    if (paused) held.push({ label, run });
    else run();
  }

  const after = (milliseconds: number, run: () => void, label = "timer"): (() => void) => {
    if (!alive) return () => undefined;
    const state = { off: false };
    const cancel = scheduler.after(Math.max(0, milliseconds) / speed, `${name} ${label}`, () => {
      deliver(label, () => {
        if (!state.off) run();
      });
    });
    return () => {
      state.off = true;
      cancel();
    };
  };

  running.add(name);
  return {
    name,
    get alive() {
      return alive;
    },
    get paused() {
      return paused;
    },
    clock: {
      now: () => Math.round(scheduler.now * speed + wall.offset),
      monotonic: () => (scheduler.now - started) * speed,
    },
    timers: {
      after: (milliseconds, run) => after(milliseconds, run),
      soon(run) {
        after(0, run, "soon");
      },
    },
    identity: { holder: name, isGone: (holder) => !running.has(holder) },
    kill() {
      if (!alive) return;
      alive = false;
      held.length = 0;
      running.delete(name);
      scheduler.note(`${name} killed`);
      for (const run of endings.splice(0)) scheduler.after(0, `${name} buried`, run);
    },
    pause() {
      paused = true;
    },
    resume() {
      paused = false;
      for (const { label, run } of held.splice(0)) {
        scheduler.after(0, `${name} resumed ${label}`, () => {
          deliver(label, run);
        });
      }
    },
    atDeath(run) {
      endings.push(run);
    },
    deliver,
  };
}
