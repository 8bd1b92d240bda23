import { createNodeCrypto, openSqlite } from "@holdfast/node";
import { createOutboxBench, type OutboxBench } from "@holdfast/testkit";
import { beforeAll, describe, expect, it } from "vitest";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { limits } from "../std/limits.ts";
import { createOutbox } from "./outbox.ts";

const crypto = createNodeCrypto();

function openMemory(): SqliteDriver {
  return openSqlite({ path: ":memory:", pageKey: undefined, readOnly: false, create: true });
}

/** Every statement that is run on a driver, in order. */
function recorded(driver: SqliteDriver): { driver: SqliteDriver; statements: Set<string> } {
  const statements = new Set<string>();
  const spying: SqliteDriver = {
    ...driver,
    get inTransaction() {
      return driver.inTransaction;
    },
    prepare(sql) {
      const statement = driver.prepare(sql);
      const seen = <T>(run: () => T): T => {
        statements.add(sql);
        return run();
      };
      return {
        run: (...values) => seen(() => statement.run(...values)),
        get: (...values) => seen(() => statement.get(...values)),
        all: (...values) => seen(() => statement.all(...values)),
      };
    },
  };
  return { driver: spying, statements };
}

/** Rows without sealing: what the outbox reads of them. */
function fill(driver: SqliteDriver, entries: number): void {
  driver.exec(
    `INSERT INTO incarnations VALUES (1, 'd', 'i', 1);
     WITH RECURSIVE n (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM n WHERE at < ${entries})
     INSERT INTO events SELECT at, printf('%043d', at), printf('%036d', at), 1, at, 'T',
       printf('s%d', at % 500), 'a', at, '{"op":"create"}' FROM n;
     INSERT INTO outbox (position, lane, state, enqueued_at)
       SELECT position, CASE WHEN position % 1000 = 0 THEN 'urgent' ELSE 'normal' END,
         'waiting', recorded_at FROM events;
     ANALYZE;`,
  );
}

describe("turns at 50,000 entries", () => {
  const entries = 50_000;
  let bench: OutboxBench;
  let statements: Set<string>;
  beforeAll(() => {
    const spy = recorded(openMemory());
    ({ statements } = spy);
    bench = createOutboxBench(crypto, spy.driver);
    fill(spy.driver, entries);
  });

  it("reads no table whole to lease, fail, renew, release, deliver", () => {
    const { clock, driver, within } = bench;
    const outbox = createOutbox({ driver, clock });
    statements.clear();
    const held = within(() => outbox.lease({ worker: "w", entries: 64 }));
    if (held === undefined) throw new Error("nothing was leased");
    expect(held.entries).toHaveLength(64);
    const attempt = within(() => outbox.begin(held.token, "e"));
    within(() => {
      const nextAt = clock.now() + 60_000;
      outbox.failed(held.token, attempt, { code: "network_unreachable", nextAt });
    });
    within(() => outbox.renew(held.token));
    within(() => outbox.release(held.token));
    outbox.nextDueAt();
    const next = within(() => outbox.lease({ worker: "v", entries: 64 }));
    within(() => outbox.delivered(next?.entries.map(({ position }) => position) ?? []));
    const scans = [...statements]
      .filter((sql) => /^\s*(SELECT|UPDATE|DELETE|WITH)/i.test(sql))
      .flatMap((sql) =>
        driver
          .prepare(`EXPLAIN QUERY PLAN ${sql}`)
          .all<{ detail: string }>(...Array.from({ length: sql.split("?").length - 1 }, () => null))
          .map(({ detail }) => ({ detail, sql })),
      )
      .filter(({ detail }) => /^SCAN (outbox|events|attempts|dead_letters)/.test(detail));
    expect(scans).toEqual([]);
    expect(statements.size).toBeGreaterThan(10);
    // The same question finds one where there is one.
    const plan = driver.prepare("EXPLAIN QUERY PLAN SELECT * FROM outbox WHERE attempts = 3").all<{
      detail: string;
    }>();
    expect(plan[0]?.detail).toMatch(/^SCAN outbox/);
  });

  it("gives up looking behind a long run of a blocked stream, and goes on when it is free", () => {
    const other = createOutboxBench(crypto, openMemory());
    const { driver, clock, outbox, within } = other;
    fill(driver, 12);
    driver.exec(
      `WITH RECURSIVE n (at) AS (SELECT 13 UNION ALL SELECT at + 1 FROM n WHERE at < 9000)
       INSERT INTO events SELECT at, printf('%043d', at), printf('%036d', at), 1, at, 'T',
         CASE WHEN at = 9000 THEN 'free' ELSE 's1' END, 'a', at, '{"op":"create"}' FROM n;
       INSERT INTO outbox (position, lane, state, enqueued_at)
         SELECT position, 'normal', 'waiting', 0 FROM events WHERE position > 12;`,
    );
    const held = within(() => outbox.lease({ worker: "slow", entries: 12 }));
    expect(held?.entries.map(({ position }) => position).at(-1)).toBe(12);
    expect(9_000 - 12).toBeGreaterThan(limits.outboxWalkEntriesMax);
    expect(within(() => outbox.lease({ worker: "next", entries: 1 }))).toBeUndefined();
    expect(outbox.nextDueAt()).toBe(clock.now() + limits.outboxLeaseExpiryMs);
    within(() => outbox.delivered(held?.entries.map(({ position }) => position) ?? []));
    const all = within(() => outbox.lease({ worker: "next", entries: 10_000 }));
    expect(all?.entries).toHaveLength(9_000 - 12);
  });
});
