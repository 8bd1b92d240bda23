/**
 * A server and devices as processes of their own, with a failing proxy before each device. The server is the
 * `holdfast serve` command, once or as several nodes (`servers.ts`); devices are `device.child.ts` over
 * `@holdfast/node`.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { formatEnrolmentCode, parseEnrolmentCode, type SyncReport } from "@holdfast/core";
import { initStore } from "@holdfast/node";
import { type Chance, createChance } from "../faults/random.ts";
import { type FaultProxy, startFaultProxy } from "@holdfast/server/fault-proxy";
import { startTalker, type Talker } from "./processes.ts";
import { type ServerOptions, type ServerProcess, startServer } from "./servers.ts";

const deviceScript = fileURLToPath(new URL("device.child.ts", import.meta.url));

/** Command line of a device's process: also for a second one over the same store. */
export function deviceArgv(device: Pick<Device, "folder">, options: object): readonly string[] {
  return [deviceScript, device.folder, JSON.stringify(options)];
}

/** One device: its folder, its proxy, its process. */
export interface Device {
  readonly name: string;
  readonly folder: string;
  readonly proxy: FaultProxy;
  readonly talker: () => Talker;
  readonly ask: Talker["ask"];
  kill(): Promise<void>;
  start(): Promise<void>;
  end(): Promise<void>;
  /** Syncs until nothing waits; throws when that takes too long. */
  drain(): Promise<void>;
}

export interface World {
  readonly folder: string;
  /** Seeded by HOLDFAST_SEED, else by 1. */
  readonly chance: Chance;
  readonly server: ServerProcess;
  /** The founder's device, enrolled. */
  readonly founder: Device;
  /** Another device, invited by the founder, enrolled, with the grants of its scopes. */
  join(name: string, terms?: JoinTerms): Promise<Device>;
  /** A device over folders that are there already, such as a copy. */
  device(name: string, folder: string): Promise<Device>;
  /** After the server came back on another port. */
  follow(): void;
}

export interface JoinTerms {
  /** Subject words, or `*`. */
  readonly scopes?: readonly string[];
  readonly role?: "device" | "admin";
}

export interface WorldOptions extends ServerOptions {
  /** Shorter than in life, where tests wait for it. */
  readonly leaseExpiryMs?: number;
  readonly breakerMs?: number;
}

/** Runs a test in a world of its own and ends every process, whatever happens. */
export async function inWorld(
  options: WorldOptions,
  test: (world: World) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-e2e-"));
  const ends: (() => Promise<unknown>)[] = [
    () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  ];
  try {
    await test(await createWorld(folder, options, ends));
  } finally {
    for (const end of ends.toReversed()) await end();
  }
}

async function createWorld(
  folder: string,
  options: WorldOptions,
  ends: (() => Promise<unknown>)[],
): Promise<World> {
  const server = await startServer(join(folder, "server"), options);
  ends.push(() => server.end());
  const devices: Device[] = [];

  async function device(name: string, at: string): Promise<Device> {
    const proxy = await startFaultProxy(server.port());
    ends.push(() => proxy.close());
    const made = await startDevice(name, at, proxy, options);
    ends.push(() => made.kill());
    devices.push(made);
    return made;
  }

  async function made(
    name: string,
    joins?: { readonly tenant: string; readonly founder: string },
  ): Promise<Device> {
    const at = join(folder, name);
    const place = { directory: join(at, "store"), stateDirectory: join(at, "state") };
    const passphrase = "end to end";
    await initStore({ ...place, passphrase, tenant: name, ...(joins && { joins }) });
    return device(name, at);
  }

  const founder = await made("founder");
  await founder.ask("enrol", { code: through(server.code, founder.proxy) });
  await founder.drain();
  const seed = Number(process.env["HOLDFAST_SEED"] ?? 1);
  return {
    folder,
    chance: createChance(seed),
    server,
    founder,
    device,
    async join(name, { scopes = ["*"], role = "device" } = {}) {
      const code = await founder.ask<string>("invite", { role, scopes });
      const joined = await made(name, parseEnrolmentCode(code).joins);
      await joined.ask("enrol", { code: through(code, joined.proxy) });
      // Its opening goes up, the founder grants, and the grants come down.
      for (const one of [joined, founder, joined]) await one.drain();
      return joined;
    },
    follow() {
      for (const one of devices) one.proxy.target(server.port());
    },
  };
}

/** The same code by way of a proxy. */
function through(code: string, proxy: FaultProxy): string {
  return formatEnrolmentCode({ ...parseEnrolmentCode(code), url: proxy.url });
}

async function startDevice(
  name: string,
  folder: string,
  proxy: FaultProxy,
  { leaseExpiryMs, breakerMs }: WorldOptions,
): Promise<Device> {
  const start = (): Promise<Talker> =>
    startTalker(deviceArgv({ folder }, { leaseExpiryMs, breakerMs }));
  let talker = await start();
  const ask: Talker["ask"] = (command, parameters) => talker.ask(command, parameters);
  return {
    name,
    folder,
    proxy,
    talker: () => talker,
    ask,
    kill: () => talker.kill(),
    async end() {
      await talker.end();
    },
    async start() {
      talker = await start();
    },
    drain: () => drain(name, ask),
  };
}

const drainMsMax = 60_000;

async function drain(name: string, ask: Talker["ask"]): Promise<void> {
  const until = performance.now() + drainMsMax;
  for (;;) {
    const report = await ask<SyncReport>("sync");
    if (report.status === "drained") return;
    if (report.status === "halted" || report.status === "needs-auth" || performance.now() > until) {
      throw new Error(`${name} does not drain: ${JSON.stringify(report)}`);
    }
    await sleep(50);
  }
}

/** Syncs all in turn until every one holds the same events. */
export async function converge(devices: readonly Device[]): Promise<void> {
  for (let round = 0; round < 2; round++) for (const device of devices) await device.drain();
}
