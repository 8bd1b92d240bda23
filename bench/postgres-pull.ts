/**
 * Pull on PostgreSQL: a device that has nothing pulls everything, page after page, from the engine; once with access
 * to every scope, and once by naming some. Pages are as large as a page may be; nothing is encoded for the wire.
 */
import type { PullPage, PullRequest } from "@holdfast/core";
import { callerOf, createChance } from "@holdfast/testkit";
import { gate, type Report, round, stopwatchAsync, timing } from "./measure.ts";
import { createPostgresGround, type PostgresPlace } from "./postgres-ground.ts";
import { foundPushes, type PushGround, pushWhole } from "./pushes.ts";

export interface PostgresPullOptions extends PostgresPlace {
  readonly events: number;
  /** Events of one push. */
  readonly batch: number;
  /** How often all of it is pulled. */
  readonly rounds: number;
}

/** Scopes named by the pull of some. */
const named = 10;

export async function benchPostgresPull(options: PostgresPullOptions): Promise<Report> {
  const ground = await createPostgresGround(options);
  try {
    const found = await foundPushes(ground.store, createChance(1));
    const { server, device } = found;
    for (let at = 0; at < options.events; at += options.batch) {
      await pushWhole(server, device, device.prepare(options.batch));
    }
    await ground.vacuum();
    const some = found.scopes.slice(0, named);
    const whole: number[] = [];
    const pages: number[] = [];
    const parts: number[] = [];
    let ofScopes = 0;
    for (let at = 0; at < options.rounds; at++) {
      let pulled = 0;
      whole.push(await stopwatchAsync(async () => (pulled = await pullAll(found, "*", pages))));
      if (pulled < options.events) throw new Error("a pull ended early");
      parts.push(await stopwatchAsync(async () => (ofScopes = await pullAll(found, some, []))));
    }
    const rate = (times: readonly number[], events: number): number =>
      round(events / (Math.min(...times) / 1_000), 1);
    const all = round((options.events * options.rounds * 1_000) / sum(whole), 1);
    return {
      subject: "postgres-pull",
      ratio: round(all / 20_000),
      events: options.events,
      events_per_s: { all, best_round: rate(whole, options.events) },
      by_scopes: {
        scopes: named,
        events: ofScopes,
        per_s: round((ofScopes * options.rounds * 1_000) / sum(parts), 1),
      },
      pages: timing(pages),
      gates: [gate("pull of every scope, events/s", all, ">=", 20_000)],
    };
  } finally {
    await ground.close();
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Pulls from the beginning to the head as a device does; the number of events. */
async function pullAll(
  { server, device }: PushGround,
  scopes: PullRequest["scopes"],
  times: number[],
): Promise<number> {
  let [after, events] = [0, 0];
  const held: Record<string, number> = {};
  for (;;) {
    let page: PullPage | undefined;
    const request = {
      scopes,
      after,
      events: 1_000,
      bytes: 4 << 20,
      checkpoint: 0,
      held,
      own: true,
    };
    times.push(
      await stopwatchAsync(async () => {
        page = await server.pull(callerOf(device.device), request);
      }),
    );
    if (page === undefined) throw new Error("no page");
    events += page.events.length;
    after = page.next;
    if (after === page.head) return events;
  }
}
