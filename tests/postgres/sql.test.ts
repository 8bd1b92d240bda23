import { readFileSync } from "node:fs";
import { createNodeCrypto, systemTimers } from "@holdfast/node";
import {
  checkStandby,
  claimDatabase,
  createPostgresReplayMemory,
  createPostgresServerStore,
  migratePostgres,
  type PostgresConnection,
  type PostgresDriver,
  prepareSession,
  type ServerStore,
  tablesSql,
} from "@holdfast/server";
import { addTenant, createChance, eventsFor, serverStoreSuite } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, createEmpty, plainDriver, type TestDatabase } from "./cluster.ts";
import { wordsOf } from "./sql-words.ts";

const crypto = createNodeCrypto();

/** Words that a section of the list names: its code blocks, one word a line. */
function listed(section: string): readonly string[] {
  const text = readFileSync(new URL("../../spec/postgres-sql.md", import.meta.url), "utf8");
  const part = text.split(/^## /m).find((one) => one.startsWith(`${section}\n`)) ?? "";
  return [...part.matchAll(/```\n([^`]*)```/g)]
    .flatMap(([, block = ""]) => block.split("\n"))
    .filter((line) => line !== "");
}

/** Every statement that goes over the connections. */
function recorded(driver: PostgresDriver, statements: Set<string>): PostgresDriver {
  const over = (connection: PostgresConnection): PostgresConnection => ({
    rows: (sql, ...values) => connection.rows(note(sql), ...values),
    run: (sql, ...values) => connection.run(note(sql), ...values),
    exec: (sql) => connection.exec(note(sql)),
  });
  const note = (sql: string): string => {
    statements.add(sql);
    return sql;
  };
  return { ...driver, lend: (work) => driver.lend((connection) => work(over(connection))) };
}

async function wordsOfAll(statements: Iterable<string>): Promise<readonly string[]> {
  const words = new Set<string>();
  for (const sql of statements) for (const word of await wordsOf(sql)) words.add(word);
  return [...words].toSorted();
}

/** Runs the conformance suite over that driver. */
async function runSuite(driver: PostgresDriver, empty: () => Promise<void>): Promise<void> {
  const bodies: (() => unknown)[] = [];
  const runner = {
    describe: (_: string, body: () => void) => {
      body();
    },
    it: (_: string, body: () => unknown) => {
      bodies.push(body);
    },
    check: (fact: boolean, text: string) => {
      if (!fact) expect.fail(text);
    },
  };
  serverStoreSuite(runner, {
    name: "recorded",
    crypto,
    async make() {
      await empty();
      const store = createPostgresServerStore({ crypto, driver });
      return { store, reopen: undefined, tamper: undefined, close: () => undefined };
    },
  });
  for (const body of bodies) await body();
}

describe("the SQL that the server uses is what the list names", () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase();
  });
  afterAll(() => database.close());

  it("while it works", async () => {
    const statements = new Set<string>();
    const driver = recorded(database.server, statements);
    await runSuite(driver, database.empty);
    const identity = { checkpointKey: "a", name: "b", tokenKey: "c", nodeKey: "d" };
    await claimDatabase(driver, identity);
    const used = { tenant: "t", name: "d/i/jti", until: 2, now: 1 };
    await createPostgresReplayMemory(driver).use(used, () => undefined);
    await driver.lend((connection) =>
      prepareSession(connection, { statementMs: 30_000, idleMs: 30_000 }),
    );
    expect(statements.size).toBeGreaterThan(50);
    expect(await wordsOfAll(statements)).toEqual(listed("While it works"));
  });

  it("while it makes tables", async () => {
    const statements = new Set<string>();
    const fresh = plainDriver(await createEmpty());
    await migratePostgres({ crypto, owner: recorded(fresh, statements), layout: "plain" });
    await fresh.close();
    expect(statements).toContain(tablesSql("plain"));
    expect(await wordsOfAll(statements)).toEqual(listed("While it makes tables"));
  });

  it("on PostgreSQL alone", async () => {
    const statements = new Set<string>();
    const driver = recorded(database.server, statements);
    await driver.lend(checkStandby).catch(() => undefined);
    const told = new Promise<void>((resolve) => {
      const hints = { timers: systemTimers, times: { gatherMs: 0, pollMs: 60_000 } };
      const notified: PostgresDriver = {
        ...driver,
        lend: (work) =>
          driver.lend(work).finally(() => {
            if ([...statements].some((sql) => sql.includes("pg_notify"))) resolve();
          }),
      };
      const store = createPostgresServerStore({ crypto, driver: notified, hints });
      void placeOne(store);
    });
    await told;
    const own = [...statements].filter((sql) => /pg_notify|pg_stat_replication/.test(sql));
    own.push("LISTEN holdfast_events");
    const elsewhere = new Set([...listed("While it works"), ...listed("While it makes tables")]);
    const words = await wordsOfAll([...own, tablesSql("partitioned")]);
    expect(words.filter((word) => !elsewhere.has(word))).toEqual(listed("On PostgreSQL alone"));
  });
});

async function placeOne(store: ServerStore): Promise<void> {
  const here = { store, chance: createChance(7) };
  const names = await addTenant(here);
  await names.write((tx) => tx.placeEvents(names.tenant, eventsFor(here, names, 1)));
}
