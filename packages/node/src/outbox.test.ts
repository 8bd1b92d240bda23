import { outboxSuite } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { createNodeCrypto } from "./crypto.ts";
import { openPlainSqlite } from "./node-sqlite-driver.ts";
import { openSqlite } from "./sqlite-driver.ts";

const crypto = createNodeCrypto();
const runner = {
  describe,
  it,
  check: (fact: boolean, text: string): void => {
    if (!fact) expect.fail(text);
  },
};

outboxSuite(runner, {
  name: "better-sqlite3-multiple-ciphers",
  crypto,
  make() {
    const driver = openSqlite({
      path: ":memory:",
      pageKey: undefined,
      readOnly: false,
      create: true,
    });
    return {
      driver,
      close: () => {
        driver.close();
      },
    };
  },
});

outboxSuite(runner, {
  name: "node:sqlite",
  crypto,
  make() {
    const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
    return {
      driver,
      close: () => {
        driver.close();
      },
    };
  },
});
