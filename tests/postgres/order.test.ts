import { setTimeout as wait } from "node:timers/promises";
import { createNodeCrypto, systemTimers } from "@holdfast/node";
import { createPostgresServerStore, type ServerStore } from "@holdfast/server";
import { addTenant, createChance, emptyLog, eventsFor, type Founded } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, serverDriver, type TestDatabase } from "./cluster.ts";

const crypto = createNodeCrypto();
const full = process.env["HOLDFAST_FULL"] === "1";
let database: TestDatabase;
const stores: ServerStore[] = [];

beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  for (const store of stores) await store.close();
  await database.close();
});

/** A node's store; they share nothing but the database. */
function node(hints?: { readonly pollMs: number; readonly hears: boolean }): ServerStore {
  const driver = serverDriver(database.url);
  const { listen, ...deaf } = driver;
  const store = createPostgresServerStore({
    crypto,
    driver: hints?.hears === false ? deaf : { ...deaf, ...(listen && { listen }) },
    ...(hints && {
      hints: { timers: systemTimers, times: { gatherMs: 5, pollMs: hints.pollMs } },
    }),
  });
  stores.push(store);
  return store;
}

function found(store: ServerStore, seed: number): Promise<Founded> {
  return addTenant({ store, chance: createChance(seed) });
}

describe("sixteen writers of one tenant, whose commits are late", () => {
  it("leave no gap, and who reads along passes over nothing", async () => {
    const nodes = Array.from({ length: 4 }, () => node());
    const names = await found(nodes[0] as ServerStore, 1);
    const { tenant, shard } = names;
    const writers = 16;
    const rounds = full ? 100 : 6;
    const chance = createChance(3);
    let writing = writers;
    const seen: number[] = [];
    const read: string[] = [];

    async function write(number: number): Promise<void> {
      const store = nodes[number % nodes.length] as ServerStore;
      const log = { ...names, incarnation: number.toString(16).padStart(16, "0") };
      await store.write(tenant, (tx) => tx.addDeviceLog(tenant, emptyLog(log)));
      for (let round = 0; round < rounds; round++) {
        const events = eventsFor({ chance }, log, 1 + (round % 3));
        const first = await store
          .write(tenant, async (tx) => {
            const position = await tx.placeEvents(tenant, events);
            const leaf = await tx.addServerLeaves(shard, [`${number} ${round}`]);
            await wait(chance.integer(4));
            if (chance.oneIn(10)) throw new Stopped();
            return [position, leaf] as const;
          })
          .catch((error: unknown) => {
            if (error instanceof Stopped) return undefined;
            throw error;
          });
        if (first !== undefined) for (const at of events.keys()) seen.push(first[0] + at);
      }
      writing -= 1;
    }

    async function follow(): Promise<void> {
      const store = nodes[0] as ServerStore;
      for (let after = 0; ;) {
        const last = writing === 0;
        const page = await store.read(tenant, (reads) => reads.events(tenant, "*", after, 50));
        for (const { position, header } of page) {
          expect(position).toBe(after + 1);
          after = position;
          read.push(header);
        }
        if (last && page.length === 0) return;
      }
    }

    await Promise.all([follow(), ...Array.from({ length: writers }, (_, at) => write(at))]);
    const head = await names.reads.head(shard);
    expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from(seen, (_, at) => at + 1));
    expect(head.events).toBe(seen.length);
    expect(read.length).toBe(seen.length);
    const texts = await names.reads.serverLeaves(shard, 0, head.leaves);
    expect(texts.length).toBe(head.leaves);
  });
});

class Stopped extends Error {}

describe("a node that watches a tenant", () => {
  it.each([
    ["is told of events of another node", { hears: true, pollMs: 600_000 }],
    ["finds them by itself when nothing is told", { hears: false, pollMs: 20 }],
  ] as const)("%s", async (_, how) => {
    const [here, there] = [node(how), node({ ...how, pollMs: 600_000 })];
    const names = await found(there, how.hears ? 11 : 12);
    const other = await found(there, how.hears ? 13 : 14);
    const heads: number[] = [];
    const end = here.watch?.(names.tenant, (head) => {
      heads.push(head);
    });
    while ((await listeners()) < (how.hears ? 1 : 0)) await wait(10);
    const chance = createChance(9);
    const place = ({ tenant, write, ...log }: Founded, from: number) =>
      write((tx) => tx.placeEvents(tenant, eventsFor({ chance }, log, 1, from)));
    await place(other, 0);
    // The first look tells nothing, whenever it is; what comes after it is told.
    let placed = 0;
    while (heads.length === 0) {
      await place(names, placed++);
      await wait(30);
    }
    while (heads.at(-1) !== placed) await wait(10);
    expect(heads.toSorted((a, b) => a - b)).toEqual(heads);
    end?.();
  });
});

/** Connections that listen. */
async function listeners(): Promise<number> {
  const rows = await database.owner.lend((connection) =>
    connection.rows<{ found: number }>(
      `SELECT count(*) AS found FROM pg_stat_activity
       WHERE datname = current_database() AND query LIKE 'LISTEN%' AND state = 'idle'`,
    ),
  );
  return rows[0]?.found ?? 0;
}
