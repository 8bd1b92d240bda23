/**
 * What a seed turns on. Each class of faults is on in about half of the seeds, so that runs without it are
 * explored as well: a fault that hides another one would otherwise always do so.
 */
import type { Chance } from "../chance.ts";

/** One in so many; 0: never. */
export type OneIn = number;

/** What a run does, and what is done to it. Times are virtual milliseconds. */
export interface Knobs {
  readonly devices: number;
  /** How long faults go on. */
  readonly faultMs: number;
  /** Calls of one device before it only watches. */
  readonly calls: number;
  /** Mean time between two calls of a device. */
  readonly thinkMs: number;
  /** Streams that devices share, and that each has alone. */
  readonly streams: { readonly shared: number; readonly own: number };
  /** Subjects, each with a scope of its own, among which streams are divided. */
  readonly subjects: number;
  /** Devices that may read the first subject alone; never the first device. */
  readonly restricted: number;
  /** Mean time between two kills of a device's process; 0: none. */
  readonly killEveryMs: number;
  /** A kill strikes at an access to the disk, rather than between two steps. */
  readonly killAtAccess: boolean;
  /** Power goes with one in so many kills. */
  readonly powerLoss: OneIn;
  /** Accesses to the disk that fail. */
  readonly readErrors: OneIn;
  readonly writeErrors: OneIn;
  readonly syncErrors: OneIn;
  /** Mean time between two spells of a full disk; 0: none. */
  readonly fullEveryMs: number;
  /** Mean time between two jumps of the wall clock; 0: none. */
  readonly jumpEveryMs: number;
  /** Clocks that run fast or slow, parts of a thousand. */
  readonly drift: number;
  /** Mean time between two pauses of a process; 0: none. */
  readonly pauseEveryMs: number;
  /** When a device is put back to an older copy of its disk, after so long; 0: never. */
  readonly rewindAfterMs: number;
  /** When a copy of a device's disk begins to live beside it, after so long; 0: never. */
  readonly cloneAfterMs: number;
  /** The copy lies where the original lay, on a machine that cannot be told from it. */
  readonly cloneUnnoticed: boolean;
  /** Copies hold the high-water marks as well: nothing on the device tells them from the newest state. */
  readonly copyWhole: boolean;
  /** Does the run have a server? Without it the devices are alone. */
  readonly server: boolean;
  /** Mean time of one way through the network. */
  readonly netDelayMs: number;
  /** Messages that are lost, or come twice. */
  readonly netLoss: OneIn;
  readonly netDuplicate: OneIn;
  /** Mean time between two partitions of a device; 0: none. */
  readonly cutEveryMs: number;
  /** Mean time between two kills of the server; 0: none. */
  readonly serverKillEveryMs: number;
  /** A server that died is back after so long at most. */
  readonly serverRestartMs: number;
  /** Accesses to the server's disk that fail. */
  readonly serverErrors: OneIn;
  /** Is there a second server node, which takes the folder over when the first one dies? */
  readonly standby: boolean;
  /** Mean time between two moves of the tenant to another shard; 0: none. */
  readonly moveEveryMs: number;
  /** Do devices keep a live tail open? Hints are messages, and as uncertain. */
  readonly tail: boolean;
  /** Life of an access token. */
  readonly tokenMs: number;
  /** Between two looks of a device for what others did. */
  readonly pollMs: number;
}

/** Draws the knobs of a seed. */
export function drawKnobs(chance: Chance): Knobs {
  const sometimes = <T>(value: T, off: T): T => (chance.oneIn(2) ? value : off);
  const between = (low: number, high: number): number => low + chance.integer(high - low + 1);
  // Most worlds are short: what devices and faults can do to each other they do early, and more seeds see more.
  const calls = chance.oneIn(8) ? between(24, 48) : between(5, 20);
  const thinkMs = between(20, 400);
  const server = !chance.oneIn(3);
  const faultMs = Math.round(1.3 * calls * thinkMs) + 1_000;
  // Drawn by few seeds: what copies excuse, the others must keep.
  const copied = (): number => (chance.oneIn(6) ? between(1, faultMs) : 0);
  return {
    devices: server ? between(2, 3) : 1,
    server,
    // Faults strike while there is work; the rest of the time would be spent watching.
    faultMs,
    calls,
    thinkMs,
    streams: { shared: between(1, 3), own: between(0, 2) },
    killEveryMs: sometimes(between(2, 20) * thinkMs, 0),
    killAtAccess: !chance.oneIn(3),
    powerLoss: sometimes(between(1, 3), 0),
    readErrors: sometimes(between(30, 3_000), 0),
    writeErrors: sometimes(between(20, 1_000), 0),
    syncErrors: sometimes(between(10, 200), 0),
    fullEveryMs: sometimes(between(5, 40) * thinkMs, 0),
    jumpEveryMs: sometimes(between(5, 40) * thinkMs, 0),
    drift: sometimes(between(0, 20) - 10, 0),
    pauseEveryMs: sometimes(between(10, 60) * thinkMs, 0),
    netDelayMs: between(1, 300),
    netLoss: sometimes(between(3, 50), 0),
    netDuplicate: sometimes(between(3, 50), 0),
    cutEveryMs: sometimes(between(5, 40) * thinkMs, 0),
    serverKillEveryMs: sometimes(between(5, 40) * thinkMs, 0),
    serverRestartMs: between(100, 5_000),
    serverErrors: sometimes(between(20, 1_000), 0),
    tokenMs: chance.pick([2_000, 60_000, 600_000]),
    pollMs: between(100, 5_000),
    rewindAfterMs: copied(),
    cloneAfterMs: copied(),
    cloneUnnoticed: chance.oneIn(2),
    copyWhole: chance.oneIn(2),
    subjects: between(1, 3),
    restricted: sometimes(between(1, 2), 0),
    tail: chance.oneIn(2),
    standby: chance.oneIn(2),
    moveEveryMs: chance.oneIn(3) ? between(5, 40) * thinkMs : 0,
  };
}
