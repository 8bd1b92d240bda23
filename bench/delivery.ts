/**
 * End to end: A appends, pushes; B pulls and queries. From A's first push to B's answer, whose rows stand for
 * every event. Server and devices are processes; B follows with its live tail, as an application's store does,
 * or begins only when A has finished.
 */
import { gate, type Report, round, stopwatchAsync } from "./measure.ts";
import { foundTenant } from "./tenant.ts";

export interface DeliveryOptions {
  readonly folder?: string | undefined;
  readonly events: number;
}

const streams = 500;
const each = 500;

export async function benchDelivery({ folder, events }: DeliveryOptions): Promise<Report> {
  const tenant = await foundTenant({ folder, streams });
  try {
    const a = tenant.founder;
    const b = await tenant.joined("other");
    const before = await b.ask("inModel");
    const append = async (from: number): Promise<number> =>
      stopwatchAsync(() => a.ask("append", from, events, each, streams));

    // One after the other.
    const append_ms = await append(streams);
    const push_ms = await stopwatchAsync(() => a.ask("sync"));
    const pull_ms = await stopwatchAsync(() => b.ask("sync"));
    let found = 0;
    const query_ms = await stopwatchAsync(async () => {
      found = await b.ask("inModel");
    });
    if (found !== before + events) throw new Error(`B answers with ${found - before} events`);
    const inTurn = (push_ms + pull_ms + query_ms) / 1_000;

    // B follows.
    await append(streams + events);
    await b.ask("start");
    const follow_ms = await stopwatchAsync(async () => {
      const answered = b.ask("answered", before + 2 * events);
      await a.ask("sync");
      await answered;
    });
    const following = follow_ms / 1_000;
    return {
      subject: "delivery",
      ratio: round(5 / following),
      events,
      append_s: round(append_ms / 1_000),
      push_s: round(push_ms / 1_000),
      pull_s: round(pull_ms / 1_000),
      query_s: round(query_ms / 1_000),
      in_turn_s: round(inTurn),
      following_s: round(following),
      gates: [
        gate("A's first push to B's answer, s, B beginning when A has finished", inTurn, "<", 5),
        gate("the same, B following with its live tail", following, "<", 5),
      ],
    };
  } finally {
    await tenant.remove();
  }
}
