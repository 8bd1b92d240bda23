import { isHoldfastError } from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import { type Migration, migratePostgres, migrations, type PostgresDriver } from "@holdfast/server";
import { afterEach, describe, expect, it } from "vitest";
import { createEmpty, plainDriver, serverDriver } from "./cluster.ts";

const crypto = createNodeCrypto();
const open: PostgresDriver[] = [];

function opened(driver: PostgresDriver): PostgresDriver {
  open.push(driver);
  return driver;
}

afterEach(async () => {
  for (const driver of open.splice(0)) await driver.close();
});

const all = migrations.map(({ id }) => id);
const second: Migration = {
  id: all.length + 1,
  description: "one more table",
  sql: () => "CREATE TABLE holdfast.later (tenant text NOT NULL, PRIMARY KEY (tenant))",
};
const two = [...migrations, second];

async function migrated(
  owner: PostgresDriver,
  steps: readonly Migration[] = migrations,
): Promise<readonly number[] | string> {
  try {
    return await migratePostgres({ crypto, owner, layout: "plain", steps });
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

function exec(owner: PostgresDriver, sql: string): Promise<unknown> {
  return owner.lend((connection) => connection.exec(sql));
}

describe("migrations", () => {
  it("apply what is missing, once, whoever comes first", async () => {
    const url = await createEmpty();
    const owners = Array.from({ length: 4 }, () => opened(plainDriver(url)));
    const applied = await Promise.all(owners.map((owner) => migrated(owner)));
    expect(applied.map(String).toSorted()).toEqual(["", "", "", String(all)]);
    const owner = owners[0] as PostgresDriver;
    expect(await migrated(owner, two)).toEqual([second.id]);
    expect(await migrated(owner, two)).toEqual([]);
  });

  it("refuse what a newer release wrote, what is of something else, and what was altered", async () => {
    const owner = opened(plainDriver(await createEmpty()));
    await migrated(owner, two);
    expect(await migrated(owner)).toBe("store_newer");
    await exec(owner, "UPDATE holdfast.migrations SET checksum = 'other' WHERE id = 1");
    expect(await migrated(owner, two)).toBe("store_drifted");
    const foreign = opened(plainDriver(await createEmpty()));
    await exec(foreign, "CREATE SCHEMA holdfast; CREATE TABLE holdfast.t (x text)");
    expect(await migrated(foreign)).toBe("store_foreign");
  });

  it("leave nothing of a step that fails", async () => {
    const owner = opened(plainDriver(await createEmpty()));
    const broken = { ...second, sql: () => `${second.sql("plain")}; SELECT nothing FROM nowhere` };
    expect(await migrated(owner, [...migrations, broken])).toBe("store_drifted");
    const found = await owner.lend((connection) =>
      connection.rows("SELECT 1 FROM pg_class WHERE relname IN ('later', 'events')"),
    );
    expect(found).toEqual([]);
    expect(await migrated(owner, two)).toEqual([...all, second.id]);
  });

  it("are the owner's: the server's role says that they are missing", async () => {
    const url = await createEmpty();
    const owner = opened(plainDriver(url));
    await migrated(owner);
    const role = opened(serverDriver(url));
    expect(await migrated(role)).toEqual([]);
    expect(await migrated(role, two)).toBe("store_older");
  });
});
