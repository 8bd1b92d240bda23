/** A run: its suites one after another, on one machine, with the facts beside which their figures are read. */
import { createHash, randomBytes } from "node:crypto";
import { arch, availableParallelism, cpus, loadavg, platform, totalmem } from "node:os";
import { join } from "node:path";
import { initStore } from "@holdfast/node";
import type { Place } from "../simulated-device.ts";
import { createPace, type Pace, type PaceSink } from "./pace.ts";
import type { Chart } from "./plot.ts";
import type { Machine, RunResult, SuiteResult } from "./result.ts";
import { type NamedServer, openSite, type Site } from "./site.ts";
import { fullSizes, quickSizes, type Sizes, type Suite, type SuiteContext } from "./suite.ts";
import { breaker } from "./suites/breaker.ts";
import { enqueue } from "./suites/enqueue.ts";
import { latency } from "./suites/latency.ts";
import { memory } from "./suites/memory.ts";
import { workers } from "./suites/workers.ts";

/** Every suite, in the order in which they run. */
export const suites: readonly Suite[] = [enqueue, latency, memory, breaker, workers];

/** What a run is asked. */
export interface RunOptions {
  readonly folder: string;
  readonly suites: readonly Suite[];
  readonly server: NamedServer | undefined;
  readonly path: SuiteContext["path"];
  readonly seed: number;
  readonly quick: boolean;
  readonly version: string;
  /** `undefined`: nothing is said on the way. */
  readonly sink: PaceSink | undefined;
  readonly began: (suite: Suite) => Promise<void>;
}

/** What a run gives: its result, and its charts by name. */
export interface Ran {
  readonly result: RunResult;
  readonly charts: Readonly<Record<string, Chart>>;
}

/** Sizes of a run. */
function sizesOf(quick: boolean): Sizes {
  return quick ? quickSizes : fullSizes;
}

/** Names of all figures that such a run will have. */
export function figureNames(chosen: readonly Suite[], quick: boolean): readonly string[] {
  return chosen.flatMap(({ name, figures }) =>
    figures(sizesOf(quick)).map((figure) => `${name}.${figure}`),
  );
}

/** Runs the suites. */
export async function runSuites(options: RunOptions): Promise<Ran> {
  const beganAt = new Date().toISOString();
  const loadBefore = load();
  const results: SuiteResult[] = [];
  const charts: Record<string, Chart> = {};
  let opened: Promise<Site> | undefined;
  const passphrase = randomBytes(12).toString("base64url");
  const site = (): Promise<Site> => (opened ??= openSite({ ...options, passphrase }));
  const context = contextOf(options, passphrase, site);
  try {
    for (const suite of options.suites) {
      await options.began(suite);
      const began = performance.now();
      const { charts: own, ...measured } = await suite.run(context);
      const seconds = Number(((performance.now() - began) / 1_000).toFixed(1));
      results.push({ name: suite.name, seconds, ...measured });
      Object.assign(charts, own);
    }
  } finally {
    await (await opened)?.close();
  }
  const result: RunResult = {
    kind: "holdfast-load-test",
    version: 1,
    began_at: beganAt,
    quick: options.quick,
    server: options.server?.url ?? "simulated",
    machine: machineFacts(options.version, loadBefore),
    suites: results,
  };
  return { result, charts };
}

function contextOf(
  options: RunOptions,
  passphrase: string,
  site: () => Promise<Site>,
): SuiteContext {
  const { folder, path, sink } = options;
  return {
    folder,
    passphrase,
    sizes: sizesOf(options.quick),
    path,
    chance: chanceFrom(options.seed),
    pace: (label, total) => (sink === undefined ? silent : createPace(label, total, sink)),
    site,
    async makeStore(name) {
      const place: Place = {
        directory: join(folder, name, "store"),
        stateDirectory: join(folder, name, "state"),
        passphrase,
      };
      await initStore({ ...place, tenant: "load-test" });
      return place;
    },
  };
}

const silent: Pace = { update: () => undefined, end: () => undefined };

/** Numbers from 0 to 1 that a seed repeats: they choose faults. */
function chanceFrom(seed: number): () => number {
  let drawn = 0;
  return () => {
    const digest = createHash("sha256").update(`${seed} ${drawn++}`).digest();
    return digest.readUInt32BE() / 2 ** 32;
  };
}

function load(): number {
  return Number((loadavg()[0] ?? 0).toFixed(2));
}

function machineFacts(version: string, loadBefore: number): Machine {
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "unknown",
    memory_mb: Math.round(totalmem() / 1e6),
    platform: `${platform()} ${arch()}`,
    node: process.version,
    holdfast: version,
    load_before: loadBefore,
    load_after: load(),
  };
}
