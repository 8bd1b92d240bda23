/** Appending: one event at a time, 64 callers at once, and 10,000 events in one call. */
import { join } from "node:path";
import type { Holdfast } from "@holdfast/core";
import {
  createGround,
  load,
  makeDrafts,
  makeStore,
  modelTable,
  openBenchStore,
  peek,
} from "./ground.ts";
import {
  gate,
  interleave,
  median,
  ratioOfRounds,
  type Report,
  round,
  stopwatch,
  stopwatchAsync,
  type Timing,
  timing,
} from "./measure.ts";
import { createRawLog, type RawLog } from "./raw.ts";

export interface AppendOptions {
  readonly folder?: string | undefined;
  /** Rounds of each part. */
  readonly rounds: number;
  /** Single appends of one round. */
  readonly singles: number;
  readonly appenders: number;
  /** Events of one bulk call. */
  readonly bulk: number;
}

const streams = 500;

interface Compared {
  readonly ours: Timing;
  readonly raw: Timing;
  /** Median over rounds that ran beside each other. */
  readonly ratio: number;
}

export async function benchAppend(options: AppendOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    await makeStore(ground);
    const store = await openBenchStore(ground);
    let next = streams;
    const take = (count: number) => {
      next += count;
      return makeDrafts(next - count, count, streams);
    };
    // Every scope has its data key and every stream its row before the clock starts, on both sides.
    await load(store, { count: streams, each: streams, streams });
    await store.append(take(1));
    const { driver } = await peek(ground);
    const raw = createRawLog(driver, join(ground.folder, "raw.db"), {
      streams,
      table: modelTable(driver),
    });
    driver.close();
    raw.append(raw.prepare(streams));
    await singles(store, raw, take, { ...options, rounds: 1 });
    const single = await singles(store, raw, take, options);
    const concurrent = await concurrently(store, take, options);
    const bulk = await bulks(store, raw, take, options);
    await store.close();
    raw.close();
    const times = round(concurrent.rate / single.ours.rate);
    return {
      subject: "append",
      ratio: single.ratio,
      single,
      concurrent: { appenders: options.appenders, ...concurrent, times_single: times },
      bulk: { events: options.bulk, ...bulk },
      gates: [
        gate("single append, ours / raw", single.ratio, ">=", 0.6),
        gate("single append p95 ms", single.ours.p95, "<", 5),
        gate(`${options.appenders} appenders, times single`, times, ">=", 4),
        gate("bulk events/s", bulk.ours.rate, ">=", 8_000),
        gate("bulk events/s (stretch)", bulk.ours.rate, ">=", 15_000),
      ],
    };
  } finally {
    ground.remove();
  }
}

type Take = (count: number) => ReturnType<typeof makeDrafts>;

async function singles(
  store: Holdfast,
  raw: RawLog,
  take: Take,
  options: AppendOptions,
): Promise<Compared> {
  const ours: number[][] = [];
  const raws: number[][] = [];
  await interleave(
    options.rounds,
    async () => {
      const times: number[] = [];
      for (const draft of take(options.singles)) {
        times.push(await stopwatchAsync(() => store.append(draft)));
      }
      ours.push(times);
    },
    () => {
      const rows = raw.prepare(options.singles);
      raws.push(
        rows.map((row) =>
          stopwatch(() => {
            raw.append([row]);
          }),
        ),
      );
    },
  );
  return { ours: timing(ours.flat()), raw: timing(raws.flat()), ratio: ratioOfRounds(ours, raws) };
}

async function concurrently(store: Holdfast, take: Take, options: AppendOptions): Promise<Timing> {
  const latencies: number[] = [];
  const rates: number[] = [];
  const each = Math.max(1, Math.ceil(options.singles / 8));
  for (let at = 0; at < options.rounds; at++) {
    const drafts = take(options.appenders * each);
    const appender = async (number: number): Promise<void> => {
      for (let turn = 0; turn < each; turn++) {
        const draft = drafts[turn * options.appenders + number];
        if (draft !== undefined) latencies.push(await stopwatchAsync(() => store.append(draft)));
      }
    };
    const took = await stopwatchAsync(() =>
      Promise.all(Array.from({ length: options.appenders }, (_, number) => appender(number))),
    );
    rates.push((drafts.length * 1_000) / took);
  }
  // Latencies of callers overlap, so the rate is events by wall clock.
  return { ...timing(latencies), rate: round(median(rates), 1) };
}

async function bulks(
  store: Holdfast,
  raw: RawLog,
  take: Take,
  options: AppendOptions,
): Promise<Compared> {
  const ours: number[][] = [];
  const raws: number[][] = [];
  const rounds = Math.max(1, Math.min(5, options.rounds));
  await interleave(
    rounds,
    async () => {
      const drafts = take(options.bulk);
      ours.push([await stopwatchAsync(() => store.append(drafts))]);
    },
    () => {
      const rows = raw.prepare(options.bulk);
      raws.push([
        stopwatch(() => {
          raw.append(rows);
        }),
      ]);
    },
  );
  return {
    ours: timing(ours.flat(), options.bulk),
    raw: timing(raws.flat(), options.bulk),
    ratio: ratioOfRounds(ours, raws),
  };
}
