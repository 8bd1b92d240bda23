/** The read side: rebuilding, live queries, cached rows, the past, late arrivals, the outbox. */
import { createOutbox, type Holdfast, inTransaction } from "@holdfast/core";
import { openSqlite, systemClock } from "@holdfast/node";
import { measureFold } from "./fold.ts";
import {
  createGround,
  databasePath,
  type Ground,
  makeDrafts,
  makeLoadedStore,
  model,
  openBenchStore,
  peek,
} from "./ground.ts";
import {
  gate,
  median,
  percentile,
  type Report,
  round,
  stopwatch,
  stopwatchAsync,
  type Timing,
  timing,
} from "./measure.ts";

export interface ReadOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  readonly rounds: number;
  readonly subscribers: number;
  /** Events of the stream that is asked about its past. */
  readonly past: number;
  /** Operations of each kind of read. */
  readonly each: number;
  readonly outbox: number;
  /** Streams and stores of the late arrivals: the small ones, and how many times the large ones are. */
  readonly fold: { readonly stream: number; readonly store: number; readonly times: number };
}

const streams = 500;
/** A notification that takes longer is lost. */
const notificationMsMax = 30_000;

export async function benchRead(options: ReadOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    const store = await makeLoadedStore(ground, { count: options.events, each: 10_000, streams });
    const rebuild: number[] = [];
    for (let at = 0; at < options.rounds; at++) {
      rebuild.push(await stopwatchAsync(() => store.rebuild(model)));
    }
    const live = await measureLive(store, options);
    const row = measureRows(store, options);
    await store.close();
    const resumed = await measureResume(ground);
    const past = await measurePast(ground, options);
    const fold = measureFolds(options);
    const outbox = await measureOutbox(options);
    const seconds = round(median(rebuild) / 1_000);
    return {
      subject: "read",
      // Events rebuilt per second against the promise; there is no raw driver's way to do it.
      ratio: round(10_000 / median(rebuild)),
      events: options.events,
      rebuild_s: seconds,
      rebuild_resumed: resumed,
      live,
      cached_row_us: row,
      as_of: past,
      late_arrival_ms: fold,
      outbox,
      gates: [
        gate("rebuild s", seconds, "<", 10),
        gate("streams kept of an interrupted rebuild", resumed.kept, ">=", 1),
        gate("live query p95 ms", live.total.p95, "<", 10),
        gate("cached row p95 us", row.p95, "<", 20),
        gate("as-of by position p95 ms", past.position.p95, "<", 50),
        gate("as-of by recorded time p95 ms", past.recorded.p95, "<", 50),
        gate("late arrival, large store by small", fold.by_store, "<", 2),
        gate("outbox rebuild s", outbox.rebuild_s, "<", 1),
        gate("outbox query mean ms", outbox.query_ms, "<", 5),
      ],
    };
  } finally {
    ground.remove();
  }
}

/** From the call of `append`, and from its return, until the last of the subscribers concerned is told. */
async function measureLive(store: Holdfast, { subscribers, each }: ReadOptions) {
  let told = 0;
  let allTold: (at: number) => void = () => undefined;
  const ends = Array.from({ length: subscribers }, (_, at) =>
    store.subscribe(model, { where: { minutes: { gte: -at } } }, () => {
      told += 1;
      if (told === subscribers) allTold(performance.now());
    }),
  );
  const total: number[] = [];
  const delivery: number[] = [];
  for (const draft of makeDrafts(1_000_000, each, streams)) {
    told = 0;
    const notified = new Promise<number>((resolve) => {
      allTold = resolve;
      AbortSignal.timeout(notificationMsMax).addEventListener("abort", () => {
        resolve(Number.NaN);
      });
    });
    const start = performance.now();
    await store.append(draft);
    const durable = performance.now();
    const last = await notified;
    if (Number.isNaN(last)) throw new Error("not all subscribers were told");
    total.push(last - start);
    delivery.push(Math.max(0, last - durable));
  }
  for (const end of ends) end();
  return { subscribers, total: timing(total), delivery: timing(delivery) };
}

/** Microseconds of a row that was read before, in words as an application asks; means of 100 reads. */
function measureRows(store: Holdfast, { each }: ReadOptions) {
  const names = Array.from({ length: 100 }, (_, at) => `diary/${at}`);
  const read = (): void => {
    for (const name of names) store.row(model, name);
  };
  read();
  const sorted = Array.from({ length: each }, () => stopwatch(read) * 10).toSorted((a, b) => a - b);
  return { p50: round(percentile(sorted, 0.5)), p95: round(percentile(sorted, 0.95)) };
}

/** A rebuild that the closing of the store interrupts, and that the next opening goes on with. */
async function measureResume(ground: Ground) {
  const store = await openBenchStore(ground);
  let closed: Promise<void> | undefined;
  const rebuilding = store.rebuild(model, () => {
    closed ??= store.close();
  });
  await rebuilding.catch(() => undefined);
  await closed;
  const { driver } = await peek(ground);
  const sql = "SELECT sum(streams) AS value FROM projections WHERE state = 'building'";
  const kept = driver.prepare(sql).get<{ readonly value: number | null }>()?.value ?? 0;
  driver.close();
  const again = await openBenchStore(ground);
  const state = again.status().projections.find(({ name }) => name === model)?.state;
  await again.close();
  if (state !== "current") throw new Error("the rebuild was not gone on with");
  return { kept, streams };
}

/** A stream of many events, asked how it was at places all over its past. */
async function measurePast(ground: Ground, { past, each }: ReadOptions) {
  const store = await openBenchStore(ground);
  const start = store.status().events;
  const batch = 100;
  const recorded: number[] = [];
  for (let from = 0; from < past; from += batch) {
    const drafts = makeDrafts(from, Math.min(batch, past - from), 1);
    await store.append(drafts.map((draft) => ({ ...draft, stream: "past", scope: "past" })));
    recorded.push(store.read({ after: start + from, limit: 1 })[0]?.recordedAt ?? 0);
  }
  const query = { where: { stream: "past" } };
  const times = (momentOf: (share: number) => Parameters<Holdfast["asOf"]>[1]): Timing =>
    timing(
      Array.from({ length: each }, (_, at) => {
        const moment = momentOf((((at * 7_919) % each) + 1) / each);
        return stopwatch(() => {
          if (store.asOf(model, moment, query).length !== 1) throw new Error("no row");
        });
      }),
    );
  const report = {
    events: past,
    position: times((share) => ({ position: start + Math.ceil(share * past) })),
    recorded: times((share) => {
      return { recorded: recorded[Math.ceil(share * recorded.length) - 1] ?? 0 };
    }),
    occurred: timing(
      [1, 0.5, 0.25].map((share) =>
        stopwatch(() =>
          store.asOf(model, { occurred: 1_790_000_000_000 + Math.floor(share * past) }, query),
        ),
      ),
    ),
  };
  await store.close();
  return report;
}

/** Late arrivals by store size at one stream length, and by stream length at one store size. */
function measureFolds({ fold: { stream, store, times }, each }: ReadOptions) {
  const arrivals = Math.min(each, 21);
  const small = measureFold({ stream, others: store, arrivals });
  const largeStore = measureFold({ stream, others: store * times, arrivals });
  const longStream = measureFold({ stream: stream * times, others: store, arrivals });
  return {
    small,
    large_store: largeStore,
    long_stream: longStream,
    times,
    by_store: round(largeStore / small),
    by_stream: round(longStream / small),
  };
}

/** The outbox of a store, emptied behind its back and made again. */
async function measureOutbox(options: ReadOptions) {
  const ground = createGround(options.folder);
  try {
    const store = await makeLoadedStore(ground, { count: options.outbox, each: 10_000, streams });
    await store.close();
    const { driver: reader, pageKey } = await peek(ground);
    reader.close();
    const driver = openSqlite({
      path: databasePath(ground),
      pageKey,
      readOnly: false,
      create: false,
    });
    const outbox = createOutbox({ driver, clock: systemClock });
    const rebuild = Array.from({ length: options.rounds }, () => {
      driver.exec("DELETE FROM outbox");
      return stopwatch(() => {
        const entries = inTransaction(driver, () => outbox.rebuild());
        if (entries < options.outbox) throw new Error("entries are missing");
      });
    });
    const queries = Array.from({ length: options.each }, () => stopwatch(() => outbox.status()));
    driver.close();
    const total = queries.reduce((sum, one) => sum + one, 0);
    return {
      entries: options.outbox,
      rebuild_s: round(median(rebuild) / 1_000),
      query_ms: round(total / queries.length),
    };
  } finally {
    ground.remove();
  }
}
