/**
 * One run: devices at work while faults strike, then all faults end, and what was promised must hold.
 */
import { type Crypto, silentObserver } from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import { type Chance, createChance } from "../chance.ts";
import { createNoteRegistry } from "../note-events.ts";
import { attempt } from "./connection.ts";
import { planCopies } from "./copies.ts";
import { createDevice, type OpenDevice, type SimDevice } from "./device.ts";
import { diary } from "./domain.ts";
import { checkEnd, comeTogether } from "./healing.ts";
import {
  asError,
  type Backend,
  type Context,
  type Inhabitant,
  pollMs,
  throwFirst,
} from "./inhabitants.ts";
import { drawKnobs, type Knobs } from "./knobs.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { planMoves } from "./moves.ts";
import { createNetwork, type SimNetwork } from "./network.ts";
import { type Plant, noPlant } from "./plant.ts";
import { gatedPlant } from "./plant-gate.ts";
import { rememberingCrypto } from "./remembering-crypto.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";
import { settleIn } from "./settling-in.ts";
import { createSimServer } from "./sim-server.ts";
import type { SimStorePorts } from "./sim-store.ts";
import type { Sqlite } from "./sqlite-module.ts";
import { checkAcknowledged } from "./store-oracles.ts";
import { createWork, subjectOf, thinkTime } from "./workload.ts";

/** What a run is made of. */
export interface WorldOptions {
  readonly seed: number;
  readonly sqlite: Sqlite;
  readonly crypto: Crypto;
  readonly plant?: Plant;
  /** Instead of what the seed draws. */
  readonly knobs?: Partial<Knobs>;
  /** Lets promises run on between steps. */
  readonly drain: () => Promise<void>;
}

/** A world that can be run once. */
export interface World {
  readonly scheduler: Scheduler;
  readonly knobs: Knobs;
  readonly ledger: Ledger;
  /** To look at after the run. */
  readonly context: Context;
  /** Throws a `SafetyError`, a `LivenessError`, or whatever broke. */
  run(): Promise<void>;
}

/** Independent streams of chance from one seed. */
export function chanceOf(seed: number, purpose: number): Chance {
  return createChance(Math.imul(seed, 0x9e3779b1) ^ Math.imul(purpose + 1, 0x85ebca6b));
}

/** Keys from the seed: their order decides orders of devices. */
export function seeded(crypto: Crypto, chance: Chance): Crypto {
  const { generateSigningKey } = nobleCrypto(chance);
  return { ...rememberingCrypto(crypto), generateSigningKey };
}

/** A world from a seed. */
export function createWorld(options: WorldOptions): World {
  const { seed, sqlite } = options;
  const plant = gatedPlant(options.plant ?? noPlant, () => context.phase !== "settling in");
  const scheduler = createScheduler(chanceOf(seed, 0), options.drain);
  const knobs: Knobs = { ...drawKnobs(chanceOf(seed, 1)), ...options.knobs };
  const ledger = createLedger(() => scheduler.now);
  const random = chanceOf(seed, 2);
  const crypto = seeded(options.crypto, random);
  const failures: Error[] = [];
  sqlite.reseed(chanceOf(seed, 3));
  const store: SimStorePorts = {
    sqlite,
    crypto,
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
  function inhabit(number: number, subjects: readonly string[] | undefined): Inhabitant {
    const chance = chanceOf(seed, 100 + number);
    const ports = { scheduler, store, knobs, chance, fail, disk: plant.disk };
    const device = createDevice(`d${number + 1}`, ports);
    const ended = (): boolean => context.phase === "healing";
    const { surface } = plant;
    const work = createWork(device, { scheduler, ledger, knobs, surface, ended, subjects });
    return { device, work, subjects, connected: undefined };
  }

  const { devices, restricted } = knobs;
  const inhabitants = Array.from({ length: devices }, (_, at) =>
    inhabit(at, at > 0 && at >= devices - restricted ? [subjectOf(0)] : undefined),
  );
  const backend = knobs.server ? createBackend() : undefined;
  const context: Context = {
    scheduler,
    knobs,
    ledger,
    store,
    plant,
    inhabitants,
    backend,
    failures,
    phase: "settling in",
    inhabit,
    begin: (inhabitant, open) => begin(context, inhabitant, open),
  };

  function createBackend(): Backend {
    const chance = chanceOf(seed, 50);
    const server = createSimServer({ scheduler, sqlite, crypto, chance, knobs, plant, fail });
    return { server, network: createNetwork({ scheduler, chance, knobs, server }) };
  }

  return {
    scheduler,
    knobs,
    ledger,
    context,
    run: () => runWorld(context, chanceOf(seed, 4), random),
  };
}

async function runWorld(context: Context, chance: Chance, random: Chance): Promise<void> {
  const { scheduler, knobs, inhabitants, backend } = context;
  await settleIn(context, random);
  scheduler.note("settled in");
  context.phase = "faults";
  const until = scheduler.now + knobs.faultMs;
  for (const inhabitant of inhabitants) {
    const { device } = inhabitant;
    device.arm();
    if (device.open !== undefined) {
      begin(context, inhabitant, device.open).catch((error: unknown) => {
        context.failures.push(asError(error));
      });
    }
    strike(context, device, chance, until);
  }
  planCopies(context, chance);
  if (backend !== undefined) strikeServer(context, backend, chance, until);
  if (backend !== undefined) planMoves(context, backend, chance, until);
  await scheduler.run({ at: until, done: () => context.failures.length > 0 });
  throwFirst(context);
  scheduler.note("healed");
  context.phase = "healing";
  for (const { device } of inhabitants) device.heal();
  backend?.server.heal();
  backend?.network.heal();
  await comeTogether(context);
  await checkEnd(context, chance);
}

/** What a process does with the store that it has opened. */
async function begin(context: Context, inhabitant: Inhabitant, open: OpenDevice): Promise<void> {
  if (context.phase === "settling in") return;
  checkOnOpening(context, inhabitant.device, open);
  const tasks = [inhabitant.work.run(open)];
  const { connected } = inhabitant;
  if (connected !== undefined) {
    connected.connection.engine.start();
    tasks.push(grantsNowAndThen(context, inhabitant, open));
  }
  await Promise.all(tasks);
}

/** Keys that are due go out, and in, beside the engine. */
async function grantsNowAndThen(
  context: Context,
  { device, connected }: Inhabitant,
  open: OpenDevice,
): Promise<void> {
  for (;;) {
    await open.sleep(thinkTime(device.chance, 2 * pollMs(context)));
    if (connected?.open !== open) return;
    const code = await open.hear(attempt(connected.connection.grants()));
    if (code !== undefined) context.scheduler.note(`${device.name} grants ${code}`);
  }
}

type Every = (mean: number, label: string, run: () => void) => void;

function repeatedly(
  { scheduler }: Pick<Context, "scheduler">,
  chance: Chance,
  name: string,
  until: number,
): Every {
  return function every(mean, label, run) {
    if (mean === 0) return;
    scheduler.after(thinkTime(chance, mean), `${name} ${label}`, () => {
      if (scheduler.now >= until) return;
      run();
      every(mean, label, run);
    });
  };
}

/** As much of a run as the faults of one device need. */
export type Stricken = Pick<Context, "scheduler" | "knobs"> & {
  readonly backend: { readonly network: Pick<SimNetwork, "cut"> } | undefined;
};

/** Plans the faults of one device that are not those of its disk. */
export function strike(context: Stricken, device: SimDevice, chance: Chance, until: number): void {
  const { scheduler, knobs, backend } = context;
  const every = repeatedly(context, chance, device.name, until);
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
  every(knobs.cutEveryMs, "cut off", () => {
    backend?.network.cut(device.name, true);
    scheduler.after(chance.integer(20_000), `${device.name} back on the network`, () => {
      backend?.network.cut(device.name, false);
    });
  });
}

function strikeServer(
  context: Context,
  { server, network }: Backend,
  chance: Chance,
  until: number,
): void {
  const { scheduler, knobs } = context;
  server.arm();
  network.arm();
  const every = repeatedly(context, chance, "server", until);
  every(knobs.serverKillEveryMs, "kill", () => {
    server.kill(knobs.killAtAccess);
  });
  every(knobs.pauseEveryMs, "pause", () => {
    server.pause();
    scheduler.after(chance.integer(3_000), "server resume", () => {
      server.resume();
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
