/** A device in a process of its own: a store with everything on, synced over HTTP. */
import {
  createHttpTransport,
  createOutbox,
  type Holdfast,
  inTransaction,
  parseEnrolmentCode,
  type SyncEngine,
  type SyncReport,
} from "@holdfast/core";
import { createNodeHttp, keepMemorySmall, syncDesk, systemClock } from "@holdfast/node";
import { answerParent } from "./children.ts";
import {
  connect,
  load,
  makeDrafts,
  makeStore,
  model,
  openBenchStore,
  type Place,
} from "./ground.ts";
import { round } from "./measure.ts";

/** In MB (10^6 bytes). */
export interface Memory {
  readonly now: number;
  /** The most since the last look. */
  readonly most: number;
}

const http = createNodeHttp();
let opened: Holdfast | undefined;
let engine: SyncEngine | undefined;
let token: string | undefined;
let exchanges = 0;
let most = 0;
let hints: (bigint | undefined)[] = [];

function store(): Holdfast {
  if (opened === undefined) throw new Error("no store is open");
  return opened;
}

function server(): string {
  return store().server()?.url ?? "";
}

/** The engine of the open store, over HTTP; pushes are counted, and the token is kept for tails. */
function sync(): SyncEngine {
  if (engine !== undefined) return engine;
  const transport = createHttpTransport({ http }, server());
  engine = store().sync({
    ...transport,
    push(request, options) {
      exchanges += 1;
      return transport.push(request, options);
    },
    pull(request, options) {
      token = options.token;
      return transport.pull(request, options);
    },
  });
  return engine;
}

/** More in a row are no accident of a busy machine. */
const failuresMax = 200;

const rest = async (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

function look(): number {
  const now = process.memoryUsage.rss() / 1e6;
  most = Math.max(most, now);
  return now;
}

/** A process that is killed between the two copies of the keyring leaves one behind, until the next key is written. */
const leftByKills: ReadonlySet<string> = new Set(["keyring_line_missing", "keyring_line_torn"]);

/** Events that the rows of the read model stand for. */
function inModel(): number {
  const rows = store().query<{ readonly count: number }>(model, { limit: 100_000 });
  return rows.reduce((sum, { state }) => sum + state.count, 0);
}

/** Syncs until nothing is left; a call that a busy machine did not answer in time is made again. */
async function syncAll(): Promise<SyncReport> {
  for (let failures = 0; ;) {
    const report = await sync().syncNow();
    if (report.status === "drained") return report;
    if (report.status === "failed") failures += 1;
    if (report.status !== "partial" && (report.status !== "failed" || failures > failuresMax)) {
      throw new Error(`sync ended: ${report.status} ${report.failure ?? ""}`);
    }
    await rest(50);
  }
}

const acts = {
  /** As `holdfast sync` does before anything else. */
  keepSmall(): void {
    keepMemorySmall();
  },
  /** A new store; with a code, one that joins the tenant of that code. */
  async make(place: Place, code?: string): Promise<void> {
    await makeStore(place, code === undefined ? undefined : parseEnrolmentCode(code).joins);
  },
  async open(place: Place): Promise<void> {
    opened = await openBenchStore(place);
  },
  async enrol(code: string): Promise<void> {
    await syncDesk(store(), http).enrol(code);
  },
  invite: (): Promise<string> =>
    syncDesk(store(), http).invite({ role: "device", scopes: ["*"], lifeMs: 3_600_000 }),
  async append(from: number, count: number, each: number, streams: number): Promise<void> {
    await load(store(), { from, count, each, streams });
  },
  async sync(): Promise<SyncReport> {
    return syncAll();
  },
  /** Opens that many live tails, each as a subscriber of its own would. */
  async follow(subscribers: number): Promise<void> {
    await syncAll();
    hints = Array.from({ length: subscribers }, () => undefined);
    for (const at of hints.keys()) {
      const hint = (): void => {
        hints[at] ??= process.hrtime.bigint();
      };
      const ended = (error: unknown): void => {
        throw new Error("a tail ended", { cause: error });
      };
      // A store keeps few connections; each subscriber is one.
      const own = createHttpTransport({ http: createNodeHttp() }, server());
      own.tail({ hint, ended }, token === undefined ? {} : { token });
    }
  },
  /** Nanoseconds, as text, at which every subscriber had its next hint. */
  async hinted(): Promise<readonly string[]> {
    while (hints.includes(undefined)) await rest(5);
    const times = hints.map(String);
    hints.fill(undefined);
    return times;
  },
  /** Syncs by itself from now on, with a live tail. */
  start(): void {
    sync().start();
  },
  /** Resolves once the read model answers with that many events. */
  async answered(events: number): Promise<number> {
    for (;;) {
      const found = inModel();
      if (found >= events) return found;
      await rest(5);
    }
  },
  inModel,
  /** Appends one urgent event and waits until the server has it. */
  async urgent(number: number) {
    const before = exchanges;
    const began = performance.now();
    const [draft] = makeDrafts(number, 1, 500);
    if (draft === undefined) throw new Error("no draft");
    const answer = await store().append({ ...draft, lane: "urgent" });
    if (answer.status !== "appended") throw new Error(answer.status);
    const durable = performance.now();
    const delivered = answer.delivered();
    const syncing = sync().syncNow();
    await delivered;
    const after = performance.now();
    const pushes = exchanges - before;
    await sync().cancel();
    await syncing;
    const { waiting } = store().status().outbox;
    return { pushes, ms: after - began, exchange_ms: after - durable, waiting };
  },
  /** Resident memory half a second after the last work, and the most since it was asked for last. */
  async memory(): Promise<Memory> {
    await rest(500);
    const now = look();
    const seen = most;
    most = 0;
    return { now: round(now, 1), most: round(seen, 1) };
  },
  status: () => {
    const { events, outbox } = store().status();
    return { events, waiting: outbox.waiting, most: round(most, 1) };
  },
  /** Every event of the log, by its leaf: how many there are, and how many different ones. */
  counted() {
    const leaves = new Set<string>();
    let events = 0;
    for (let after = 0; ;) {
      const page = store().read({ after, limit: 10_000, headersOnly: true });
      const last = page.at(-1);
      if (last === undefined) {
        const { problems } = store().verify();
        const ok = problems.every(({ code }) => leftByKills.has(code));
        return { events, different: leaves.size, ok };
      }
      for (const { leaf } of page) leaves.add(leaf);
      events += page.length;
      after = last.position;
    }
  },
  /** Milliseconds of leases of that many entries, each given back; the store must be closed. */
  async leases(place: Place, entries: number, times: number): Promise<readonly number[]> {
    const { driver } = await connect(place, false);
    const outbox = createOutbox({ driver, clock: systemClock });
    const taken = Array.from({ length: times }, () =>
      inTransaction(driver, () => {
        const began = performance.now();
        const lease = outbox.lease({ worker: "bench", entries });
        const took = performance.now() - began;
        if (lease?.entries.length !== entries) throw new Error("fewer entries than asked for");
        outbox.release(lease.token);
        return took;
      }),
    );
    driver.close();
    return taken;
  },
  async close(): Promise<void> {
    await opened?.close();
    opened = undefined;
    engine = undefined;
  },
};

export type DeviceActs = typeof acts;

if (import.meta.main) {
  const looking = setInterval(look, 20);
  looking.unref();
  answerParent(acts, async () => {
    await opened?.close();
    process.exit(0);
  });
}
