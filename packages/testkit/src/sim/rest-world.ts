/**
 * A run in which devices deliver to a backend that is no Holdfast server, each from a store of its own. Faults of
 * disks, processes, clocks, network and backend strike; then they end, an operator redrives what was given up
 * on, and what was promised must hold: nothing acknowledged is lost, nothing has two effects, every stream
 * arrives in its order, nothing is left.
 */
import {
  base64url,
  type Holdfast,
  type HttpPort,
  outboxWaitMsMax,
  silentObserver,
  type SyncEngine,
} from "@holdfast/core";
import type { Chance } from "../chance.ts";
import { createNoteRegistry } from "../note-events.ts";
import { createDevice, type OpenDevice, type SimDevice } from "./device.ts";
import { diary, wordOf } from "./domain.ts";
import { asError, healMsMax, settle, throwFirst } from "./inhabitants.ts";
import { drawKnobs, type Knobs } from "./knobs.ts";
import { createLedger, type Ledger, LivenessError, SafetyError } from "./ledger.ts";
import { createNetwork, type SimNetwork } from "./network.ts";
import { noPlant } from "./plant.ts";
import { createSimBackend, type SimBackend } from "./rest-backend.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";
import { initSimStore, type SimStorePorts } from "./sim-store.ts";
import { allEvents, checkAcknowledged, checkProofs } from "./store-oracles.ts";
import { createWork, type Work } from "./workload.ts";
import { chanceOf, seeded, strike, type World, type WorldOptions } from "./world.ts";

/** A device that delivers. */
interface Delivering {
  readonly device: SimDevice;
  readonly work: Work;
  engine: SyncEngine | undefined;
}

/** Everything of one run. */
interface RestContext {
  readonly plantHttp: (http: HttpPort) => HttpPort;
  readonly scheduler: Scheduler;
  readonly knobs: Knobs;
  readonly ledger: Ledger;
  readonly store: SimStorePorts;
  readonly backend: SimBackend;
  readonly network: SimNetwork;
  readonly delivering: readonly Delivering[];
  readonly failures: Error[];
  phase: "settling in" | "faults" | "healing";
}

/** Copies of devices are another run's matter: here each event has one author. */
const withoutCopies = { rewindAfterMs: 0, cloneAfterMs: 0, server: false } as const;

/** Stands between a device and the network: planted bugs. */
export type PlantHttp = (http: HttpPort, chance: Chance) => HttpPort;

/** A world with such a backend, from a seed. */
export function createRestWorld(
  options: WorldOptions,
  plantHttp: PlantHttp = (http) => http,
): Pick<World, "scheduler" | "run"> {
  const { seed, sqlite, plant = noPlant } = options;
  const scheduler = createScheduler(chanceOf(seed, 0), options.drain);
  const drawn = drawKnobs(chanceOf(seed, 1));
  const knobs: Knobs = { ...drawn, devices: 2, ...withoutCopies, ...options.knobs };
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
  const backend = createSimBackend({ scheduler, chance: chanceOf(seed, 50), knobs });
  const network = createNetwork({ scheduler, chance: chanceOf(seed, 51), knobs, server: backend });
  const delivering = Array.from({ length: knobs.devices }, (_, at): Delivering => {
    const fail = (error: unknown): void => {
      failures.push(asError(error));
    };
    const chance = chanceOf(seed, 100 + at);
    const ports = { scheduler, store, knobs, chance, fail, disk: plant.disk };
    const device = createDevice(`d${at + 1}`, ports);
    const ended = (): boolean => context.phase === "healing";
    const { surface } = plant;
    const work = createWork(device, {
      scheduler,
      ledger,
      knobs,
      surface,
      ended,
      subjects: undefined,
    });
    return { device, work, engine: undefined };
  });
  const context: RestContext = {
    plantHttp: (http) => plantHttp(http, chanceOf(seed, 60)),
    scheduler,
    knobs,
    ledger,
    store,
    backend,
    network,
    delivering,
    failures,
    phase: "settling in",
  };
  return { scheduler, run: () => run(context, seed) };
}

async function run(context: RestContext, seed: number): Promise<void> {
  const { scheduler, knobs, store, backend, network, delivering, failures } = context;
  for (const each of delivering) {
    const process = each.device.visit();
    const tenant = base64url(store.random.bytes(16));
    await initSimStore(store, each.device.site, process, { tenant, founder: undefined });
    process.kill();
    live(context, each);
  }
  const opened = (): boolean => delivering.every(({ device }) => device.open !== undefined);
  await scheduler.run({ at: scheduler.now + 60_000, done: opened });
  if (!opened()) throw new LivenessError("the devices do not open");
  context.phase = "faults";
  const until = scheduler.now + knobs.faultMs;
  const chance = chanceOf(seed, 4);
  for (const each of delivering) {
    each.device.arm();
    strike({ scheduler, knobs, backend: { network } }, each.device, chance, until);
    if (each.device.open !== undefined) begin(context, each, each.device.open);
  }
  backend.arm();
  network.arm();
  await scheduler.run({ at: until, done: () => failures.length > 0 });
  throwFirst(context);
  scheduler.note("healed");
  context.phase = "healing";
  for (const { device } of delivering) device.heal();
  backend.heal();
  network.heal();
  await untilDelivered(context);
  for (const { device } of delivering) checkDevice(context, device);
  checkBackend(context);
}

/** Whenever a process has opened the store, an engine delivers from it. */
function live(context: RestContext, each: Delivering): void {
  const { backend, network } = context;
  each.device.live(
    ({ store, process }) => {
      each.engine = store.deliver(
        {
          url: backend.url,
          routes: [
            { type: "NoteTaken", op: "create", path: "/notes/{stream}/{id}" },
            { type: "NoteTaken", path: "/notes/{stream}", method: "PUT", body: "event" },
            { type: "WeightMeasured", path: "/weights/{stream}" },
          ],
        },
        {
          http: context.plantHttp(network.portOf(each.device.name, process)),
          tokens: { token: () => Promise.resolve({ text: backend.token }) },
        },
      );
    },
    (open) => {
      begin(context, each, open);
      return Promise.resolve();
    },
  );
}

function begin(context: RestContext, { work, engine }: Delivering, open: OpenDevice): void {
  if (context.phase === "settling in") return;
  engine?.start();
  work.run(open).catch((error: unknown) => {
    context.failures.push(asError(error));
  });
}

/** An operator redrives what was given up on; then everything is delivered within bounded time. */
async function untilDelivered(context: RestContext): Promise<void> {
  const { scheduler, delivering } = context;
  // A clock that was set back meanwhile lets an entry wait as long as any entry may.
  const until = scheduler.now + outboxWaitMsMax + healMsMax;
  while (scheduler.now < until) {
    const left = delivering.map(({ device }) => leftOf(device.open?.store));
    if (left.every((count) => count === 0)) return;
    for (const { device } of delivering) {
      const { open } = device;
      if (open === undefined || open.store.outbox.deadLetters().length === 0) continue;
      await settle(context, "redrive", open.hear(open.store.outbox.redriveAll()));
    }
    await scheduler.run({ at: scheduler.now + 5_000, done: () => context.failures.length > 0 });
    throwFirst(context);
  }
  const states = delivering.map(({ device, engine }) => {
    const { push, lastFailure } = engine?.state() ?? {};
    return `${device.name}: ${leftOf(device.open?.store)} (${push ?? "-"}, ${lastFailure ?? "-"})`;
  });
  throw new LivenessError(`not delivered after the last fault: ${states.join("; ")}`);
}

/** Entries that are not delivered, dead letters included; a store that is not open has everything before it. */
function leftOf(store: Holdfast | undefined): number {
  if (store === undefined) return Infinity;
  const { waiting, dead } = store.status().outbox;
  return waiting + dead;
}

function checkDevice({ ledger, backend }: RestContext, device: SimDevice): void {
  const { open, name } = device;
  if (open === undefined) throw new LivenessError(`${name} is not open`);
  const { store } = open;
  checkAcknowledged(name, store, ledger);
  checkProofs(name, store, () => false);
  const { acknowledgedThrough } = store.status().sync;
  const { head } = store.status();
  if (acknowledgedThrough !== head.sequence) {
    throw new SafetyError(
      `${name}: acknowledged through ${acknowledgedThrough}, not ${head.sequence}`,
    );
  }
  // What a store records of itself has no route to a backend that is no Holdfast server.
  const ofItself = new Set(["key", "admin"]);
  const own = allEvents(store).filter(
    ({ header, op }) => header.pub === undefined && !ofItself.has(op),
  );
  const order = new Map<string, string[]>();
  for (const { stream, id } of own) order.set(stream, [...(order.get(stream) ?? []), id]);
  for (const [stream, ids] of order) {
    const arrived = backend.effects.filter(({ path }) => path.split("/").includes(stream));
    const keys = arrived.map(({ key }) => key);
    if (keys.join() !== ids.join()) {
      throw new SafetyError(`${name}: stream ${stream} is ${ids.join()}, arrived ${keys.join()}`);
    }
  }
}

/** No effect twice, none of what nobody recorded, none missing, and each with what was recorded. */
function checkBackend({ backend, delivering, ledger }: RestContext): void {
  const [fault] = backend.faults;
  if (fault !== undefined) throw new SafetyError(`one key, two requests: ${fault}`);
  const recorded = new Map(
    delivering.flatMap(({ device: { open } }) =>
      open === undefined ? [] : allEvents(open.store).map((event) => [event.id, event] as const),
    ),
  );
  const seen = new Set<string>();
  for (const { key, body } of backend.effects) {
    if (seen.has(key)) throw new SafetyError(`${key} had two effects`);
    seen.add(key);
    const word = wordOf(recorded.get(key)?.data);
    const told = (JSON.parse(body) as { readonly data?: unknown }).data;
    if (word === undefined || wordOf(told) !== word) {
      throw new SafetyError(`${key} had an effect that nobody recorded: ${body}`);
    }
  }
  for (const { id, word } of ledger.acknowledged.values()) {
    if (!seen.has(id)) throw new SafetyError(`the acknowledged ${word} never reached the backend`);
  }
}
