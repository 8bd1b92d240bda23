/** Who lives in a world, and how one run carries their work on. */
import type { Connection } from "./connection.ts";
import type { OpenDevice, SimDevice } from "./device.ts";
import type { Knobs } from "./knobs.ts";
import { type Ledger, LivenessError } from "./ledger.ts";
import type { SimNetwork } from "./network.ts";
import type { Plant } from "./plant.ts";
import type { Scheduler } from "./scheduler.ts";
import type { SimServer } from "./sim-server.ts";
import type { SimStorePorts } from "./sim-store.ts";
import type { Work } from "./workload.ts";

/** A device, its work, and its connection while a process has the store open. */
export interface Inhabitant {
  readonly device: SimDevice;
  readonly work: Work;
  /** What it was invited to read, in words; `undefined`: everything. */
  readonly subjects: readonly string[] | undefined;
  connected: { readonly open: OpenDevice; readonly connection: Connection } | undefined;
}

/** The server's side of a world. */
export interface Backend {
  readonly server: SimServer;
  readonly network: SimNetwork;
}

/** Everything of one run. */
export interface Context {
  readonly scheduler: Scheduler;
  readonly knobs: Knobs;
  readonly ledger: Ledger;
  readonly store: SimStorePorts;
  readonly plant: Plant;
  readonly inhabitants: Inhabitant[];
  /** `undefined`: the devices are alone. */
  readonly backend: Backend | undefined;
  readonly failures: Error[];
  phase: "settling in" | "faults" | "healing";
  /** Somebody else, with an empty disk. */
  readonly inhabit: (number: number, subjects: readonly string[] | undefined) => Inhabitant;
  /** What a process does with the store once it has opened it. */
  readonly begin: (inhabitant: Inhabitant, open: OpenDevice) => Promise<void>;
}

/** How long after the last fault everything must be well, virtual milliseconds. */
export const healMsMax = 30 * 60_000;

/** Between two looks of a device when nothing strikes any more: most of that time nothing happens. */
const quietPollMs = 20_000;

/** Between two looks of a device for what others did. */
export function pollMs({ phase, knobs }: Pick<Context, "phase" | "knobs">): number {
  return phase === "healing" ? Math.max(knobs.pollMs, quietPollMs) : knobs.pollMs;
}

/** Anything thrown, as an error. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(`thrown: ${JSON.stringify(error)}`);
}

/** Errors of devices surface in their order. */
export function throwFirst({ failures }: Pick<Context, "failures">): void {
  const [first] = failures;
  if (first !== undefined) throw first;
}

/** Lets virtual time go on until the work is done. */
export async function settle<T>(
  context: Pick<Context, "scheduler" | "failures">,
  what: string,
  work: Promise<T>,
): Promise<T> {
  const { scheduler, failures } = context;
  const state = { settled: false };
  const mark = (): void => {
    state.settled = true;
  };
  work.then(mark, mark);
  const done = (): boolean => state.settled || failures.length > 0;
  const ended = await scheduler.run({ at: scheduler.now + healMsMax, done });
  throwFirst(context);
  if (ended !== "done") throw new LivenessError(`${what} did not end`);
  return work;
}
