/**
 * Opening a store of 100,000 events, in a process of its own each time. Key derivation (Argon2id) is apart:
 * the store's own `open` span begins when the keyring is open.
 */
import { fileURLToPath } from "node:url";
import { silentObserver } from "@holdfast/core";
import {
  createGround,
  databasePath,
  makeLoadedStore,
  openBenchKeyring,
  openBenchStore,
} from "./ground.ts";
import { runChildJson } from "./children.ts";
import { gate, median, type Report, round, stopwatch, stopwatchAsync, timing } from "./measure.ts";
import { configureRaw, openRaw } from "./raw.ts";

export interface OpenOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  readonly rounds: number;
}

interface Opened {
  readonly keyring: number;
  readonly total: number;
  readonly open: number;
  readonly raw: number;
}

export async function benchOpen(options: OpenOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    const store = await makeLoadedStore(ground, {
      count: options.events,
      each: 10_000,
      streams: 1_000,
    });
    await store.close();
    const runs: Opened[] = [];
    for (let at = 0; at < options.rounds; at++) {
      const words = [ground.directory, ground.stateDirectory, at % 2 === 0 ? "ours" : "raw"];
      runs.push(await runChildJson<Opened>(fileURLToPath(import.meta.url), words));
    }
    const open = timing(runs.map((run) => run.open));
    return {
      subject: "open",
      ratio: round(median(runs.map((run) => run.raw / run.open))),
      events: options.events,
      open,
      raw: timing(runs.map((run) => run.raw)),
      key_derivation: timing(runs.map((run) => run.keyring)),
      total: timing(runs.map((run) => run.total)),
      gates: [gate("open after key derivation p95 ms", open.p95, "<", 300)],
    };
  } finally {
    ground.remove();
  }
}

/** The child: opens once with ours and once with the raw driver, in the order that it is told. */
async function openOnce(directory: string, stateDirectory: string, first: string): Promise<Opened> {
  const place = { directory, stateDirectory };
  let pageKey: Uint8Array = new Uint8Array(0);
  const keyring = await stopwatchAsync(async () => {
    const opened = await openBenchKeyring(place);
    pageKey = opened.pageKey();
    opened[Symbol.dispose]();
  });
  const raw = (): number =>
    stopwatch(() => {
      const database = openRaw(databasePath(place), pageKey);
      configureRaw(database);
      database.prepare("SELECT max(position) FROM events").get();
      database.close();
    });
  const rawBefore = first === "raw" ? raw() : undefined;
  let open = 0;
  const observer = {
    ...silentObserver,
    span(name: string) {
      const start = performance.now();
      return () => {
        if (name === "open") open = performance.now() - start;
      };
    },
  };
  const start = performance.now();
  const store = await openBenchStore(place, { observer });
  const total = performance.now() - start;
  await store.close();
  return { keyring, total, open, raw: rawBefore ?? raw() };
}

if (import.meta.main) {
  const [directory = "", stateDirectory = "", first = ""] = process.argv.slice(2);
  console.log(JSON.stringify(await openOnce(directory, stateDirectory, first)));
}
