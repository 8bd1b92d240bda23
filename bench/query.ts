/** Reading: an event by its id, a read model's row by its stream, a stream of 100 events. */
import { createGround, databasePath, makeLoadedStore, model, modelTable, peek } from "./ground.ts";
import {
  gate,
  interleave,
  ratioOfRounds,
  type Report,
  stopwatch,
  type Timing,
  timing,
} from "./measure.ts";
import { openRaw, type RawDatabase } from "./raw.ts";

export interface QueryOptions {
  readonly folder?: string | undefined;
  readonly events: number;
  readonly rounds: number;
  /** Reads of each kind in one round. */
  readonly each: number;
}

const streamEvents = 100;

interface Compared {
  readonly ours: Timing;
  readonly raw: Timing;
  readonly ratio: number;
}

/** A read of ours and the raw driver's reading of the same rows, by some number. */
interface Pair {
  readonly ours: (number: number) => unknown;
  readonly raw: (number: number) => unknown;
}

export async function benchQuery(options: QueryOptions): Promise<Report> {
  const ground = createGround(options.folder);
  try {
    const streams = Math.max(1, Math.floor(options.events / streamEvents));
    const store = await makeLoadedStore(ground, { count: options.events, each: 10_000, streams });
    const { driver, pageKey } = await peek(ground);
    const ids = driver
      .prepare("SELECT id FROM events WHERE type <> 'IncarnationOpened' ORDER BY position")
      .all<{ id: string }>()
      .map(({ id }) => id);
    const table = modelTable(driver);
    driver.close();
    const raw = openRaw(databasePath(ground), pageKey, { readonly: true });
    const read = rawReads(raw, table);
    const idOf = (number: number) => ids[(number * 7_919) % ids.length] as string;
    const streamOf = (number: number) => `diary/${(number * 31) % streams}`;
    const pseudonyms = new Map(
      Array.from({ length: streams }, (_, at) => [`diary/${at}`, store.streamId(`diary/${at}`)]),
    );
    const pseudonymOf = (number: number) => pseudonyms.get(streamOf(number));
    const byId = await compare(options, {
      ours: (number) => store.get(idOf(number)),
      raw: (number) => read.event(idOf(number)),
    });
    const row = await compare(options, {
      ours: (number) => store.row(model, streamOf(number)),
      raw: (number) => read.row(pseudonymOf(number)),
    });
    const stream = await compare(options, {
      ours: (number) => store.read({ stream: streamOf(number) }),
      raw: (number) => read.stream(pseudonymOf(number)),
    });
    await store.close();
    raw.close();
    return {
      subject: "query",
      ratio: byId.ratio,
      events: options.events,
      get_by_id: byId,
      row_by_stream: row,
      stream_of_100: stream,
      gates: [
        gate("get by id p95 ms", byId.ours.p95, "<", 1),
        gate("row by stream p95 ms", row.ours.p95, "<", 1),
        gate("stream of 100 events p95 ms", stream.ours.p95, "<", 5),
      ],
    };
  } finally {
    ground.remove();
  }
}

/** The same rows through the raw driver: fetched, and neither opened nor checked. */
function rawReads(database: RawDatabase, table: string) {
  const event = database.prepare("SELECT position, leaf, header FROM events WHERE id = ?");
  const frames = database.prepare("SELECT * FROM frames WHERE position = ? ORDER BY section");
  const row = database.prepare(`SELECT * FROM ${table} WHERE stream = ?`);
  const stream = database.prepare(
    `SELECT events.position, leaf, header, section, key, state, bytes FROM events
     JOIN frames ON frames.position = events.position WHERE stream = ? ORDER BY events.position`,
  );
  return {
    event(id: string): unknown {
      const found = event.get(id) as { readonly position: number };
      return [found, frames.all(found.position)];
    },
    row: (name: string | undefined): unknown => row.get(name),
    stream: (name: string | undefined): unknown => stream.all(name),
  };
}

async function compare(options: QueryOptions, pair: Pair): Promise<Compared> {
  const ours: number[][] = [];
  const raw: number[][] = [];
  const measured = (read: Pair["ours"], into: number[][]) => (at: number) => {
    const numbers = Array.from({ length: options.each }, (_, turn) => at * options.each + turn);
    into.push(
      numbers.map((number) =>
        stopwatch(() => {
          if (read(number) === undefined) throw new Error("nothing was read");
        }),
      ),
    );
  };
  await interleave(options.rounds, measured(pair.ours, ours), measured(pair.raw, raw));
  return { ours: timing(ours.flat()), raw: timing(raw.flat()), ratio: ratioOfRounds(ours, raw) };
}
