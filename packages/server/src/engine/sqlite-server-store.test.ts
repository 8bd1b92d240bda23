import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isHoldfastError, type SqliteDriver } from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite, openSqlite } from "@holdfast/node";
import { type ServerStoreUnderTest, serverStoreSuite } from "@holdfast/testkit";
import { describe, expect, it, test } from "vitest";
import { createSqliteServerStore } from "./sqlite-server-store.ts";

const crypto = createNodeCrypto();
const pageKey = new Uint8Array(32).fill(3);
const runner = {
  describe,
  it,
  check: (fact: boolean, text: string): void => {
    if (!fact) expect.fail(text);
  },
};

interface Medium {
  readonly open: (path: string, readOnly: boolean) => SqliteDriver;
  readonly onFile: boolean;
  /** With a second connection for reading. */
  readonly reader: boolean;
}

function storeOn({ open, onFile, reader }: Medium): ServerStoreUnderTest {
  const folder = onFile ? mkdtempSync(join(tmpdir(), "holdfast-server-")) : undefined;
  const path = folder === undefined ? ":memory:" : join(folder, "server.db");
  const openStore = () => {
    const driver = open(path, false);
    const store = createSqliteServerStore({ crypto, driver });
    if (!reader) return { driver, store };
    // The file and its tables must be there before a connection that cannot make them.
    void store.close();
    const again = open(path, false);
    const deps = { crypto, driver: again, reader: open(path, true) };
    return { driver: again, store: createSqliteServerStore(deps) };
  };
  const { driver, store } = openStore();
  return {
    store,
    reopen: onFile ? () => openStore().store : undefined,
    tamper(table, act) {
      const column = { leaves: "first", receipts: "note", events: "header" }[table] ?? "rowid";
      driver.exec(
        act === "update" ? `UPDATE ${table} SET ${column} = ${column}` : `DELETE FROM ${table}`,
      );
    },
    async close() {
      await store.close();
      if (folder !== undefined) rmSync(folder, { recursive: true });
    },
  };
}

const plain = (path: string, readOnly: boolean): SqliteDriver =>
  openPlainSqlite({ path, readOnly });
const encrypted = (path: string, readOnly: boolean): SqliteDriver =>
  openSqlite({ path, pageKey, readOnly, create: !readOnly });

serverStoreSuite(runner, {
  name: "node:sqlite in memory",
  crypto,
  make: () => storeOn({ open: plain, onFile: false, reader: false }),
});
serverStoreSuite(runner, {
  name: "encrypted file",
  crypto,
  make: () => storeOn({ open: encrypted, onFile: true, reader: false }),
});
serverStoreSuite(runner, {
  name: "encrypted file with a reader",
  crypto,
  make: () => storeOn({ open: encrypted, onFile: true, reader: true }),
});

describe("a sealed shard", () => {
  test("keeps its row as it was", async () => {
    const driver = plain(":memory:", false);
    const store = createSqliteServerStore({ crypto, driver });
    await store.write("t", async (tx) => {
      await tx.addTenant({ tenant: "t", shard: "a", founder: "d", node: "n" });
      await tx.succeedLog("t", { shard: "b", log: 1 });
    });
    const change = (shard: string): number =>
      driver.prepare("UPDATE shards SET events = 0 WHERE shard = ?").run(shard);
    expect(change("b")).toBe(1);
    expect(() => change("a")).toThrow(/store_constraint|sealed/);
    await store.close();
  });
});

describe("opening", () => {
  test("refuses a database of something else, and one of a newer format", () => {
    const foreign = plain(":memory:", false);
    foreign.exec("CREATE TABLE t (x)");
    const codes: unknown[] = [];
    const tried = (driver: SqliteDriver): void => {
      try {
        createSqliteServerStore({ crypto, driver });
      } catch (error) {
        codes.push(isHoldfastError(error) ? error.code : error);
      }
    };
    tried(foreign);
    const newer = plain(":memory:", false);
    createSqliteServerStore({ crypto, driver: newer });
    newer.exec("PRAGMA user_version = 4");
    tried(newer);
    expect(codes).toEqual(["store_foreign", "store_newer"]);
    foreign.close();
    newer.close();
  });
});
