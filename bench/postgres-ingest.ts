/**
 * Ingest on PostgreSQL against one multi-row `INSERT … VALUES` of the same bytes by the same client, in turn on one
 * cluster: `placing` gives events their positions and nothing else, `push` is all that a push takes. Then sixteen
 * devices at two nodes against one device.
 */
import { originKey, type PushRequest } from "@holdfast/core";
import type { EventToPlace, ServerStore } from "@holdfast/server/engine";
import { createPostgresServerStore, type PostgresDriver } from "@holdfast/server";
import { createNodeCrypto } from "@holdfast/node";
import { createChance } from "@holdfast/testkit";
import {
  gate,
  interleave,
  ratioOfRounds,
  type Report,
  round,
  stopwatchAsync,
  timing,
  unhindered,
} from "./measure.ts";
import {
  createPlainTable,
  createPostgresGround,
  type PlainRow,
  type PostgresPlace,
} from "./postgres-ground.ts";
import { bodiesOf, foundPushes, type Pusher, pushWhole } from "./pushes.ts";

export interface PostgresIngestOptions extends PostgresPlace {
  readonly rounds: number;
  /** Pushes of one round, and of each writer. */
  readonly pushes: number;
  /** Events of one push. */
  readonly batch: number;
}

const crypto = createNodeCrypto();
const writers = 16;

export async function benchPostgresIngest(options: PostgresIngestOptions): Promise<Report> {
  const { rounds, pushes, batch } = options;
  const ground = await createPostgresGround(options);
  const { store } = ground;
  try {
    const insert = await createPlainTable(ground.owner, batch);
    const found = await foundPushes(store, createChance(1));
    const { server, device } = found;
    const placer = await found.join();
    const prepare = (pusher: Pusher, count: number): readonly PushRequest[] =>
      Array.from({ length: count }, () => pusher.prepare(batch));
    const [whole, placing, plain]: [number[][], number[][], number[][]] = [[], [], []];
    const place = (events: readonly EventToPlace[]): Promise<unknown> =>
      store.write(device.device.tenant, (tx) => tx.placeEvents(device.device.tenant, events));
    let requests: readonly PushRequest[] = [];
    const measured = async (work: (request: PushRequest) => Promise<unknown>) => {
      const each: number[] = [];
      for (const request of requests) each.push(await stopwatchAsync(() => work(request)));
      return each;
    };
    // The first round warms all three up.
    await interleave(
      rounds + 1,
      async () => {
        requests = prepare(device, pushes);
        whole.push(await measured((request) => pushWhole(server, device, request)));
      },
      async () => {
        plain.push(await measured((request) => insert(bytesOf(request))));
        requests = prepare(placer, pushes);
        const events = new Map(requests.map((one) => [one, eventsOf(one)]));
        placing.push(await measured((request) => place(events.get(request) ?? [])));
      },
    );
    for (const times of [whole, placing, plain]) times.shift();
    const ratio = ratioOfRounds(whole, plain);
    const placingRatio = ratioOfRounds(placing, plain);
    const many = await sixteen(options, found, store, ground.driver());
    return {
      subject: "postgres-ingest",
      ratio,
      placing_ratio: placingRatio,
      unhindered: {
        push: round(unhindered(plain.flat()) / unhindered(whole.flat())),
        placing: round(unhindered(plain.flat()) / unhindered(placing.flat())),
      },
      ours: timing(whole.flat(), batch),
      placing: timing(placing.flat(), batch),
      raw: timing(plain.flat(), batch),
      ...many,
      gates: [
        gate("placing / plain insert", placingRatio, ">=", 0.5),
        gate("whole push / plain insert", ratio, ">=", 0.5),
        gate("16 writers / one writer", many.writers.ratio, ">=", 0.7),
      ],
    };
  } finally {
    await ground.close();
  }
}

const nothing = new Uint8Array(0);

/** What a push brings, as the plain table takes it. */
function bytesOf(request: PushRequest): readonly PlainRow[] {
  return bodiesOf(request).map(({ header, frames }) => ({
    header,
    frames: frames[0]?.bytes ?? nothing,
  }));
}

/** The events of a push as the engine would place them; they have no device log of their own here. */
function eventsOf(request: PushRequest): readonly EventToPlace[] {
  const { device, incarnation, from } = request;
  return bodiesOf(request).map(({ header, frames }, at) => {
    const { id, scope, stream, type } = JSON.parse(header) as Record<string, string>;
    return {
      device,
      incarnation,
      index: from + at,
      leaf: originKey(device, incarnation),
      id: id ?? "",
      scope: scope ?? "",
      stream: stream ?? "",
      type: type ?? "",
      header,
      frames: frames[0]?.bytes ?? nothing,
    };
  });
}

type Found = Awaited<ReturnType<typeof foundPushes>>;

/** Sixteen devices that push at once, half of them at another node, against one that pushes as much. */
async function sixteen(
  { pushes, batch }: PostgresIngestOptions,
  found: Found,
  store: ServerStore,
  otherDriver: PostgresDriver,
): Promise<{
  readonly writers: { readonly one: number; readonly many: number; readonly ratio: number };
}> {
  const other = createPostgresServerStore({ crypto, driver: otherDriver });
  const nodes = [found.server, found.beside(other)] as const;
  const events = Math.max(1, Math.floor(batch / 5));
  const devices: Pusher[] = [];
  for (let at = 0; at < writers; at++) devices.push(await found.join());
  const prepare = (pusher: Pusher, count: number) => ({
    pusher,
    requests: Array.from({ length: count }, () => pusher.prepare(events)),
  });
  const push = async (
    { pusher, requests }: ReturnType<typeof prepare>,
    node: number,
  ): Promise<void> => {
    for (const request of requests)
      await pushWhole(nodes[node % 2] ?? found.server, pusher, request);
  };
  // Both nodes are known and every log is begun.
  for (const [at, pusher] of devices.entries()) await push(prepare(pusher, 1), at);
  const one = prepare(found.device, pushes * writers);
  const many = devices.map((pusher) => prepare(pusher, pushes));
  const before = (await countPositions(store, found.device.device.tenant)).events;
  const oneMs = await stopwatchAsync(() => push(one, 0));
  const manyMs = await stopwatchAsync(() => Promise.all(many.map(push)));
  const pushed = pushes * writers * events;
  const after = await countPositions(store, found.device.device.tenant);
  if (after.events !== before + 2 * pushed || after.found !== after.events) {
    throw new Error("positions have a gap");
  }
  const rate = (ms: number): number => round((pushed * 1_000) / ms, 1);
  return { writers: { one: rate(oneMs), many: rate(manyMs), ratio: round(oneMs / manyMs) } };
}

/** The head, and how many positions follow each other without a gap. */
function countPositions(
  store: ServerStore,
  tenant: string,
): Promise<{ readonly events: number; readonly found: number }> {
  return store.read(tenant, async (reads) => {
    const row = await reads.tenant(tenant);
    const { events } = await reads.head(row?.shard ?? "");
    let found = 0;
    for (;;) {
      const page = await reads.events(tenant, "*", found, 1_000);
      if (page.length === 0) return { events, found };
      for (const { position } of page) if (position === found + 1) found += 1;
      if (page.at(-1)?.position !== found) return { events, found };
    }
  });
}
