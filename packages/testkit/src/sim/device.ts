/**
 * One simulated installation: a disk, a wall clock, and one process after another that opens the store and
 * works with it. Whatever an answer belonged to a dead process is never heard.
 */
import { type Holdfast, isHoldfastError, type Keyring } from "@holdfast/core";
import type { Chance } from "../chance.ts";
import { createDisk, type DiskFaults, type DiskImage, type SimDisk } from "./disk.ts";
import type { Knobs, OneIn } from "./knobs.ts";
import type { Scheduler } from "./scheduler.ts";
import { type SimProcess, startProcess, type WallClock } from "./sim-process.ts";
import { openSimStore, type SimSite, type SimStorePorts } from "./sim-store.ts";

/** What a device needs of its world. */
export interface DevicePorts {
  readonly scheduler: Scheduler;
  readonly store: SimStorePorts;
  readonly knobs: Knobs;
  /** Stands between the device and its disk: planted bugs. */
  readonly disk: (disk: SimDisk) => SimDisk;
  /** Of this device alone. */
  readonly chance: Chance;
  /** Ends the run: something broke that must not. */
  fail(error: unknown): void;
}

/** An open store, in the hands of a living process. */
export interface OpenDevice {
  readonly process: SimProcess;
  readonly store: Holdfast;
  readonly keyring: Keyring;
  /** An answer that only a living process hears. */
  hear<T>(answer: Promise<T>): Promise<T>;
  sleep(milliseconds: number): Promise<void>;
}

/** One simulated installation; see the module header. */
export interface SimDevice {
  readonly name: string;
  readonly site: SimSite;
  readonly wall: WallClock;
  readonly chance: Chance;
  /** Set while a process has the store open. */
  readonly open: OpenDevice | undefined;
  /** Code of the last opening that failed. */
  readonly openFailure: string | undefined;
  /**
   * Starts a process, and another one whenever it dies, until the run ends. `connect` may fail as opening
   * does: the process ends.
   */
  live(connect: (open: OpenDevice) => void, onOpen: (open: OpenDevice) => Promise<void>): void;
  /** A process apart, for setting up. */
  visit(): SimProcess;
  /** Ends the process that runs, at once or at one of its next accesses to the disk. */
  kill(atAccess: boolean): void;
  pause(): void;
  resume(): void;
  /** The medium is full, or is not any more. */
  fill(full: boolean): void;
  /** No faults from here on. */
  heal(): void;
  /** Work on the store that no fault disturbs: a check, not an act of the device. */
  undisturbed<T>(work: () => T): T;
  /** Ends the process, and puts those files back before the next one begins, whose owner agrees to it. */
  rewind(image: DiskImage, prefix: string): void;
  /** Was it put back, or is it a copy, or was it copied? */
  readonly copied: boolean;
  markCopied(): void;
  /** Nobody restarts it any more; the process that runs is ended. */
  retire(): void;
  /** Opens it once more after it was retired, and only watches. */
  restart(): void;
  /** Lets the faults of its disk begin. */
  arm(): void;
}

const restartMsMax = 500;

/** A device with an empty disk. */
export function createDevice(name: string, ports: DevicePorts): SimDevice {
  const { scheduler, knobs, chance } = ports;
  const running = new Set<string>();
  const wall: WallClock = {
    offset: Date.UTC(2026, 0, 1) + chance.integer(120_000) - 60_000,
    drift:
      knobs.drift === 0
        ? 0
        : (chance.integer(2 * Math.abs(knobs.drift) + 1) - Math.abs(knobs.drift)) / 1_000,
  };
  const site: SimSite = {
    disk: ports.disk(createDisk()),
    place: { folder: `/${name}`, identity: "1" },
  };
  let lives = 0;
  let process: SimProcess | undefined;
  let open: OpenDevice | undefined;
  let openFailure: string | undefined;
  let connectTo: ((open: OpenDevice) => void) | undefined;
  let onOpen: ((open: OpenDevice) => Promise<void>) | undefined;
  let killIn: number | undefined;
  let full = false;
  let healed = false;
  let retired = false;
  let copied = false;
  let putBack: { readonly image: DiskImage; readonly prefix: string } | undefined;

  const strikes = (times: OneIn): boolean => times > 0 && chance.oneIn(times);

  const faults: DiskFaults = (access) => {
    const when = chance.oneIn(2) ? "before" : "after";
    if (killIn !== undefined) {
      killIn -= 1;
      if (killIn < 0) {
        killIn = undefined;
        process?.kill();
        return { failure: "dead", when };
      }
    }
    if (access === "write" && full) return { failure: "ENOSPC", when: "before" };
    const times =
      access === "read"
        ? knobs.readErrors
        : access === "sync"
          ? knobs.syncErrors
          : knobs.writeErrors;
    if (!strikes(times)) return undefined;
    scheduler.note(`${name} ${access} fails ${when}`);
    return { failure: "EIO", when: access === "read" ? "before" : when };
  };

  function start(): SimProcess {
    lives += 1;
    return startProcess({ name: `${name}/${lives}`, scheduler, wall, running });
  }

  function buried(): void {
    open = undefined;
    if (!healed && strikes(knobs.powerLoss)) {
      scheduler.note(`${name} loses power`);
      site.disk.losePower(chance);
    }
    if (retired) return;
    scheduler.after(1 + chance.integer(restartMsMax), `${name} restarts`, () => {
      if (!retired) run();
    });
  }

  /** The process dies as a step of its own; what follows comes after its connections were given up. */
  function run(): void {
    if (putBack !== undefined) {
      scheduler.note(`${name} is put back`);
      site.disk.restore(putBack.image, putBack.prefix);
      putBack = undefined;
    }
    const living = start();
    process = living;
    living.atDeath(() => {
      open = undefined;
      scheduler.after(1, `${name} is down`, buried);
    });
    openAndWork(living).catch((error: unknown) => {
      ports.fail(error);
    });
  }

  async function openAndWork(living: SimProcess): Promise<void> {
    let opened;
    try {
      opened = await hear(living, openSimStore(ports.store, site, living, copied));
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      openFailure = error.code;
      scheduler.note(`${living.name} cannot open: ${error.code}`);
      living.kill();
      return;
    }
    const ready: OpenDevice = {
      process: living,
      ...opened,
      hear: (answer) => hear(living, answer),
      sleep: (milliseconds) =>
        new Promise((resolve) => {
          living.timers.after(milliseconds, resolve);
        }),
    };
    open = ready;
    try {
      openFailure = undefined;
      connectTo?.(ready);
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      openFailure = error.code;
      scheduler.note(`${living.name} cannot connect: ${error.code}`);
      living.kill();
      return;
    }
    await onOpen?.(ready);
  }

  return {
    name,
    site,
    wall,
    chance,
    get open() {
      return open;
    },
    get openFailure() {
      return openFailure;
    },
    live(connect, work) {
      connectTo = connect;
      onOpen = work;
      run();
    },
    visit: start,
    kill(atAccess) {
      if (process?.alive !== true) return;
      if (atAccess) killIn = chance.integer(chance.oneIn(2) ? 15 : 150);
      else process.kill();
    },
    pause: () => process?.pause(),
    resume: () => process?.resume(),
    fill(wanted) {
      full = wanted;
    },
    heal() {
      healed = true;
      killIn = undefined;
      site.disk.faults = undefined;
      process?.resume();
    },
    undisturbed(work) {
      const before = site.disk.faults;
      site.disk.faults = undefined;
      try {
        return work();
      } finally {
        site.disk.faults = before;
      }
    },
    rewind(image, prefix) {
      putBack = { image, prefix };
      copied = true;
      process?.kill();
    },
    get copied() {
      return copied;
    },
    markCopied() {
      copied = true;
    },
    retire() {
      retired = true;
      process?.kill();
    },
    restart() {
      retired = false;
      connectTo = undefined;
      onOpen = undefined;
      run();
    },
    arm() {
      site.disk.faults = faults;
    },
  };
}

/** An answer that a dead process never hears, and a paused one later. */
function hear<T>(process: SimProcess, answer: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    answer.then(
      (value) => {
        process.deliver("answer", () => {
          resolve(value);
        });
      },
      (error: unknown) => {
        process.deliver("refusal", () => {
          reject(error instanceof Error ? error : new Error(String(error)));
        });
      },
    );
  });
}
