import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { isHoldfastError } from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import {
  checkStandby,
  createPostgresServerStore,
  migratePostgres,
  type PostgresDriver,
  type ServerStore,
  showStandbys,
} from "@holdfast/server";
import { addTenant, createChance, eventsFor, type Founded } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { plainDriver, serverDriver } from "./cluster.ts";
import { createInstance, createStandby, type Instance } from "./instance.ts";

const crypto = createNodeCrypto();
const chance = createChance(1);
const folder = mkdtempSync(join(tmpdir(), "holdfast-replication-"));
let primary: Instance;
let standby: Instance;
let url: string;
/** What is set up before there is a standby must not wait for one. */
const unwaiting = "&options=-c%20synchronous_commit%3Dlocal";
const drivers: PostgresDriver[] = [];

function opened(driver: PostgresDriver): PostgresDriver {
  drivers.push(driver);
  return driver;
}

let owner: PostgresDriver;

beforeAll(async () => {
  // PostgreSQL runs as somebody else, where tests run as root.
  chmodSync(folder, 0o755);
  primary = createInstance(join(folder, "primary"), { synchronous_standby_names: "standby" });
  standby = createStandby(primary.sockets, join(folder, "standby"));
  await primary.start();
  url = primary.url("app");
  const main = plainDriver(`${primary.url("postgres")}${unwaiting}`);
  await main.lend((connection) => connection.exec("CREATE DATABASE app"));
  await main.close();
  owner = opened(plainDriver(`${url}${unwaiting}`));
  await migratePostgres({ crypto, owner, layout: "plain" });
  await showStandbys(owner);
});
afterAll(async () => {
  for (const driver of drivers.splice(0)) await driver.close();
  for (const instance of [standby, primary]) await instance.kill();
  rmSync(folder, { recursive: true });
});

const found = (store: ServerStore): Promise<Founded> => addTenant({ store, chance });

async function failureOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "nothing";
  } catch (error) {
    return isHoldfastError(error)
      ? `${error.code} ${String(error.details["part"])}`
      : String(error);
  }
}

async function until(driver: PostgresDriver, sql: string): Promise<void> {
  for (;;) {
    const rows = await driver.lend((connection) => connection.rows<{ yes: boolean }>(sql));
    if (rows[0]?.yes === true) return;
    await wait(20);
  }
}

const standbys = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";

describe("with a promise of replication", () => {
  it("nothing is acknowledged without a synchronous standby, and everything is on it with one", async () => {
    const strict = createPostgresServerStore({
      crypto,
      driver: opened(serverDriver(url)),
      guard: checkStandby,
    });
    expect(await failureOf(strict.check())).toBe("durability_unmet standby");
    expect(await failureOf(found(strict))).toBe("durability_unmet standby");
    const rows = await owner.lend((connection) =>
      connection.rows("SELECT tenant FROM holdfast.tenants"),
    );
    expect(rows).toEqual([]);

    await standby.start();
    await until(owner, `SELECT (${standbys} AND replay_lsn >= pg_current_wal_lsn()) > 0 AS yes`);
    await strict.check();
    const names = await found(strict);

    // A copy answers what it holds; what it has not got to yet comes from the primary.
    const lent: string[] = [];
    const counted = (name: string, driver: PostgresDriver): PostgresDriver => ({
      ...driver,
      lend(work) {
        lent.push(name);
        return driver.lend(work);
      },
    });
    const copy = opened(serverDriver(standby.url("app")));
    const both = createPostgresServerStore({
      crypto,
      driver: counted("primary", opened(serverDriver(url))),
      replica: counted("copy", copy),
    });
    let shard = names.shard;
    const eventsSeen = async (events: number, leaves = 0): Promise<readonly [number, string]> => {
      lent.length = 0;
      const seen = { shard, log: 1, events, leaves };
      const head = await both.read(names.tenant, (reads) => reads.head(shard), seen);
      return [head.events, lent.join(" ")];
    };
    const place = (from: number) =>
      strict.write(names.tenant, (tx) =>
        tx.placeEvents(names.tenant, eventsFor({ chance }, names, 1, from)),
      );
    await place(0);
    const held = opened(plainDriver(standby.url("app")));
    await until(held, "SELECT coalesce(max(events), 0) = 1 AS yes FROM holdfast.shards");
    expect(await eventsSeen(1)).toEqual([1, "copy"]);
    await held.lend((connection) => connection.rows("SELECT pg_wal_replay_pause()"));
    await until(held, "SELECT pg_get_wal_replay_pause_state() = 'paused' AS yes");
    await place(1);
    expect(await eventsSeen(1)).toEqual([1, "copy"]);
    expect(await eventsSeen(2)).toEqual([2, "copy primary"]);
    expect(await eventsSeen(1, 1)).toEqual([2, "copy primary"]);
    // A copy that has not heard of a move must not answer who has: in its log there is no way to the newer one.
    shard = `${names.shard}-2`;
    await strict.write(names.tenant, (tx) => tx.succeedLog(names.tenant, { shard, log: 1 }));
    expect(await eventsSeen(1)).toEqual([2, "copy primary"]);
    await held.lend((connection) => connection.rows("SELECT pg_wal_replay_resume()"));
    await until(held, `SELECT max(shard) = '${shard}' AS yes FROM holdfast.shards`);
    expect(await eventsSeen(2)).toEqual([2, "copy"]);

    await standby.kill();
    await until(owner, `SELECT (${standbys}) = 0 AS yes`);
    expect(await failureOf(strict.check())).toBe("durability_unmet standby");
    expect(await failureOf(place(2))).toBe("durability_unmet standby");
    expect(await eventsSeen(2)).toEqual([2, "copy primary"]);
  });
});
