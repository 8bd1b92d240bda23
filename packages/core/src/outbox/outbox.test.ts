import { createNodeCrypto, openSqlite } from "@holdfast/node";
import { createChance, createManualClock, createSealedDeviceLog } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { createSchema } from "../store/schema.ts";
import { createSqliteEventLog, inTransaction } from "../store/sqlite-event-log.ts";
import { createOutbox } from "./outbox.ts";

const crypto = createNodeCrypto();

function made() {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  createSchema(driver);
  const clock = createManualClock(5_000);
  const log = createSqliteEventLog({ crypto, driver });
  const outbox = createOutbox({ driver, clock });
  const device = createSealedDeviceLog({ crypto, chance: createChance(1) });
  const append = (...times: readonly number[]): void => {
    const batch = device.batch(times.map((at) => ({ at, sections: [] })));
    const urgent = new Set([batch.events[1]?.leaf ?? ""]);
    inTransaction(driver, () => log.appendWithin({ ...batch, urgent }, [outbox]));
  };
  return { driver, clock, outbox, append };
}

describe("outbox", () => {
  it("holds each own event once, with its lane, from the transaction that stored it", () => {
    const { driver, outbox, append } = made();
    expect(outbox.status()).toEqual({ waiting: 0, leased: 0, dead: 0, oldestMs: undefined });
    append(1_000, 2_000, 3_000);
    expect(outbox.status()).toEqual({ waiting: 3, leased: 0, dead: 0, oldestMs: 4_000 });
    const rows = driver
      .prepare("SELECT position, lane, state, attempts FROM outbox ORDER BY position")
      .all();
    expect(rows).toEqual([
      { position: 1, lane: "normal", state: "waiting", attempts: 0 },
      { position: 2, lane: "urgent", state: "waiting", attempts: 0 },
      { position: 3, lane: "normal", state: "waiting", attempts: 0 },
    ]);
    expect(outbox.check(10)).toEqual([]);
  });

  it("keeps nothing of an append that was rolled back", () => {
    const { driver, outbox, append } = made();
    append(1_000);
    const failing = {
      name: "failing",
      apply: (): void => {
        throw new Error("no");
      },
    };
    const log = createSqliteEventLog({ crypto, driver });
    const other = createSealedDeviceLog({ crypto, chance: createChance(2) });
    const run = (): unknown =>
      inTransaction(driver, () => log.appendWithin(other.batch([{}]), [outbox, failing]));
    expect(run).toThrow("no");
    expect(outbox.status().waiting).toBe(1);
    expect(outbox.check(10)).toEqual([]);
  });

  it("counts no age for an entry from the future", () => {
    const { outbox, append } = made();
    append(9_000);
    expect(outbox.status()).toEqual({ waiting: 1, leased: 0, dead: 0, oldestMs: 0 });
  });

  it("finds entries that are missing or too many, and is made whole from the events", () => {
    const { driver, outbox, append } = made();
    append(1_000, 2_000, 3_000, 4_000);
    driver.exec("DELETE FROM outbox WHERE position IN (1, 3)");
    driver.exec(
      "PRAGMA foreign_keys = OFF; INSERT INTO outbox VALUES (99, 'normal', 'waiting', 0, 0, NULL, NULL)",
    );
    const problems = outbox.check(10);
    expect(problems).toEqual(
      expect.arrayContaining([
        { position: 1, kind: "missing" },
        { position: 3, kind: "missing" },
        { position: 99, kind: "unexpected" },
      ]),
    );
    expect(problems).toHaveLength(3);
    expect(outbox.check(1)).toHaveLength(1);
    expect(inTransaction(driver, () => outbox.rebuild())).toBe(4);
    expect(outbox.check(10)).toEqual([]);
    expect(outbox.status()).toEqual({ waiting: 4, leased: 0, dead: 0, oldestMs: 4_000 });
    // What was there keeps its lane.
    const urgent = driver.prepare("SELECT position FROM outbox WHERE lane = 'urgent'").all();
    expect(urgent).toEqual([{ position: 2 }]);
  });

  it("does not expect entries for the events of others", () => {
    const { driver, outbox, append } = made();
    append(1_000);
    driver.exec("UPDATE incarnations SET own = 0");
    expect(outbox.check(10)).toEqual([{ position: 1, kind: "unexpected" }]);
    expect(inTransaction(driver, () => outbox.rebuild())).toBe(0);
    expect(outbox.check(10)).toEqual([]);
  });
});
