/** Verifying a store of 100,000 events in commits of 100: without and with every commitment opened. */
import { createGround, databasePath, makeLoadedStore, peek } from "./ground.ts";
import { gate, interleave, ratioOfRounds, type Report, stopwatch, timing } from "./measure.ts";
import { openRaw, type RawDatabase } from "./raw.ts";

export interface VerifyOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  /** Events of one commit. */
  readonly commit: number;
  readonly rounds: number;
}

export async function benchVerify(options: VerifyOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    const store = await makeLoadedStore(ground, {
      count: options.events,
      each: options.commit,
      streams: 1_000,
    });
    const { driver, pageKey } = await peek(ground);
    driver.close();
    const raw = openRaw(databasePath(ground), pageKey, { readonly: true });
    const times = {
      headers: [] as number[][],
      commitments: [] as number[][],
      raw: [] as number[][],
    };
    await interleave(
      options.rounds,
      () => {
        for (const depth of ["headers", "commitments"] as const) {
          const took = stopwatch(() => {
            const report = store.verify({ depth, allNotes: true });
            if (!report.ok || report.events < options.events) throw new Error("verify failed");
          });
          times[depth].push([took]);
        }
      },
      () => {
        times.raw.push([stopwatch(() => readEverything(raw))]);
      },
    );
    const pages = stopwatch(() => raw.pragma("integrity_check"));
    await store.close();
    raw.close();
    const headers = timing(times.headers.flat(), options.events);
    const commitments = timing(times.commitments.flat(), options.events);
    return {
      subject: "verify",
      ratio: ratioOfRounds(times.commitments, times.raw),
      events: options.events,
      events_of_a_commit: options.commit,
      headers,
      commitments,
      raw: timing(times.raw.flat(), options.events),
      page_check_ms: Math.round(pages),
      gates: [
        gate("headers, leaves, all notes: events/s", headers.rate, ">=", 50_000),
        gate("every commitment opened: events/s", commitments.rate, ">=", 15_000),
      ],
    };
  } finally {
    ground.remove();
  }
}

/** The raw driver reads every row once and checks the structure of every page; it verifies nothing. */
function readEverything(database: RawDatabase): void {
  const events = database.prepare(
    "SELECT * FROM events WHERE position > ? ORDER BY position LIMIT 1000",
  );
  const frames = database.prepare(
    "SELECT * FROM frames WHERE position > ? AND position <= ? ORDER BY position",
  );
  for (let after = 0; ; after += 1_000) {
    if (events.all(after).length === 0) break;
    frames.all(after, after + 1_000);
  }
  database.prepare("SELECT * FROM commits").all();
  database.pragma("integrity_check");
}
