/** Replicas that hold the same events give the same answers, whatever the order in which these arrived. */
import {
  canonicalJson,
  type CommitBatch,
  configure,
  type Conflict,
  createSchema,
  createSqliteEventLog,
  defineProjection,
  inTransaction,
  originKey,
  type RecordedEvent,
  silentObserver,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  arrivalOrders,
  type Chance,
  createChance,
  type GeneratedHistory,
  generateHistory,
  type HistoryOptions,
  type HistoryPayload,
} from "@holdfast/testkit";
import { describe, expect, test } from "vitest";
import { canonicalOrder } from "../event/canonical-order.ts";
import { readAll } from "../projection/fold.ts";
import { createReadModels } from "../projection/read-models.ts";
import { conflictsOf } from "./corrections.ts";
import { openEvent } from "./open-event.ts";

const crypto = createNodeCrypto();
const types = ["NoteWritten", "BedAssigned", "DoseSet", "WeightMeasured"];

/** A number that tells every order of events from every other, at the cost of a few bytes. */
const order = defineProjection<{ readonly n: number; readonly mix: number }>({
  name: "ordered",
  version: 1,
  types,
  columns: { n: "integer", mix: "integer" },
  fold: (state = { n: 0, mix: 17 }, event) => {
    const text = event.id + canonicalJson(event.data ?? null);
    let { mix } = state;
    for (let at = 0; at < text.length; at++) {
      mix = (Math.imul(mix, 31) + text.charCodeAt(at)) | 0;
    }
    return { n: state.n + 1, mix };
  },
  row: (state) => state,
});

/** As a diary folds: entries by leaf, corrected and withdrawn by later events; no row without entries. */
const entries = defineProjection<Readonly<Record<string, number>>>({
  name: "entries",
  version: 1,
  types: ["NoteWritten", "BedAssigned", "DoseSet"],
  columns: { sum: "integer", size: "integer" },
  fold(state = {}, event) {
    const { value } = event.data as HistoryPayload;
    const concerned = new Set(event.header.ref);
    const left = Object.entries(state).filter(([leaf]) => !concerned.has(leaf));
    if (event.op !== "retract") left.push([event.leaf, value]);
    return left.length === 0 ? undefined : Object.fromEntries(left);
  },
  row(state) {
    const values = Object.values(state);
    return { sum: values.reduce((sum, value) => sum + value, 0), size: values.length };
  },
});

const projections = [order, entries];
type Answers = Readonly<Record<string, unknown>>;

/** All that two replicas with the same events must agree on. */
interface ReplicaAnswers {
  readonly models: Answers;
  readonly conflicts: readonly (readonly Conflict[])[];
  readonly frontiers: Answers;
  readonly recorded: Answers;
  readonly occurred: Answers;
}

/** Moments at which replicas are asked about the past, UTC milliseconds. */
interface Moments {
  readonly recorded: readonly number[];
  readonly occurred: readonly number[];
}

type Replica = ReturnType<typeof createReplica>;

/** Opens events of a history; each is opened once, however many replicas hold it. */
function createOpener(history: GeneratedHistory) {
  const opened = new Map<string, RecordedEvent>();
  return (stored: Parameters<typeof openEvent>[1]): RecordedEvent => {
    const event = opened.get(stored.leaf) ?? openEvent({ crypto, ...history }, stored);
    opened.set(stored.leaf, event);
    return { ...event, position: stored.position };
  };
}

function createReplica(history: GeneratedHistory, open: ReturnType<typeof createOpener>) {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  configure(driver);
  inTransaction(driver, () => {
    createSchema(driver);
  });
  const log = createSqliteEventLog({ crypto, driver });
  const models = createReadModels({
    driver,
    crypto,
    observer: silentObserver,
    log,
    registry: history.registry,
    projections,
    open,
    openAppended: ({ position, sealed }) => open({ ...sealed, position }),
  });
  const eventsOf = (stream: string): readonly RecordedEvent[] =>
    readAll(log, stream, 0).map((stored) => open(stored));

  function rebuild(): void {
    for (const { name } of projections) {
      inTransaction(driver, () => {
        models.beginBuild(name);
      });
      while (!inTransaction(driver, () => models.stepBuild(name)).done);
    }
  }
  rebuild();

  function byModel(answer: (name: string) => unknown): Answers {
    return Object.fromEntries(projections.map(({ name }) => [name, answer(name)]));
  }

  return {
    driver,
    log,
    models,
    eventsOf,
    rebuild,
    take(batches: readonly CommitBatch[]): void {
      for (const batch of batches) {
        const outcome = inTransaction(driver, () => log.appendWithin(batch, [models]));
        if (outcome.status !== "appended") throw new Error(outcome.status);
      }
    },
    rows: () => byModel((name) => models.query(name, {})),
    asOf: (moment: Parameters<typeof models.asOf>[1]) =>
      byModel((name) => models.asOf(name, moment, {})),
    answers({ recorded, occurred }: Moments): ReplicaAnswers {
      const corrected = { registry: history.registry, get: () => undefined, eventsOf };
      return {
        models: byModel((name) => models.query(name, {})),
        conflicts: history.streams.map((stream) => conflictsOf(corrected, stream)),
        frontiers: Object.fromEntries(
          history.streams.map((stream) => [stream, sorted(log.streams.get(stream)?.frontier)]),
        ),
        recorded: byModel((name) => recorded.map((at) => models.asOf(name, { recorded: at }, {}))),
        occurred: byModel((name) => occurred.map((at) => models.asOf(name, { occurred: at }, {}))),
      };
    },
  };
}

const sorted = (vector: Readonly<Record<string, number>> | undefined) =>
  Object.entries(vector ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));

/** The rows that some events of streams make, folded in order without snapshots. */
function plainRows(
  streams: ReadonlyMap<string, readonly RecordedEvent[]>,
  isKept: (event: RecordedEvent) => boolean = () => true,
): Answers {
  const answers: Record<string, unknown> = {};
  for (const { name, types: taken, fold, row } of projections as readonly (typeof order)[]) {
    const rows = [...streams].flatMap(([stream, events]) => {
      const scope = events[0]?.scope;
      let state: Parameters<typeof fold>[0];
      for (const event of canonicalOrder(events)) {
        if (isKept(event) && taken.includes(event.type)) state = fold(state, event);
      }
      return state === undefined ? [] : [{ stream, scope, columns: row(state), state }];
    });
    answers[name] = rows.toSorted((a, b) => (a.stream < b.stream ? -1 : 1));
  }
  return answers;
}

/** The events that were recorded by then together with everything that they build upon. */
function closedUntil(events: readonly RecordedEvent[], recorded: number): readonly RecordedEvent[] {
  const byPlace = new Map(
    events.map((event) => {
      const { dev, inc, sseq } = event.header;
      return [`${originKey(dev, inc)}/${sseq}`, event];
    }),
  );
  const known = new Map<RecordedEvent, boolean>();
  function isClosed(event: RecordedEvent | undefined): boolean {
    if (event === undefined) return true;
    const answered = known.get(event);
    if (answered !== undefined) return answered;
    const { dev, inc, sseq, vv = {} } = event.header;
    const own = originKey(dev, inc);
    const causes = [[own, sseq - 1] as const, ...Object.entries(vv)];
    const closed =
      event.recordedAt <= recorded &&
      causes.every(([origin, count]) => isClosed(byPlace.get(`${origin}/${count}`)));
    known.set(event, closed);
    return closed;
  }
  return events.filter((event) => isClosed(event));
}

const full = process.env["HOLDFAST_FULL"] === "1";
const timeout = 7_200_000;

type Streams = ReadonlyMap<string, readonly RecordedEvent[]>;

function streamsOf(replica: Replica, streams: readonly string[]): Streams {
  return new Map(streams.map((stream) => [stream, replica.eventsOf(stream)]));
}

const happened = (event: RecordedEvent): number => event.occurredAt ?? event.recordedAt;

function momentsOf(chance: Chance, streams: Streams, count: number): Moments {
  const events = [...streams.values()].flat();
  const some = <T>(pick: () => T): readonly T[] => Array.from({ length: count }, pick);
  return {
    // On an event, and just before one.
    recorded: some(() => chance.pick(events).recordedAt - chance.integer(2)),
    occurred: some(() => happened(chance.pick(events)) - chance.integer(2)),
  };
}

/** The answers of a replica about the moments, worked out from its events alone. */
function expected(streams: Streams, { recorded, occurred }: Moments) {
  return {
    now: plainRows(streams),
    recorded: recorded.map((at) =>
      plainRows(new Map([...streams].map(([id, events]) => [id, closedUntil(events, at)]))),
    ),
    occurred: occurred.map((at) =>
      // In the order that all events give them: what is left out may lie between two of them.
      plainRows(streams, (event) => happened(event) <= at),
    ),
  };
}

function checkHistory(seed: number, size: HistoryOptions, orders: number): void {
  const chance = createChance(seed);
  const history = generateHistory(chance, size, crypto);
  const open = createOpener(history);
  let first: ReturnType<Replica["answers"]> | undefined;
  let moments: Moments | undefined;
  for (const arrived of arrivalOrders(history, chance, orders)) {
    const replica = createReplica(history, open);
    const half = chance.integer(arrived.length);
    replica.take(arrived.slice(0, half));
    const position = replica.log.head();
    const then = replica.rows();
    replica.take(arrived.slice(half));
    if (first === undefined || moments === undefined) {
      const streams = streamsOf(replica, history.streams);
      moments = momentsOf(chance, streams, 3);
      first = replica.answers(moments);
      const plain = expected(streams, moments);
      expect(first.models, `seed ${seed}`).toEqual(plain.now);
      for (const name of Object.keys(plain.now)) {
        expect(first.recorded[name], `seed ${seed}`).toEqual(plain.recorded.map((at) => at[name]));
        expect(first.occurred[name], `seed ${seed}`).toEqual(plain.occurred.map((at) => at[name]));
      }
      replica.rebuild();
    }
    expect(replica.answers(moments), `seed ${seed}`).toEqual(first);
    // What this store held at a position is its own affair: no other replica need agree.
    expect(replica.asOf({ position }), `seed ${seed}`).toEqual(then);
    replica.driver.close();
  }
}

describe("replicas with the same events", () => {
  const histories = Number(process.env["HOLDFAST_HISTORIES"] ?? (full ? 1_000 : 40));
  const orders = full ? 20 : 6;

  test(
    `agree on models, conflicts, frontiers and the past: ${histories} histories in ${orders} orders`,
    { timeout },
    () => {
      for (let seed = 0; seed < histories; seed++) {
        const chance = createChance(seed);
        const streams = 1 + chance.integer(3);
        const size = {
          devices: 2 + chance.integer(3),
          events: 10 + chance.integer(30),
          streams,
          scopes: 1 + chance.integer(streams),
        };
        checkHistory(seed, size, orders);
      }
    },
  );

  test("agree beyond snapshots: streams of several hundred events", { timeout }, () => {
    for (let seed = 0; seed < (full ? 5 : 1); seed++) {
      checkHistory(seed, { devices: 3, events: 620, streams: 1, scopes: 1 }, full ? 4 : 1);
    }
  });
});
