/**
 * The live tail: from the server's commit to the hint at every subscriber. Server, pushing device and subscribers
 * are processes of one machine, whose monotonic clock they share. The clock starts just before COMMIT.
 */
import { gate, type Report, round, timing } from "./measure.ts";
import { foundTenant } from "./tenant.ts";

export interface TailOptions {
  readonly folder?: string | undefined;
  readonly subscribers: number;
  /** Pushes of one event, one after the other. */
  readonly pushes: number;
}

const streams = 50;

export async function benchTail({ folder, subscribers, pushes }: TailOptions): Promise<Report> {
  const tenant = await foundTenant({ folder, streams, tails: subscribers });
  try {
    const a = tenant.founder;
    const b = await tenant.joined("other");
    let number = streams;
    const push = async (): Promise<readonly number[]> => {
      await a.ask("append", number, 1, 1, streams);
      number += 1;
      await a.ask("sync");
      const times = await b.ask("hinted");
      const committed = BigInt(await tenant.server.ask("committed"));
      return times.map((at) => Number(BigInt(at) - committed) / 1e6);
    };
    await b.ask("follow", subscribers);
    await settle();
    // Whoever opened its tail late missed nothing but a hint.
    await push();
    const latencies: number[] = [];
    const lasts: number[] = [];
    for (let at = 0; at < pushes; at++) {
      const times = await push();
      latencies.push(...times);
      lasts.push(Math.max(...times));
    }
    const all = timing(latencies);
    return {
      subject: "tail",
      ratio: round(50 / all.p50),
      subscribers,
      hints: all,
      last_subscriber: timing(lasts),
      gates: [
        gate("commit to hint, p50 ms", all.p50, "<", 50),
        gate("commit to hint, p99 ms", all.p99, "<", 250),
      ],
    };
  } finally {
    await tenant.remove();
  }
}

/** Time for the tails to open: nothing says that they are. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 500));
}
