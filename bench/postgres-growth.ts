/**
 * What an event costs as the log grows: placing and pages of pulls at sizes that are ten times apart, with a plain
 * insert of the same bytes beside each, whose time says how busy the machine was. Scopes grow along, one for every
 * 1,000 events; a batch is of 50 of them, with ten streams each.
 */
import type { EventToPlace, ServerStore } from "@holdfast/server";
import {
  addTenant,
  type Chance,
  createChance,
  createPseudonym,
  type Founded,
} from "@holdfast/testkit";
import { gate, type Report, round, stopwatchAsync, unhindered } from "./measure.ts";
import { createPlainTable, createPostgresGround, type PostgresPlace } from "./postgres-ground.ts";

export interface PostgresGrowthOptions extends PostgresPlace {
  /** Sizes at which is measured, ascending. */
  readonly sizes: readonly number[];
  /** Batches measured at each size. */
  readonly batches: number;
}

const batch = 500;
const headerBytes = 600;
const frameBytes = 560;
const scopesOfBatch = 50;
const streamsEach = 10;

interface Costs {
  readonly events: number;
  /** Tenth percentiles, microseconds an event. */
  readonly place_us: number;
  readonly plain_us: number;
  readonly page_us: number;
  readonly relative: number;
}

export async function benchPostgresGrowth(options: PostgresGrowthOptions): Promise<Report> {
  const ground = await createPostgresGround(options);
  const { store } = ground;
  try {
    const chance = createChance(1);
    const names = await addTenant({ store, chance });
    const make = eventMaker(chance, names);
    const plain = await createPlainTable(ground.owner, batch);
    const place = (events: readonly EventToPlace[]): Promise<unknown> =>
      names.write((tx) => tx.placeEvents(names.tenant, events));
    const costs: Costs[] = [];
    let placed = 0;
    for (const size of options.sizes) {
      for (; placed < size; placed += batch) await place(make(placed));
      await ground.vacuum();
      const [placing, inserting, pages]: [number[], number[], number[]] = [[], [], []];
      for (let at = 0; at < options.batches; at++, placed += batch) {
        const events = make(placed);
        placing.push(await stopwatchAsync(() => place(events)));
        inserting.push(await stopwatchAsync(() => plain(events)));
        const after = chance.integer(placed);
        pages.push(await stopwatchAsync(() => readPage(store, names, after)));
      }
      costs.push(costsOf(size, placing, inserting, pages));
    }
    const [first, last] = [costs[0], costs.at(-1)];
    const grown = round((last?.relative ?? 0) / (first?.relative ?? 1));
    return {
      subject: "postgres-growth",
      ratio: round(1 / grown),
      costs,
      gates: [gate("cost of placing beside a plain insert, last size / first", grown, "<", 1.5)],
    };
  } finally {
    await ground.close();
  }
}

function costsOf(
  events: number,
  placing: readonly number[],
  inserting: readonly number[],
  pages: readonly number[],
): Costs {
  const each = (times: readonly number[]): number => (unhindered(times) * 1_000) / batch;
  return {
    events,
    place_us: round(each(placing)),
    plain_us: round(each(inserting)),
    page_us: round(each(pages)),
    relative: round(each(placing) / each(inserting)),
  };
}

async function readPage(store: ServerStore, { tenant }: Founded, after: number): Promise<void> {
  await store.read(tenant, (reads) => reads.events(tenant, "*", after, batch));
}

/** Events number `from` and on. A batch is of some of the scopes that there are by then, as a device's are. */
function eventMaker(
  chance: Chance,
  { device, incarnation }: Founded,
): (from: number) => readonly EventToPlace[] {
  const scopes: { readonly scope: string; readonly streams: readonly string[] }[] = [];
  const text = "x".repeat(headerBytes);
  const grow = (count: number): void => {
    while (scopes.length < count) {
      const streams = Array.from({ length: streamsEach }, () => createPseudonym(chance));
      scopes.push({ scope: createPseudonym(chance), streams });
    }
  };
  return (from) => {
    grow(scopesOfBatch + Math.floor(from / 1_000));
    const own = Array.from({ length: scopesOfBatch }, () => scopes[chance.integer(scopes.length)]);
    return Array.from({ length: batch }, (_, at) => {
      const index = from + at;
      const { scope = "", streams = [] } = own[chance.integer(scopesOfBatch)] ?? {};
      const stream = streams[chance.integer(streamsEach)] ?? "";
      // Ids are in order of time, as those of devices are.
      const id = `${index.toString(16).padStart(12, "0")}-${createPseudonym(chance)}`;
      const header = JSON.stringify({ id, scope, stream, text }).slice(0, headerBytes);
      const frames = chance.bytes(frameBytes);
      const names = { device, incarnation, leaf: id, id, scope, stream, type: "NoteTaken" };
      return { ...names, index, header, frames };
    });
  };
}
