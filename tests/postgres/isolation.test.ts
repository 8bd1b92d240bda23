import { createNodeCrypto } from "@holdfast/node";
import { isHoldfastError } from "@holdfast/core";
import {
  createPostgresReplayMemory,
  type PostgresConnection,
  type ServerStore,
} from "@holdfast/server";
import { addTenant, createChance, emptyLog, eventsFor, type Founded } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./cluster.ts";

const crypto = createNodeCrypto();
let database: TestDatabase;
let store: ServerStore;
let own: Founded;
let foreign: Founded;

/** A tenant with a row in every table. */
async function fill(seed: number): Promise<Founded> {
  const here = {
    made: undefined,
    store,
    crypto,
    chance: createChance(seed),
    check: () => undefined,
  };
  const names = await addTenant(here);
  const { tenant, device, incarnation, shard } = names;
  const leaves = Array.from({ length: 256 }, () => here.chance.bytes(32));
  await names.write(async (tx) => {
    const head = here.chance.bytes(32);
    await tx.placeEvents(tenant, eventsFor(here, names, 2));
    const range = { size: 256, hashes: [head] };
    await tx.extendDeviceLog(tenant, { ...emptyLog(names), size: 256, range }, 0, leaves);
    await tx.addServerLeaves(
      shard,
      Array.from({ length: 256 }, (_, at) => `leaf ${at}`),
    );
    await tx.addReceipt(tenant, device, incarnation, "d", 0);
    await tx.addCheckpoint(shard, { size: 256, root: head, note: "n", at: 1 });
    await tx.setAccess(tenant, device, ["*"]);
    const change = { device, kind: "granted", scopes: ["*"], by: "", index: 0 } as const;
    await tx.addAccessChange(tenant, { ...change, position: 0 });
    await tx.addGrants(tenant, [{ recipient: "r", key: "k", generation: 1, grant: "g" }]);
    const kept = { tenant, device, incarnation, code: "c", note: "n", from: 0, at: 1 };
    await tx.addQuarantine({ ...kept, bytes: head });
    await tx.addShreds(tenant, [{ scope: "s", section: "", shred: "x" }]);
    await tx.succeedLog(tenant, { shard: `${shard}-2`, log: 1 });
    const code = { digest: `digest-${seed}`, tenant, role: "device", expires: 1 } as const;
    await tx.addCode({ ...code, usedAt: undefined });
  });
  const used = { tenant, name: "d/i/jti", until: Number.MAX_SAFE_INTEGER, now: 1 };
  await createPostgresReplayMemory(database.server).use(used, () => undefined);
  return names;
}

beforeAll(async () => {
  database = await createDatabase();
  store = database.open();
  own = await fill(1);
  foreign = await fill(2);
});

afterAll(async () => {
  await store.close();
  await database.close();
});

interface Table {
  readonly name: string;
  readonly tenanted: boolean;
}

async function tables(): Promise<readonly Table[]> {
  return database.owner.lend((connection) =>
    connection.rows<Table>(
      `SELECT relname::text AS name, EXISTS (SELECT 1 FROM pg_attribute
         WHERE attrelid = pg_class.oid AND attname = 'tenant') AS tenanted
       FROM pg_class JOIN pg_namespace AS place ON place.oid = relnamespace
       WHERE nspname = 'holdfast' AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY 1`,
    ),
  );
}

/** Work as the server's role, in a transaction of that tenant, which is undone. */
function within<T>(
  tenant: string | undefined,
  work: (connection: PostgresConnection) => Promise<T>,
): Promise<T> {
  return database.server.lend(async (connection) => {
    await connection.exec(
      `BEGIN; ${tenant === undefined ? "" : `SET LOCAL holdfast.tenant = '${tenant}'`}`,
    );
    try {
      return await work(connection);
    } finally {
      await connection.exec("ROLLBACK");
    }
  });
}

async function countIn(tenant: string | undefined, from: string): Promise<number> {
  const rows = await within(tenant, (connection) =>
    connection.rows<{ found: number }>(`SELECT count(*) AS found FROM holdfast.${from}`),
  );
  return rows[0]?.found ?? -1;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "nothing";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

describe("rows of a tenant", () => {
  it("are there for its own transactions and no other, in every table", async () => {
    const tenanted = (await tables()).filter((table) => table.tenanted);
    expect(tenanted.length).toBe(22);
    for (const { name } of tenanted) {
      const all = await database.owner.lend((connection) =>
        connection.rows<{ found: number }>(
          `SELECT count(*) AS found FROM holdfast.${name} WHERE tenant = '${own.tenant}'`,
        ),
      );
      expect(all[0]?.found, name).toBeGreaterThan(0);
      expect(await countIn(own.tenant, name), name).toBe(all[0]?.found);
      expect(await countIn(own.tenant, `${name} WHERE tenant = '${foreign.tenant}'`), name).toBe(0);
      expect(await countIn(undefined, name), name).toBe(0);
      expect(await countIn("", name), name).toBe(0);
    }
  });

  it("cannot be added, moved or taken away from outside", async () => {
    const { tenant } = foreign;
    const added = within(own.tenant, (connection) =>
      connection.exec(`INSERT INTO holdfast.access VALUES ('${tenant}', 'd', '*')`),
    );
    expect(await codeOf(added)).toBe("store_constraint");
    for (const sql of [
      `UPDATE holdfast.shards SET events = 0 WHERE tenant = '${tenant}'`,
      `DELETE FROM holdfast.access WHERE tenant = '${tenant}'`,
      `UPDATE holdfast.codes SET used_at = 1 WHERE tenant = '${tenant}'`,
    ]) {
      expect(await within(own.tenant, (connection) => connection.run(sql)), sql).toBe(0);
    }
    const moved = within(own.tenant, (connection) =>
      connection.exec(`UPDATE holdfast.devices SET tenant = '${tenant}'`),
    );
    expect(await codeOf(moved)).toBe("store_constraint");
  });

  it("are not reached through the port either", async () => {
    const { tenant, device, incarnation, shard } = foreign;
    await store.read(own.tenant, async (reads) => {
      expect(await reads.tenant(tenant)).toBeUndefined();
      expect(await reads.devices(tenant)).toEqual([]);
      expect(await reads.deviceLog(tenant, device, incarnation)).toBeUndefined();
      expect(await reads.events(tenant, "*", 0, 9)).toEqual([]);
      expect(await reads.serverLeaves(shard, 0, 9)).toEqual([]);
      expect(await reads.access(tenant, device)).toEqual([]);
      expect(await reads.quarantine(tenant, 9)).toEqual([]);
      await expect(reads.head(shard)).rejects.toThrow(/shard/);
    });
    const odd = `x'; SET ROLE postgres; --`;
    expect(await codeOf(store.read(odd, (reads) => reads.devices(tenant)))).toBe(
      "request_malformed",
    );
  });

  it("end with the transaction: the next one on the connection belongs to nobody", async () => {
    for (let at = 0; at < 8; at++)
      await store.read(own.tenant, (reads) => reads.devices(own.tenant));
    expect(await countIn(undefined, "devices")).toBe(0);
  });

  it("of shards are there for the operator, who says so, and do not change for that", async () => {
    const seen = await store.read(undefined, (reads) => reads.shards());
    const mine = seen.filter(({ tenant }) => tenant === own.tenant);
    expect(mine.map(({ sealed }) => sealed)).toEqual([true, false]);
    expect(new Set(seen.map(({ tenant }) => tenant))).toEqual(
      new Set([own.tenant, foreign.tenant]),
    );
    await store.read(own.tenant, async (reads) => {
      await reads.shards();
      // Whatever was asked before: the rest of the transaction is of its tenant.
      expect(await reads.successions(foreign.tenant)).toEqual([]);
    });
    const changed = await within(own.tenant, async (connection) => {
      await connection.exec("SET LOCAL holdfast.operator = 'shards'");
      return connection.run(
        `UPDATE holdfast.shards SET events = 0 WHERE tenant = '${foreign.tenant}'`,
      );
    });
    expect(changed).toBe(0);
  });

  it("of codes are there for who holds the code", async () => {
    const seen = await within(undefined, async (connection) => {
      await connection.exec("SET LOCAL holdfast.code = 'digest-2'");
      return connection.rows<{ digest: string }>("SELECT digest FROM holdfast.codes");
    });
    expect(seen).toEqual([{ digest: "digest-2" }]);
    const founding = `INSERT INTO holdfast.codes VALUES ('f', NULL, 'admin', 1, NULL)`;
    const within2 = (tenant: string) => within(tenant, (connection) => connection.exec(founding));
    expect(await codeOf(within2(own.tenant))).toBe("store_constraint");
    expect(await codeOf(within2(""))).toBe("nothing");
  });
});

describe("the server's role", () => {
  it("changes nothing that must stay, and reaches no partition past its table", async () => {
    const may = await database.owner.lend((connection) =>
      connection.rows<{ name: string; acts: string }>(
        `SELECT table_name::text AS name,
           string_agg(privilege_type::text, ' ' ORDER BY privilege_type::text) AS acts
         FROM information_schema.role_table_grants
         WHERE grantee = 'holdfast_app' AND table_schema = 'holdfast' GROUP BY 1 ORDER BY 1`,
      ),
    );
    const changing = ["INSERT SELECT UPDATE", "DELETE INSERT SELECT"];
    expect(may.filter(({ acts }) => changing.includes(acts)).map(({ name }) => name)).toEqual([
      "access",
      "codes",
      "devices",
      "events",
      "grants",
      "logs",
      "shards",
      "shreds",
      "used_assertions",
    ]);
    const rest = may.filter(({ acts }) => !changing.includes(acts));
    expect(new Set(rest.map(({ acts }) => acts))).toEqual(
      new Set(["INSERT SELECT", "SELECT", "INSERT"]),
    );
    // Not even that a name is there is read.
    const blind = rest.filter(({ acts }) => acts === "INSERT").map(({ name }) => name);
    expect(blind).toEqual(["shard_names"]);
    expect(may.some(({ name }) => /_\d$/.test(name))).toBe(false);
    // Frames are put in place of others by who says that it shreds, of its own tenant.
    const changes = (operator: string, tenant: string): Promise<number> =>
      within(own.tenant, async (connection) => {
        await connection.exec(`SET LOCAL holdfast.operator = '${operator}'`);
        const sql = "UPDATE holdfast.events SET frames = '' WHERE tenant = $1";
        return connection.run(sql, tenant);
      });
    expect(await changes("", own.tenant)).toBe(0);
    expect(await changes("shards", own.tenant)).toBe(0);
    expect(await changes("shred", foreign.tenant)).toBe(0);
    expect(await changes("shred", own.tenant)).toBe(2);
    const partition = within(own.tenant, (connection) =>
      connection.rows("SELECT 1 FROM holdfast.events_0"),
    );
    expect(await codeOf(partition)).toBe("store_constraint");
  });
});

describe("the catalogue", () => {
  const rows = <Row>(sql: string): Promise<readonly Row[]> =>
    database.owner.lend((connection) => connection.rows<Row>(sql));

  it("has the tenant in every unique key, no triggers, no sequences, and security forced", async () => {
    const keys = await rows<{ name: string; key: string }>(
      `SELECT owner.relname::text AS name, pg_get_indexdef(indexrelid) AS key
       FROM pg_index JOIN pg_class AS owner ON owner.oid = indrelid
       JOIN pg_namespace AS place ON place.oid = owner.relnamespace
       WHERE nspname = 'holdfast' AND indisunique`,
    );
    const without = keys.filter(({ key }) => !/\(tenant[,)]/.test(key)).map(({ name }) => name);
    // `codes` by the digest of a secret; the others are of the whole server.
    expect(without.toSorted()).toEqual([
      "codes",
      "migration_lock",
      "migrations",
      "server_identity",
      "shard_names",
    ]);
    const odd = await rows(
      `SELECT tgname AS name FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
         JOIN pg_namespace AS place ON place.oid = relnamespace WHERE nspname = 'holdfast'
       UNION ALL SELECT relname FROM pg_class JOIN pg_namespace AS place ON place.oid = relnamespace
         WHERE nspname = 'holdfast' AND relkind = 'S'`,
    );
    expect(odd).toEqual([]);
    const open = await rows<{ name: string }>(
      `SELECT relname::text AS name FROM pg_class JOIN pg_namespace AS place
         ON place.oid = relnamespace
       WHERE nspname = 'holdfast' AND relkind IN ('r', 'p') AND NOT relispartition
         AND NOT (relrowsecurity AND relforcerowsecurity) ORDER BY 1`,
    );
    expect(open.map(({ name }) => name)).toEqual([
      "migration_lock",
      "migrations",
      "server_identity",
      "shard_names",
    ]);
  });
});
