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
  silentObserver,
  type SqliteDriver,
} from "@holdfast/core";
import { createNodeCrypto, openSqlite, systemClock, systemTimers } from "@holdfast/node";
import {
  createSqliteServerStore,
  createSyncServer,
  type SyncServer,
} from "@holdfast/server/engine";
import {
  type Chance,
  createChance,
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  type EventWishes,
  type PushingDevice,
} from "@holdfast/testkit";
import {
  gate,
  interleave,
  ratioOfRounds,
  type Report,
  stopwatch,
  stopwatchAsync,
  timing,
} from "./measure.ts";

export interface IngestOptions {
  readonly folder?: string | undefined;
  readonly rounds: number;
  /** Pushes of one round. */
  readonly pushes: number;
  /** Events of one push. */
  readonly batch: number;
}

const scopes = 50;
const streams = 500;
/** With salts, tags and headers some 700 kB for 500 events: an exchange takes up to 1 MiB. */
const payloadBytes = 512;
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
    const chance = createChance(1);
    const { server, device } = await foundTenant(store, chance);
    const makeEvents = eventMaker(chance);
    const insert = createPlainTable(raw);
    const ours: number[][] = [];
    const raws: number[][] = [];
    let pushed = 0;
    let placed = 0;
    const prepare = (): readonly PushRequest[] =>
      Array.from({ length: options.pushes }, () => {
        device.record(makeEvents(options.batch));
        const request = device.push(pushed);
        pushed = device.events.length;
        return request;
      });
    const caller = {
      tenant: device.tenant,
      device: device.device,
      incarnation: device.incarnation,
    };
    const unusedRaw = new Uint8Array(0);
    for (const request of prepare()) {
      await server.push(caller, request, unusedRaw);
      insert(bodiesOf(request));
    }
    let requests: readonly PushRequest[] = [];
    await interleave(
      options.rounds,
      async () => {
        requests = prepare();
        const times: number[] = [];
        for (const request of requests) {
          times.push(
            await stopwatchAsync(async () => {
              const answer = await server.push(caller, request, unusedRaw);
              if (answer.status === "receipted" && answer.owed.length === 0) placed += 1;
            }),
          );
        }
        ours.push(times);
      },
      () => {
        raws.push(requests.map((request) => stopwatch(() => insert(bodiesOf(request)))));
      },
    );
    if (placed !== options.rounds * options.pushes) throw new Error("a push was not taken whole");
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

async function foundTenant(
  store: ReturnType<typeof createSqliteServerStore>,
  chance: Chance,
): Promise<{ readonly server: SyncServer; readonly device: PushingDevice }> {
  const tenant = createPseudonym(chance);
  const node = createPushingDevice({ crypto, chance, tenant });
  const { privateKey, spki } = crypto.generateSigningKey("ed25519");
  const server = createSyncServer({
    store,
    crypto,
    clock: systemClock,
    timers: systemTimers,
    random: chance,
    observer: silentObserver,
    host: "bench.test",
    key: { spki, sign: crypto.signer("ed25519", privateKey) },
    reads: "none",
    nodeFor: () => Promise.resolve({ device: node.device, ...node.firstWords() }),
  });
  const device = createPushingDevice({ crypto, chance, tenant });
  const code = createInvitationCode({ crypto, chance });
  await server.addFoundingCode(code.digest, systemClock.now() + 60_000);
  await server.enrol(device.enrol(code));
  return { server, device };
}

function eventMaker(chance: Chance): (count: number) => readonly EventWishes[] {
  const names = Array.from({ length: streams }, (_, at) => ({
    stream: createPseudonym(chance),
    scope: at < scopes ? createPseudonym(chance) : "",
  }));
  const counts = new Map<number, number>();
  return (count) =>
    Array.from({ length: count }, () => {
      const number = chance.integer(streams);
      const streamSequence = (counts.get(number) ?? 0) + 1;
      counts.set(number, streamSequence);
      const stream = names[number]?.stream ?? "";
      const scope = names[number % scopes]?.scope ?? "";
      const plaintext = chance.bytes(payloadBytes);
      return { stream, scope, streamSequence, sections: [{ name: "content", plaintext }] };
    });
}

function bodiesOf(request: PushRequest): readonly EventBody[] {
  return request.entries.flatMap((entry) => (entry.kind === "full" ? [entry.body] : []));
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
