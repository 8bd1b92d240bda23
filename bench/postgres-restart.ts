/**
 * A rolling restart under load: devices push without a break, each to a node that is up, as a balancer would send
 * them; one node after the other is ended in order and started again. A push lasts until it is acknowledged, tries
 * that failed included. At the end every acknowledged event is asked for.
 */
import { isHoldfastError, type Transport } from "@holdfast/core";
import { gate, type Report, round, timing } from "./measure.ts";
import type { PostgresPlace } from "./postgres-ground.ts";
import { type BenchDevice, type BenchNodes, startNodes } from "./postgres-nodes.ts";

export interface PostgresRestartOptions extends PostgresPlace {
  readonly devices: number;
  /** How often every node is restarted. */
  readonly rounds: number;
  /** Time under load before, between and after restarts. */
  readonly calmMs: number;
}

const eventsEach = 10;
/** How long a device waits before it tries again. */
const againMs = 20;

interface Load {
  stopped: boolean;
  again: number;
  readonly latencies: number[];
}

export async function benchPostgresRestart(options: PostgresRestartOptions): Promise<Report> {
  const { nodes, device, close } = await startNodes(options, 4);
  try {
    const devices: BenchDevice[] = [];
    for (let at = 0; at < options.devices; at++) devices.push(await device());
    const load: Load = { stopped: false, again: 0, latencies: [] };
    const pushing = devices.map((one, at) => pushOn(nodes, one, at, load));
    const restarts: number[] = [];
    await rest(options.calmMs);
    for (let at = 0; at < options.rounds * nodes.length; at++) {
      const node = nodes[at % nodes.length];
      const began = performance.now();
      await node?.end();
      await node?.start();
      restarts.push(performance.now() - began);
      await rest(options.calmMs);
    }
    load.stopped = true;
    const acknowledged = await Promise.all(pushing);
    const kept = await Promise.all(devices.map((one) => heldOf(nodes, one)));
    const lost = acknowledged.filter((size, at) => size > (kept[at] ?? 0)).length;
    const pushes = timing(load.latencies);
    return {
      subject: "postgres-restart",
      ratio: round(2_000 / pushes.p99),
      restarts: timing(restarts),
      pushes: { ...pushes, most: round(Math.max(...load.latencies)) },
      again: load.again,
      acknowledged_events: acknowledged.reduce((sum, size) => sum + size, 0),
      lost,
      gates: [
        gate("push through a rolling restart, p99 ms", pushes.p99, "<", 2_000),
        gate("devices with an acknowledged push that is gone", lost, "<", 1),
      ],
    };
  } finally {
    await close();
  }
}

/** Pushes until the load is stopped; the size that the server acknowledged last. */
async function pushOn(
  nodes: BenchNodes["nodes"],
  one: BenchDevice,
  seed: number,
  load: Load,
): Promise<number> {
  let size = one.device.events.length;
  for (let turn = seed; !load.stopped; turn++) {
    const request = one.push(size, eventsEach);
    const began = performance.now();
    for (let attempt = turn; ; attempt++) {
      const answered = await attemptAt(nodes, attempt, (at) =>
        at.push(request, { token: one.token }),
      );
      if (answered?.status === "receipted") break;
      if (answered !== undefined) throw new Error(`a push was answered ${answered.status}`);
      load.again += 1;
      await rest(againMs);
    }
    load.latencies.push(performance.now() - began);
    size = one.device.events.length;
  }
  return size;
}

/** Asks a node that is up; `undefined`: it went away, or takes nothing any more. */
async function attemptAt<T>(
  nodes: BenchNodes["nodes"],
  number: number,
  ask: (at: Transport) => Promise<T>,
): Promise<T | undefined> {
  const up = nodes.flatMap((node) => node.transport() ?? []);
  const at = up[number % Math.max(1, up.length)];
  try {
    return at === undefined ? undefined : await ask(at);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return undefined;
  }
}

/** Size of the device's log as the server states it: the whole log is offered once more. */
async function heldOf(nodes: BenchNodes["nodes"], { device, token }: BenchDevice): Promise<number> {
  const { events } = device;
  for (let attempt = 0; ; attempt++) {
    const from = events.length - eventsEach;
    const answer = await attemptAt(nodes, attempt, (at) => at.push(device.push(from), { token }));
    if (answer?.status === "receipted") {
      return answer.dispositions.every(({ disposition }) => disposition === "duplicate")
        ? answer.size
        : 0;
    }
    if (answer?.status === "behind") return answer.size;
    await rest(againMs);
  }
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
