import {
  canonicalJson,
  type CommitBatch,
  concurrentWith,
  type ContendingEvent,
  createCausalHistory,
  findConflicts,
  fromBase64url,
  fromSections,
  fromUtf8,
  openFrame,
  type SealedEvent,
} from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { createChance } from "./chance.ts";
import { arrivalOrders, generateHistory, type GeneratedHistory } from "./generate-history.ts";

const crypto = createNodeCrypto();
const size = { devices: 3, events: 40, streams: 3, scopes: 2 };
const historyOf = (seed: number): GeneratedHistory =>
  generateHistory(createChance(seed), size, crypto);

/** As a store opens it: every section with the tenant's keys. */
function opened(history: GeneratedHistory, event: SealedEvent): ContendingEvent {
  const leaf = fromBase64url(event.leaf) as Uint8Array;
  const sections = event.frames.map(({ section, key, bytes }) => {
    const dataKey = history.keyring.dataKey(key, 1);
    const commitment = fromBase64url(event.header.sec[section]?.c ?? "") as Uint8Array;
    if (dataKey === undefined || bytes === undefined) throw new Error("no key or no frame");
    const frame = openFrame(crypto, dataKey, section, leaf, bytes, commitment);
    if (frame === undefined) throw new Error("a frame does not open");
    return [section, frame.plaintext] as const;
  });
  return {
    leaf: event.leaf,
    header: event.header,
    contentKey: canonicalJson(sections.map(([name, plaintext]) => [name, fromUtf8(plaintext)])),
    payload: fromSections("json", new Map(sections)).data,
  };
}

function conflictsOf(history: GeneratedHistory, batches: readonly CommitBatch[]) {
  const events = batches.flatMap((batch) => batch.events);
  return history.streams.map((stream) =>
    findConflicts(
      events
        .filter(({ header }) => header.stream === stream)
        .map((event) => opened(history, event)),
      history.registry,
    ),
  );
}

describe("generated histories", () => {
  it("replay from their seed", () => {
    const leavesOf = ({ logs }: GeneratedHistory) =>
      logs.map(({ batches }) => batches.map(({ events }) => events.map(({ leaf }) => leaf)));
    expect(leavesOf(historyOf(7))).toEqual(leavesOf(historyOf(7)));
    expect(leavesOf(historyOf(7))).not.toEqual(leavesOf(historyOf(8)));
  });

  it("hold vectors of maximal, known events, counters without gaps, and one scope for each stream", () => {
    for (let seed = 0; seed < 20; seed++) {
      const history = historyOf(seed);
      const events = history.logs.flatMap(({ batches }) =>
        batches.flatMap((batch) => batch.events),
      );
      for (const stream of history.streams) {
        const own = events.filter(({ header }) => header.stream === stream);
        expect(new Set(own.map(({ header }) => header.scope)).size).toBeLessThanOrEqual(1);
        const places = new Set(
          own.map(({ header }) => `${header.dev}/${header.inc}/${header.sseq}`),
        );
        const causal = createCausalHistory(own);
        const byPlace = new Map(
          own.map((event) => [
            `${event.header.dev}/${event.header.inc}/${event.header.sseq}`,
            event,
          ]),
        );
        expect(places.size).toBe(own.length);
        for (const { header } of own) {
          if (header.sseq > 1)
            expect(places).toContain(`${header.dev}/${header.inc}/${header.sseq - 1}`);
          const named = Object.entries(header.vv ?? {}).map(([origin, count]) =>
            byPlace.get(`${origin}/${count}`),
          );
          expect(named).not.toContain(undefined);
          for (const cause of named) {
            const others = new Set(
              concurrentWith(causal, cause?.leaf ?? "").map(({ event }) => event.leaf),
            );
            expect(named.every((other) => other === cause || others.has(other?.leaf ?? ""))).toBe(
              true,
            );
          }
        }
      }
    }
  });

  it("have every kind of event, conflict and clock", () => {
    const kinds = new Set<string>();
    let backwards = 0;
    for (let seed = 0; seed < 20; seed++) {
      const history = historyOf(seed);
      for (const { batches } of history.logs) {
        const headers = batches.flatMap(({ events }) => events.map(({ header }) => header));
        for (const [at, header] of headers.entries()) {
          kinds.add(header.op).add(header.type);
          if (header.at < (headers[at - 1]?.at ?? 0)) backwards += 1;
        }
      }
      for (const conflict of conflictsOf(
        history,
        history.logs.flatMap(({ batches }) => batches),
      ).flat()) {
        kinds.add(conflict.strategy);
        kinds.add(conflict.settledBy === undefined ? conflict.status : "resolved");
      }
    }
    expect(backwards).toBeGreaterThan(0);
    expect([...kinds].toSorted()).toEqual([
      "BedAssigned",
      "DoseSet",
      "IncarnationOpened",
      "NoteWritten",
      "WeightMeasured",
      "amend",
      "create",
      "greatest",
      "last-writer",
      "manual",
      "open",
      "resolve",
      "resolved",
      "retract",
      "settled",
    ]);
  });

  it("have the same conflicts and canonical orders in every order of arrival", () => {
    for (let seed = 0; seed < 10; seed++) {
      const history = historyOf(seed);
      const chance = createChance(seed);
      const orders = arrivalOrders(history, chance, 5);
      const first = orders[0] as readonly CommitBatch[];
      const orderOf = (batches: readonly CommitBatch[]) =>
        createCausalHistory(batches.flatMap(({ events }) => events)).events.map(
          ({ event }) => event.leaf,
        );
      for (const order of orders) {
        for (const log of history.logs) {
          expect(order.filter(({ note }) => note.incarnation === log.incarnation)).toEqual(
            log.batches,
          );
        }
        expect(conflictsOf(history, order)).toEqual(conflictsOf(history, first));
        for (const stream of history.streams) {
          const only = (batches: readonly CommitBatch[]) =>
            batches.map((batch) => ({
              ...batch,
              events: batch.events.filter(({ header }) => header.stream === stream),
            }));
          expect(orderOf(only(order))).toEqual(orderOf(only(first)));
        }
      }
      expect(
        new Set(
          orders.map((order) => order.map(({ note }) => `${note.incarnation}${note.size}`).join()),
        ).size,
      ).toBeGreaterThan(1);
    }
  });
});
