/** Replicas that hold the same events give the same answers, whatever the order in which these arrived. */
import type { RecordedEvent } from "@holdfast/core";
import {
  arrivalOrders,
  type Chance,
  createChance,
  generateHistory,
  type HistoryOptions,
} from "@holdfast/testkit";
import { describe, expect, test } from "vitest";
import {
  closedUntil,
  createOpener,
  createReplica,
  crypto,
  type Moments,
  plainRows,
  type Replica,
} from "./replica.ts";

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
    for (let seed = 0; seed < (full ? 20 : 1); seed++) {
      checkHistory(seed, { devices: 3, events: 620, streams: 1, scopes: 1 }, full ? 10 : 1);
    }
  });
});
