import { HoldfastError } from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import { serverStoreSuite } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, type TestDatabase } from "./cluster.ts";

const runner = {
  describe,
  it,
  check: (fact: boolean, text: string): void => {
    if (!fact) expect.fail(text);
  },
};

describe.each(["partitioned", "plain"] as const)("tables that are %s", (layout) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createDatabase(layout);
  });
  afterAll(() => database.close());

  serverStoreSuite(runner, {
    name: `PostgreSQL, ${layout}`,
    crypto: createNodeCrypto(),
    async make() {
      await database.empty();
      const store = database.open();
      return {
        store,
        reopen: () => database.open(),
        tamper: async (table, act, tenant) => {
          const column =
            { leaves: "first", receipts: "note", checkpoints: "size", successions: "number" }[
              table
            ] ?? "leaf_index";
          const sql =
            act === "update"
              ? `UPDATE holdfast.${table} SET ${column} = ${column}`
              : `DELETE FROM holdfast.${table}`;
          await database.server.lend(async (connection) => {
            await connection.exec(`BEGIN; SET LOCAL holdfast.tenant = '${tenant}'`);
            try {
              // What row-level security keeps from being changed is passed over in silence.
              const changed = await connection.run(sql);
              if (changed === 0) throw new HoldfastError("store_constraint", { changed });
            } finally {
              await connection.exec("ROLLBACK");
            }
          });
        },
        close: () => store.close(),
      };
    },
  });
});
