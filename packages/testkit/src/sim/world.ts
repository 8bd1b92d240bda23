/**
 * One run: devices at work while faults strike, then all faults end, and what was promised must hold.
 */
import { base64url, type Crypto, silentObserver } from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import { type Chance, createChance } from "../chance.ts";
import { createNoteRegistry } from "../note-events.ts";
import { createDevice, type OpenDevice, type SimDevice } from "./device.ts";
import { diary } from "./domain.ts";
import { drawKnobs, type Knobs } from "./knobs.ts";
import { createLedger, type Ledger, LivenessError, SafetyError } from "./ledger.ts";
import { type Plant, noPlant } from "./plant.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";
import { initSimStore, type SimStorePorts } from "./sim-store.ts";
import type { Sqlite } from "./sqlite-module.ts";
import {
  allEvents,
  checkAcknowledged,
  checkNothingElse,
  checkProofs,
  checkReadModels,
} from "./store-oracles.ts";
import { createWork, thinkTime, type Work } from "./workload.ts";

/** What a run is made of. */
export interface WorldOptions {
  readonly seed: number;
  readonly sqlite: Sqlite;
  readonly crypto: Crypto;
  readonly plant?: Plant;
  /** Instead of what the seed draws. */
  readonly knobs?: Partial<Knobs>;
}

/** A world that can be run once. */
export interface World {
  readonly scheduler: Scheduler;
  readonly knobs: Knobs;
  readonly ledger: Ledger;
  /** Throws a `SafetyError`, a `LivenessError`, or whatever broke. */
  run(): Promise<void>;
}

/** How long after the last fault everything must be well, virtual milliseconds. */
const healMsMax = 15 * 60_000;

/** Independent streams of chance from one seed. */
function chanceOf(seed: number, purpose: number): Chance {
  return createChance(Math.imul(seed, 0x9e3779b1) ^ Math.imul(purpose + 1, 0x85ebca6b));
}

/** Keys from the seed: their order decides orders of devices. */
function seeded(crypto: Crypto, chance: Chance): Crypto {
  const { generateSigningKey } = nobleCrypto(chance);
  return { ...crypto, generateSigningKey };
}

interface Inhabitant {
  readonly device: SimDevice;
  readonly work: Work;
}

/** A world from a seed. */
export function createWorld(options: WorldOptions): World {
  const { seed, sqlite, plant = noPlant } = options;
  const scheduler = createScheduler(chanceOf(seed, 0));
  const knobs: Knobs = { ...drawKnobs(chanceOf(seed, 1)), ...options.knobs };
  const ledger = createLedger(() => scheduler.now);
  const random = chanceOf(seed, 2);
  const failures: Error[] = [];
  sqlite.reseed(chanceOf(seed, 3));
  const store: SimStorePorts = {
    sqlite,
    crypto: seeded(options.crypto, random),
    random,
    registry: createNoteRegistry(),
    projections: [diary],
    observer: silentObserver,
    driver: plant.driver,
    medium: plant.medium,
  };
  const fail = (error: unknown): void => {
    failures.push(asError(error));
  };
  const inhabitants: readonly Inhabitant[] = Array.from({ length: knobs.devices }, (_, at) => {
    const chance = chanceOf(seed, 100 + at);
    const device = createDevice(`d${at + 1}`, {
      scheduler,
      store,
      knobs,
      chance,
      fail,
      disk: plant.disk,
    });
    const work = createWork(device, { scheduler, ledger, knobs, surface: plant.surface });
    return { device, work };
  });
  const context: Context = { scheduler, knobs, ledger, store, inhabitants, failures };
  return {
    scheduler,
    knobs,
    ledger,
    async run() {
      await runWorld(context, chanceOf(seed, 4), random);
    },
  };
}

interface Context {
  readonly scheduler: Scheduler;
  readonly knobs: Knobs;
  readonly ledger: Ledger;
  readonly store: SimStorePorts;
  readonly inhabitants: readonly Inhabitant[];
  readonly failures: Error[];
}

async function runWorld(context: Context, chance: Chance, random: Chance): Promise<void> {
  const { scheduler, knobs, inhabitants } = context;
  const tenant = base64url(random.bytes(16));
  for (const { device } of inhabitants) {
    const process = device.visit();
    await initSimStore(context.store, device.site, process, tenant);
    process.kill();
  }
  for (const { device, work } of inhabitants) {
    device.arm();
    device.live(async (open) => {
      checkOnOpening(context, device, open);
      await work.run(open);
    });
    strike(context, device, chance);
  }
  await scheduler.run({ at: knobs.faultMs, done: () => context.failures.length > 0 });
  throwFirst(context);
  scheduler.note("healed");
  for (const { device } of inhabitants) device.heal();
  await untilWell(context);
  await checkEnd(context, chance);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(`thrown: ${JSON.stringify(error)}`);
}

/** Errors of devices surface in their order. */
function throwFirst({ failures }: Context): void {
  const [first] = failures;
  if (first !== undefined) throw first;
}

/** Plans the faults of one device that are not those of its disk. */
function strike({ scheduler, knobs }: Context, device: SimDevice, chance: Chance): void {
  const every = (mean: number, label: string, run: () => void): void => {
    if (mean === 0) return;
    scheduler.after(thinkTime(chance, mean), `${device.name} ${label}`, () => {
      if (scheduler.now >= knobs.faultMs) return;
      run();
      every(mean, label, run);
    });
  };
  every(knobs.killEveryMs, "kill", () => {
    device.kill(knobs.killAtAccess);
  });
  every(knobs.fullEveryMs, "disk full", () => {
    device.fill(true);
    scheduler.after(chance.integer(1_000), `${device.name} disk has room`, () => {
      device.fill(false);
    });
  });
  every(knobs.jumpEveryMs, "clock jumps", () => {
    const size = chance.pick([1_000, 60_000, 7_200_000, 86_400_000, 40 * 365 * 86_400_000]);
    device.wall.offset += chance.oneIn(2) ? size : -size;
  });
  every(knobs.pauseEveryMs, "pause", () => {
    device.pause();
    scheduler.after(chance.integer(3_000), `${device.name} resume`, () => {
      device.resume();
    });
  });
}

/** What must hold whenever a store opens, faults or not. */
function checkOnOpening({ ledger }: Context, device: SimDevice, { store }: OpenDevice): void {
  device.undisturbed(() => {
    const detected = store
      .status()
      .findings.some(({ code }) => code === "store_rolled_back" || code === "store_rewritten");
    // A store that says that it is behind its mark has lost nothing silently.
    if (!detected) checkAcknowledged(device.name, store, ledger);
  });
}

/** Every device works again within bounded time. */
async function untilWell(context: Context): Promise<void> {
  const { scheduler, inhabitants } = context;
  const until = scheduler.now + healMsMax;
  const well = new Set<string>();
  for (const { device, work } of inhabitants) {
    const tryOnce = async (): Promise<void> => {
      const { open } = device;
      const code = open === undefined ? "not open" : await work.probe(open);
      if (code === undefined) well.add(device.name);
      else if (!recovering(code)) throw new SafetyError(`${device.name}: ${code} without a fault`);
      else scheduler.after(1_000, `${device.name} probe`, probe);
    };
    const probe = (): void => {
      tryOnce().catch((error: unknown) => {
        context.failures.push(asError(error));
      });
    };
    scheduler.after(1_000, `${device.name} probe`, probe);
  }
  const ended = await scheduler.run({
    at: until,
    done: () => context.failures.length > 0 || well.size === inhabitants.length,
  });
  throwFirst(context);
  if (ended === "done") return;
  const waiting = inhabitants.find(({ device }) => !well.has(device.name))?.device;
  throw new LivenessError(
    `${waiting?.name ?? "?"} is not well after the last fault: ${waiting?.openFailure ?? "silent"}`,
  );
}

/** Codes that the last fault may still explain when it has just ended. */
function recovering(code: string): boolean {
  return ["not open", "store_io_error", "store_full", "store_corrupt", "store_busy"].includes(code);
}

/** Findings of `verify` that faults of the disk explain: copies that the next write repairs. */
function explained(knobs: Knobs): ReadonlySet<string> {
  const { writeErrors, syncErrors, fullEveryMs, killEveryMs } = knobs;
  if (writeErrors + syncErrors + fullEveryMs + killEveryMs === 0) return new Set();
  return new Set([
    "keyring_copy_missing",
    "keyring_line_damaged",
    "keyring_line_missing",
    "keyring_line_torn",
    "mark_damaged",
  ]);
}

/** The end: all promises, on the open store and once more after a power cut and a new opening. */
async function checkEnd(context: Context, chance: Chance): Promise<void> {
  const { scheduler, inhabitants, ledger } = context;
  for (const { device } of inhabitants) {
    const { open } = device;
    if (open === undefined) throw new LivenessError(`${device.name} went down without a fault`);
    const events = allEvents(open.store);
    checkAcknowledged(device.name, open.store, ledger);
    checkNothingElse(device.name, events, ledger);
    await settle(scheduler, checkReadModels(device.name, open.store, events));
    checkProofs(device.name, open.store, explained(context.knobs));
    for (const { leaf } of events) scheduler.note(leaf);
    device.retire();
  }
  await scheduler.run({ at: scheduler.now + 5_000 });
  for (const { device } of inhabitants) {
    device.site.disk.losePower(chance);
    device.restart();
    await scheduler.run({ at: scheduler.now + 60_000, done: () => device.open !== undefined });
    const { open } = device;
    if (open === undefined) throw new LivenessError(`${device.name}: ${device.openFailure ?? "?"}`);
    checkAcknowledged(device.name, open.store, ledger);
    await settle(scheduler, open.store.close());
  }
}

/** Work that needs virtual time to go on. */
async function settle<T>(scheduler: Scheduler, work: Promise<T>): Promise<T> {
  const state = { settled: false };
  const mark = (): void => {
    state.settled = true;
  };
  work.then(mark, mark);
  const ended = await scheduler.run({ at: scheduler.now + healMsMax, done: () => state.settled });
  if (ended !== "done") throw new LivenessError("a check did not end");
  return work;
}
