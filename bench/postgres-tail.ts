/**
 * The live tail over two nodes: pushes go to either in turn, subscribers sit at both. From the COMMIT at the one node
 * to the hint at every subscriber of both. Nodes and subscribers share the machine's monotonic clock, which starts
 * just before COMMIT.
 */
import { gate, type Report, round, timing } from "./measure.ts";
import type { PostgresPlace } from "./postgres-ground.ts";
import { type BenchNode, startNodes } from "./postgres-nodes.ts";

export interface PostgresTailOptions extends PostgresPlace {
  readonly subscribers: number;
  /** Pushes of one event, one after the other. */
  readonly pushes: number;
}

export async function benchPostgresTail(options: PostgresTailOptions): Promise<Report> {
  const { subscribers, pushes } = options;
  const { nodes, device, close } = await startNodes(options, subscribers);
  try {
    const pusher = await device();
    const reader = await device();
    const ends: (() => void)[] = [];
    const heads = Array.from({ length: subscribers }, () => ({ head: 0, at: 0n }));
    let lost = 0;
    let heard: () => void = () => undefined;
    for (const [at, one] of heads.entries()) {
      const listener = {
        hint: (head: number) => {
          one.head = head;
          one.at = process.hrtime.bigint();
          heard();
        },
        ended: () => {
          lost += 1;
          heard();
        },
      };
      ends.push(nodeAt(nodes, at).another().tail(listener, { token: reader.token }));
    }
    const all = (head: number): Promise<void> =>
      new Promise((resolve, reject) => {
        heard = () => {
          if (lost > 0) reject(new Error("a tail ended"));
          if (heads.every((one) => one.head >= head)) resolve();
        };
        heard();
      });
    let size = pusher.device.events.length;
    const push = async (number: number): Promise<bigint> => {
      const node = nodeAt(nodes, number);
      await node.transport()?.push(pusher.push(size, 1), { token: pusher.token });
      size += 1;
      return BigInt(await node.process().ask("committed"));
    };
    await opened(heads, push);
    let head = Math.max(...heads.map((one) => one.head));
    const latencies: number[] = [];
    const across: number[] = [];
    for (let number = 0; number < pushes; number++) {
      head += 1;
      const committed = await push(number);
      await all(head);
      for (const [at, one] of heads.entries()) {
        const ms = Number(one.at - committed) / 1e6;
        latencies.push(ms);
        if (at % 2 !== number % 2) across.push(ms);
      }
    }
    for (const end of ends) end();
    const hints = timing(latencies);
    return {
      subject: "postgres-tail",
      ratio: round(500 / hints.p99),
      subscribers,
      nodes: nodes.length,
      hints,
      other_node: timing(across),
      gates: [gate("commit to hint, p99 ms", hints.p99, "<", 500)],
    };
  } finally {
    await close();
  }
}

function nodeAt(nodes: readonly BenchNode[], number: number): BenchNode {
  const node = nodes[number % nodes.length];
  if (node === undefined) throw new Error("there is no node");
  return node;
}

/**
 * Pushes until every tail has heard something: nothing says that a tail is open. Each node is asked: with its first
 * push it becomes a device of the tenant, which is an event too.
 */
async function opened(
  heads: readonly { readonly head: number }[],
  push: (number: number) => Promise<unknown>,
): Promise<void> {
  const rest = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 250));
  for (let number = 0; number < 2 || heads.some(({ head }) => head === 0); number++) {
    await push(number);
    await rest();
  }
  // Until all have heard of the last one too.
  const newest = (): number => Math.max(...heads.map(({ head }) => head));
  while (heads.some(({ head }) => head < newest())) await rest();
  await rest();
}
