import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPlainSqlite, openSqlite } from "@holdfast/node";
import { afterAll, describe, expect, it } from "vitest";
import { checkSqliteVersion, configure, durableBarrier } from "./pragmas.ts";
import type { SqliteDriver } from "./sqlite-driver.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-pragmas-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const inMemory = (): SqliteDriver =>
  openSqlite({ path: ":memory:", pageKey: undefined, readOnly: false, create: true });

/** A driver on which one setting never takes, as with SQLite built without it. */
function deafTo(driver: SqliteDriver, pragma: string): SqliteDriver {
  return {
    ...driver,
    get inTransaction() {
      return driver.inTransaction;
    },
    exec(sql) {
      if (!sql.startsWith(`PRAGMA ${pragma} =`)) driver.exec(sql);
    },
  };
}

const value = (driver: SqliteDriver, pragma: string): unknown =>
  Object.values(driver.prepare(`PRAGMA ${pragma}`).get<Record<string, unknown>>() ?? {})[0];

describe("settings of a connection", () => {
  it.each([
    [
      "better-sqlite3-multiple-ciphers",
      (path: string) =>
        openSqlite({ path, pageKey: new Uint8Array(32), readOnly: false, create: true }),
    ],
    ["node:sqlite", (path: string) => openPlainSqlite({ path, readOnly: false })],
  ])("are in force on a file of %s", (name, open) => {
    const driver = open(join(folder, name.replace(":", "-")));
    configure(driver);
    expect(value(driver, "journal_mode")).toBe("wal");
    const wanted = { synchronous: 2, foreign_keys: 1, temp_store: 2, trusted_schema: 0 };
    for (const [pragma, set] of Object.entries(wanted)) expect(value(driver, pragma)).toBe(set);
    for (const pragma of ["cell_size_check", "recursive_triggers", "secure_delete"]) {
      expect(value(driver, pragma)).toBe(1);
    }
    driver.close();
  });

  // The database starts with defaults of the build, so only those that differ can fail to take.
  it.each(["temp_store", "cell_size_check", "recursive_triggers", "trusted_schema"])(
    "refuse a connection on which %s does not take",
    (pragma) => {
      const driver = inMemory();
      expect(() => {
        configure(deafTo(driver, pragma));
      }).toThrow(new RegExp(`^pragma_refused.*pragma=${pragma}`));
      driver.close();
    },
  );

  it("refuse a file that does not take WAL", () => {
    const driver = inMemory();
    const pretending = deafTo(driver, "none");
    const persistent = {
      ...pretending,
      capabilities: { ...driver.capabilities, persistent: true },
    };
    // A database in memory answers "memory" when asked for WAL.
    expect(() => {
      configure(persistent);
    }).toThrow(/^pragma_refused.*journal_mode/);
    driver.close();
  });

  it("refuse versions of SQLite that corrupt or were withdrawn", () => {
    for (const version of ["3.51.2", "3.8.0", "2.9.9", "3.52.0", "0", ""]) {
      expect(() => {
        checkSqliteVersion(version);
      }).toThrow(/^sqlite_unsafe/);
    }
    for (const version of ["3.51.3", "3.52.1", "3.53.4", "4.0.0"]) {
      expect(() => {
        checkSqliteVersion(version);
      }).not.toThrow();
    }
  });

  it("leave nothing in the write-ahead log behind a durable barrier", () => {
    const path = join(folder, "barrier");
    const driver = openPlainSqlite({ path, readOnly: false });
    configure(driver);
    driver.exec("CREATE TABLE t (x) STRICT".replace("x", "x INTEGER"));
    durableBarrier(driver);
    const row = driver.prepare("PRAGMA wal_checkpoint(PASSIVE)").get<{ log: number }>();
    expect(row?.log).toBe(0);
    driver.close();
  });
});
