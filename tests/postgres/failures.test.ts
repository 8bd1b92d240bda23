import { isHoldfastError } from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import {
  createPostgresDriver,
  createPostgresServerStore,
  type PostgresDriver,
  prepareSession,
  type ServerStore,
  type ServerWrites,
} from "@holdfast/server";
import { addTenant, createChance, eventsFor, type Founded } from "@holdfast/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createDatabase, serverDriver, type TestDatabase } from "./cluster.ts";

const crypto = createNodeCrypto();
let database: TestDatabase;
let store: ServerStore;
let names: Founded;
const chance = createChance(5);

beforeAll(async () => {
  database = await createDatabase();
  store = database.open();
});
afterAll(async () => {
  await store.close();
  await database.close();
});
beforeEach(async () => {
  names = await addTenant({ store, chance });
});

const place = (tx: ServerWrites, from = 0) =>
  tx.placeEvents(names.tenant, eventsFor({ chance }, names, 1, from));

/** Ends every connection of the server but the owner's. */
async function cut(): Promise<void> {
  await database.owner.lend((connection) =>
    connection.rows(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    ),
  );
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return isHoldfastError(error) ? `${error.code} ${String(error.details["result"])}` : error;
  }
}

describe("a connection that is lost", () => {
  it("before COMMIT costs a second try and nothing else", async () => {
    let tries = 0;
    const first = await names.write(async (tx) => {
      tries += 1;
      const position = await place(tx);
      if (tries === 1) await cut();
      return position;
    });
    expect([first, tries]).toEqual([1, 2]);
    expect((await names.reads.head(names.shard)).events).toBe(1);
  });

  it("again and again is told, and the store goes on", async () => {
    const failed = names.write(async (tx) => {
      await cut();
      return place(tx);
    });
    expect(await failureOf(failed)).toMatch(/^store_io_error (connection|57P01)$/);
    expect(await names.write((tx) => place(tx))).toBe(1);
  });

  it("during COMMIT has an unknown outcome: it is told and not tried again", async () => {
    const driver = serverDriver(database.url);
    const cutting: PostgresDriver = {
      ...driver,
      lend: (work) =>
        driver.lend((connection) =>
          work({
            ...connection,
            async exec(sql) {
              if (sql !== "COMMIT") return connection.exec(sql);
              await connection.exec(sql);
              // The answer does not arrive.
              await cut();
              return connection.exec("SELECT 1");
            },
          }),
        ),
    };
    const unsure = createPostgresServerStore({ crypto, driver: cutting });
    let tries = 0;
    const written = unsure.write(names.tenant, (tx) => {
      tries += 1;
      return place(tx);
    });
    expect(await failureOf(written)).toBe("store_io_error commit");
    expect(tries).toBe(1);
    expect((await names.reads.head(names.shard)).events).toBe(1);
    await driver.close();
  });
});

describe("what the database undoes", () => {
  it("as a deadlock is tried again", async () => {
    const other = await addTenant({ store, chance });
    const driver = serverDriver(database.url);
    const undone = { left: 1 };
    const faulty: PostgresDriver = {
      ...driver,
      lend: (work) =>
        driver.lend((connection) =>
          work({
            ...connection,
            async run(sql, ...values) {
              if (undone.left > 0 && sql.startsWith("INSERT INTO holdfast.event_ids")) {
                undone.left -= 1;
                return connection.run(
                  "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$",
                );
              }
              return connection.run(sql, ...values);
            },
          }),
        ),
    };
    const retried = createPostgresServerStore({ crypto, driver: faulty });
    const position = await retried.write(other.tenant, (tx) =>
      tx.placeEvents(other.tenant, eventsFor({ chance }, other, 1)),
    );
    expect([position, undone.left]).toEqual([1, 0]);
    await driver.close();
  });
});

describe("a pool", () => {
  it("is bounded: who waits too long or behind too many is told", async () => {
    const driver = createPostgresDriver({
      url: database.url,
      connectionsMax: 1,
      waitingMax: 1,
      waitMs: 300,
      answerMs: 10_000,
      prepare: (connection) => prepareSession(connection, { statementMs: 9_000, idleMs: 9_000 }),
    });
    let release = (): void => undefined;
    let held: Promise<void> = Promise.resolve();
    await new Promise<void>((lent) => {
      held = driver.lend(
        () =>
          new Promise<void>((resolve) => {
            release = resolve;
            lent();
          }),
      );
    });
    const waiting = failureOf(driver.lend(() => Promise.resolve()));
    expect(await failureOf(driver.lend(() => Promise.resolve()))).toBe("store_busy pool");
    expect(await waiting).toBe("store_busy pool");
    release();
    await held;
    await driver.lend(() => Promise.resolve());
    await driver.close();
  });

  it("has no connection whose settings did not take", async () => {
    const weakened = createPostgresDriver({
      url: database.url,
      connectionsMax: 1,
      waitingMax: 1,
      waitMs: 10_000,
      answerMs: 10_000,
      prepare: (connection) =>
        prepareSession(
          {
            ...connection,
            exec: async (sql) =>
              connection.exec(
                sql.replace("synchronous_commit = 'on'", "synchronous_commit = 'off'"),
              ),
          },
          { statementMs: 9_000, idleMs: 9_000 },
        ),
    });
    expect(await failureOf(weakened.lend(() => Promise.resolve()))).toMatch(
      /^database_setting_refused/,
    );
    await weakened.close();
  });
});
