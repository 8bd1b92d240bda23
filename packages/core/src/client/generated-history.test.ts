import {
  configure,
  createSchema,
  createSqliteEventLog,
  findConflicts,
  inTransaction,
  type RecordedEvent,
  type SqliteEventLog,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import { arrivalOrders, createChance, generateHistory } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { openEvent } from "./open-event.ts";

const crypto = createNodeCrypto();

function emptyLog(): SqliteEventLog {
  const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
  configure(driver);
  inTransaction(driver, () => {
    createSchema(driver);
  });
  return createSqliteEventLog({ crypto, driver });
}

const size = { devices: 4, events: 40, streams: 3, scopes: 2 };

describe("a generated history on an event log", () => {
  it("is taken in every order of arrival, opens with its keys, and has the same conflicts", () => {
    for (let seed = 0; seed < 5; seed++) {
      const chance = createChance(seed);
      const history = generateHistory(chance, size, crypto);
      const found = arrivalOrders(history, chance, 5).map((order) => {
        const log = emptyLog();
        for (const batch of order) expect(log.append(batch).status).toBe("appended");
        expect(log.head()).toBe(size.events + size.devices);
        return history.streams.map((stream) => {
          const events = log
            .read({ stream, limit: size.events })
            .map((stored): RecordedEvent => openEvent({ crypto, ...history }, stored));
          expect(events.every(({ content, known }) => content === "opened" && known)).toBe(true);
          return findConflicts(
            events.map(({ leaf, header, data }) => {
              return { leaf, header, contentKey: JSON.stringify(data), payload: data };
            }),
            history.registry,
          );
        });
      });
      for (const conflicts of found) expect(conflicts).toEqual(found[0]);
    }
  });
});
