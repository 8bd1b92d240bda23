/**
 * What an event costs that arrives out of order, from another device: by the length of its stream and by the
 * size of the store. Events come as sealed batches into an event log in memory; nothing is decrypted.
 */
import {
  configure,
  createReadModels,
  createRegistry,
  createSchema,
  createSqliteEventLog,
  defineProjection,
  type Header,
  inTransaction,
  originKey,
  type RecordedEvent,
  silentObserver,
} from "@holdfast/core";
import { createNodeCrypto, openSqlite } from "@holdfast/node";
import { createChance, createSealedDeviceLog } from "@holdfast/testkit";
import { median, round, stopwatch } from "./measure.ts";

export interface FoldOptions {
  /** Events of the stream into which one arrives. */
  readonly stream: number;
  /** Events of other streams. */
  readonly others: number;
  readonly arrivals: number;
}

const crypto = createNodeCrypto();
const type = "NoteTaken";
const batchEvents = 100;
const otherStreamEvents = 100;

const noted = defineProjection<{ readonly count: number }>({
  name: "noted",
  version: 1,
  types: [type],
  columns: { count: "integer" },
  fold: (state) => ({ count: (state?.count ?? 0) + 1 }),
  row: (state) => state,
});

function createReplica() {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  configure(driver);
  createSchema(driver);
  const log = createSqliteEventLog({ crypto, driver });
  const recorded = (position: number, header: Header): RecordedEvent => ({
    position,
    header,
    leaf: "",
    id: header.id,
    type: header.type,
    schemaVersion: header.tv,
    known: true,
    stream: header.stream,
    scope: header.scope,
    actor: header.act,
    op: header.op,
    recordedAt: header.at,
    occurredAt: undefined,
    reason: undefined,
    data: undefined,
    text: undefined,
    content: "opened",
  });
  const models = createReadModels({
    driver,
    crypto,
    observer: silentObserver,
    log,
    registry: createRegistry([]),
    projections: [noted],
    open: ({ position, headerText }) => recorded(position, JSON.parse(headerText) as Header),
    openAppended: ({ position, sealed }) => recorded(position, sealed.header),
  });
  inTransaction(driver, () => {
    models.beginBuild(noted.name);
  });
  while (!inTransaction(driver, () => models.stepBuild(noted.name)).done);
  return { driver, log, models };
}

/** Median milliseconds of one event that belongs at the beginning of the stream, and arrives last. */
export function measureFold(options: FoldOptions): number {
  const { driver, log, models } = createReplica();
  const chance = createChance(1);
  const [first, second] = [1, 2].map(() => createSealedDeviceLog({ crypto, chance })) as [
    ReturnType<typeof createSealedDeviceLog>,
    ReturnType<typeof createSealedDeviceLog>,
  ];
  const counts = new Map<string, number>();
  const wish = (device: typeof first, stream: string, at: number) => {
    const origin = originKey(device.device, device.incarnation);
    const before = counts.get(`${origin}/${stream}`) ?? 0;
    counts.set(`${origin}/${stream}`, before + 1);
    const vector: Readonly<Record<string, number>> = before === 0 ? {} : { [origin]: before };
    const rest = { type, scope: "scope", streamSequence: before + 1, sections: [] };
    return { ...rest, stream, vector, at };
  };
  const take = (device: typeof first, wishes: readonly ReturnType<typeof wish>[]): void => {
    const batch = { ...device.batch(wishes), foreign: true };
    const outcome = inTransaction(driver, () => log.appendWithin(batch, [models]));
    if (outcome.status !== "appended") throw new Error("the batch was not taken");
  };
  const load = (count: number, streamOf: (number: number) => string): void => {
    for (let from = 0; from < count; from += batchEvents) {
      const numbers = Array.from(
        { length: Math.min(batchEvents, count - from) },
        (_, at) => from + at,
      );
      take(
        first,
        numbers.map((number) => wish(first, streamOf(number), 1_000_000 + number)),
      );
    }
  };
  load(options.others, (number) => `other/${Math.floor(number / otherStreamEvents)}`);
  load(options.stream, () => "stream");
  const times = Array.from({ length: options.arrivals }, (_, at) => {
    const wishes = [wish(second, "stream", at)];
    return stopwatch(() => {
      take(second, wishes);
    });
  });
  const { count } = models.row(noted.name, "stream")?.columns ?? {};
  if (count !== options.stream + options.arrivals) throw new Error("an arrival was not folded");
  driver.close();
  return round(median(times));
}
