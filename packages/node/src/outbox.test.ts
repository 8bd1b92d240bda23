import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configure, type SqliteDriver } from "@holdfast/core";
import { type OutboxMedium, outboxSuite } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import { createNodeCrypto } from "./crypto.ts";
import { openPlainSqlite } from "./node-sqlite-driver.ts";
import { openSqlite } from "./sqlite-driver.ts";

const crypto = createNodeCrypto();
const pageKey = new Uint8Array(32).fill(9);
const runner = {
  describe,
  it,
  check: (fact: boolean, text: string): void => {
    if (!fact) expect.fail(text);
  },
};

function mediumOf(open: (path: string) => SqliteDriver, onFile: boolean): OutboxMedium {
  const folder = onFile ? mkdtempSync(join(tmpdir(), "holdfast-outbox-")) : undefined;
  const path = folder === undefined ? ":memory:" : join(folder, "outbox.db");
  const opened: SqliteDriver[] = [];
  const connect = (): SqliteDriver => {
    const driver = open(path);
    configure(driver);
    opened.push(driver);
    return driver;
  };
  return {
    driver: connect(),
    connect: onFile ? connect : undefined,
    close() {
      for (const driver of opened) driver.close();
      if (folder !== undefined) rmSync(folder, { recursive: true });
    },
  };
}

const encrypted = (path: string): SqliteDriver =>
  openSqlite({
    path,
    pageKey: path === ":memory:" ? undefined : pageKey,
    readOnly: false,
    create: true,
  });
const plain = (path: string): SqliteDriver => openPlainSqlite({ path, readOnly: false });

outboxSuite(runner, {
  name: "better-sqlite3-multiple-ciphers in memory",
  crypto,
  make: () => mediumOf(encrypted, false),
});
outboxSuite(runner, {
  name: "better-sqlite3-multiple-ciphers on an encrypted file",
  crypto,
  make: () => mediumOf(encrypted, true),
  runs: 3,
});
outboxSuite(runner, {
  name: "node:sqlite in memory",
  crypto,
  make: () => mediumOf(plain, false),
});
outboxSuite(runner, {
  name: "node:sqlite on a file",
  crypto,
  make: () => mediumOf(plain, true),
  runs: 3,
});
