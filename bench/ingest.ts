/**
 * Push ingest: batches of 500 events, verified, placed, receipted and checkpointed by the server's engine, against a
 * plain insert of the same bytes into the same SQLite. Sealing is done before the clock starts, on neither side.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  configure,
  type EventBody,
  inTransaction,
  type PushRequest,
  type SqliteDriver,
} from "@holdfast/core";
import { createNodeCrypto, openSqlite } from "@holdfast/node";
import { createSqliteServerStore } from "@holdfast/server/engine";
import { createChance } from "@holdfast/testkit";
import {
  gate,
  interleave,
  ratioOfRounds,
  type Report,
  stopwatch,
  stopwatchAsync,
  timing,
} from "./measure.ts";
import { bodiesOf, foundPushes, pushWhole } from "./pushes.ts";

export interface IngestOptions {
  readonly folder?: string | undefined;
  readonly rounds: number;
  /** Pushes of one round. */
  readonly pushes: number;
  /** Events of one push. */
  readonly batch: number;
}

const crypto = createNodeCrypto();

export async function benchIngest(options: IngestOptions): Promise<Report> {
  const folder = mkdtempSync(join(options.folder ?? tmpdir(), "holdfast-ingest-"));
  const pageKey = new Uint8Array(32).fill(7);
  const open = (name: string): SqliteDriver =>
    openSqlite({ path: join(folder, name), pageKey, readOnly: false, create: true });
  const raw = open("raw.db");
  const driver = open("server.db");
  const store = createSqliteServerStore({ crypto, driver });
  try {
    const { server, device } = await foundPushes(store, createChance(1));
    const insert = createPlainTable(raw);
    const ours: number[][] = [];
    const raws: number[][] = [];
    const prepare = (): readonly PushRequest[] =>
      Array.from({ length: options.pushes }, () => device.prepare(options.batch));
    for (const request of prepare()) {
      await pushWhole(server, device, request);
      insert(bodiesOf(request));
    }
    let requests: readonly PushRequest[] = [];
    await interleave(
      options.rounds,
      async () => {
        requests = prepare();
        const times: number[] = [];
        for (const request of requests) {
          times.push(await stopwatchAsync(() => pushWhole(server, device, request)));
        }
        ours.push(times);
      },
      () => {
        raws.push(requests.map((request) => stopwatch(() => insert(bodiesOf(request)))));
      },
    );
    await server.close();
    const timed = timing(ours.flat(), options.batch);
    const ratio = ratioOfRounds(ours, raws);
    return {
      subject: "ingest",
      ratio,
      ours: timed,
      raw: timing(raws.flat(), options.batch),
      gates: [
        // The promise is either of the two: on a slow medium both sides are slow.
        timed.rate >= 10_000 || ratio < 0.5
          ? gate("verified push ingest events/s", timed.rate, ">=", 10_000)
          : gate("verified push ingest, ours / raw", ratio, ">=", 0.5),
      ],
    };
  } finally {
    await store.close();
    raw.close();
    rmSync(folder, { recursive: true });
  }
}

/** Header and frames of each event, one transaction a batch; nothing is hashed, verified or looked up. */
function createPlainTable(driver: SqliteDriver): (bodies: readonly EventBody[]) => void {
  configure(driver);
  driver.exec("CREATE TABLE bodies (position INTEGER PRIMARY KEY, header TEXT, frame BLOB) STRICT");
  const insert = driver.prepare("INSERT INTO bodies (header, frame) VALUES (?, ?)");
  return (bodies) => {
    inTransaction(driver, () => {
      for (const { header, frames } of bodies) insert.run(header, frames[0]?.bytes ?? null);
    });
  };
}
