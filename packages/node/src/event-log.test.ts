import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type AppendParticipant,
  configure,
  createSchema,
  createSqliteEventLog,
  type EventLog,
  inTransaction,
  type SqliteDriver,
} from "@holdfast/core";
import { type EventLogUnderTest, eventLogSuite } from "@holdfast/testkit";
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

/** The log as a store uses it: each event waits in the outbox from its own transaction on. */
function logOver(driver: SqliteDriver): EventLog {
  const log = createSqliteEventLog({ crypto, driver });
  const waiting: AppendParticipant = {
    name: "waiting",
    apply(appended) {
      const insert = driver.prepare(
        "INSERT INTO outbox (position, lane, state, enqueued_at) VALUES (?, 'normal', 'waiting', 0)",
      );
      for (const { position } of appended) insert.run(position);
    },
  };
  return {
    ...log,
    append: (batch) => inTransaction(driver, () => log.appendWithin(batch, [waiting])),
  };
}

function logUnderTest(open: (path: string) => SqliteDriver, onFile: boolean): EventLogUnderTest {
  const folder = onFile ? mkdtempSync(join(tmpdir(), "holdfast-log-")) : undefined;
  const path = folder === undefined ? ":memory:" : join(folder, "log.db");
  const driver = open(path);
  const opened = [driver];
  configure(driver);
  inTransaction(driver, () => {
    createSchema(driver);
  });
  return {
    log: logOver(driver),
    acknowledge: (position) => {
      driver.prepare("DELETE FROM outbox WHERE position = ?").run(position);
    },
    reopen: onFile
      ? () => {
          const again = open(path);
          opened.push(again);
          configure(again);
          return logOver(again);
        }
      : undefined,
    close() {
      for (const one of opened) one.close();
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

eventLogSuite(runner, {
  name: "better-sqlite3-multiple-ciphers in memory",
  crypto,
  make: () => logUnderTest(encrypted, false),
});
eventLogSuite(runner, {
  name: "better-sqlite3-multiple-ciphers on an encrypted file",
  crypto,
  make: () => logUnderTest(encrypted, true),
  runs: 5,
});
eventLogSuite(runner, {
  name: "node:sqlite in memory",
  crypto,
  make: () => logUnderTest(plain, false),
});
eventLogSuite(runner, {
  name: "node:sqlite on a file",
  crypto,
  make: () => logUnderTest(plain, true),
  runs: 5,
});
