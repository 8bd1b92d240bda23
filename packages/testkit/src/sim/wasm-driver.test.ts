import {
  type AppendParticipant,
  configure,
  createSchema,
  createSqliteEventLog,
  durableBarrier,
  type EventLog,
  inTransaction,
  isHoldfastError,
  type SqliteDriver,
} from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { createChance } from "../chance.ts";
import { eventLogSuite } from "../event-log.suite.ts";
import { createDisk, type DiskError, type SimDisk } from "./disk.ts";
import { loadSqlite } from "./sqlite-module.ts";
import { openSimSqlite } from "./wasm-driver.ts";

const crypto = createNodeCrypto();
const sqlite = await loadSqlite();
const runner = {
  describe,
  it,
  check: (fact: boolean, text: string): void => {
    if (!fact) expect.fail(text);
  },
};

function openOn(disk: SimDisk, user = { alive: true }, create = true): SqliteDriver {
  return openSimSqlite({ sqlite, disk, user, name: "store.db", readOnly: false, create });
}

function lookAt(disk: SimDisk): SqliteDriver {
  const user = { alive: true };
  return openSimSqlite({ sqlite, disk, user, name: "store.db", readOnly: true, create: false });
}

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

eventLogSuite(runner, {
  name: "SQLite in WebAssembly on a simulated disk",
  crypto,
  runs: 5,
  make: () => {
    const disk = createDisk();
    const driver = openOn(disk);
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
      // The connection that writes stays: it is the only one that may.
      reopen: () => {
        const look = lookAt(disk);
        opened.push(look);
        configure(look);
        return logOver(look);
      },
      close() {
        for (const one of opened) one.close();
      },
    };
  },
});

/** Commits numbered rows until the power goes in the middle of something; answers what was acknowledged. */
function untilPowerLoss(seed: number, synchronous: string): { acked: number; found: number } {
  const chance = createChance(seed);
  const disk = createDisk();
  const user = { alive: true };
  sqlite.reseed(chance);
  const driver = openOn(disk, user);
  configure(driver);
  driver.exec("CREATE TABLE rows (number INTEGER PRIMARY KEY, filler BLOB)");
  driver.exec(`PRAGMA synchronous = ${synchronous}`);
  let left = chance.integer(150);
  disk.faults = () => {
    left -= 1;
    if (left < 0) user.alive = false;
    return user.alive ? undefined : { failure: "dead", when: "before" };
  };
  let acked = 0;
  try {
    for (;;) {
      driver
        .prepare("INSERT INTO rows (filler) VALUES (?)")
        .run(chance.bytes(chance.integer(9000)));
      acked += 1;
      if (chance.oneIn(10)) durableBarrier(driver);
    }
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
  }
  driver.close();
  disk.faults = undefined;
  disk.losePower(chance);
  const again = openOn(disk, { alive: true }, false);
  const found =
    again.prepare("SELECT count(*) AS count FROM rows").get<{ count: number }>()?.count ?? 0;
  expect(again.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
  again.close();
  return { acked, found };
}

describe("a world that begins", () => {
  it("closes what the one before left open, without a write to its disk", () => {
    const disk = createDisk();
    const left = openOn(disk);
    left.exec("CREATE TABLE kept (word TEXT)");
    left.exec("BEGIN; INSERT INTO kept VALUES ('never committed')");
    const before = disk.accesses;
    sqlite.reseed(createChance(1));
    expect(disk.accesses).toBe(before);
    expect(sqlite.abandoned.size).toBe(0);
    expect(() => {
      left.exec("COMMIT");
    }).toThrow(expect.objectContaining({ code: "store_io_error" }));
    const next = openOn(disk);
    expect(next.prepare("SELECT count(*) AS count FROM kept").get()).toEqual({ count: 0 });
    next.close();
  });
});

describe("SQLite in WebAssembly on a simulated disk", () => {
  it("reads back what it binds", () => {
    const driver = openOn(createDisk());
    const values = ["", "né 🩺", 0, -1, 2 ** 31, -(2 ** 40) - 1, 2 ** 53 - 1, 1.5, null];
    const statement = driver.prepare("SELECT ? AS value");
    for (const value of values) expect(statement.get(value)).toEqual({ value });
    expect(statement.get(Uint8Array.of(0, 1, 255))).toEqual({ value: Uint8Array.of(0, 1, 255) });
    expect(statement.get(new Uint8Array(0))).toEqual({ value: new Uint8Array(0) });
    driver.close();
  });

  it("says in our codes what fails", () => {
    const disk = createDisk();
    const driver = openOn(disk);
    configure(driver);
    driver.exec("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)");
    const codeOf = (sql: string): unknown => {
      try {
        driver.exec(sql);
        return "ok";
      } catch (error) {
        return isHoldfastError(error) ? error.code : error;
      }
    };
    expect(codeOf("INSERT INTO t VALUES (1)")).toBe("store_constraint");
    disk.faults = (access) =>
      access === "write" ? { failure: "ENOSPC", when: "before" } : undefined;
    expect(codeOf("INSERT INTO t VALUES (2)")).toBe("store_full");
    disk.faults = (access) => (access === "sync" ? { failure: "EIO", when: "before" } : undefined);
    expect(codeOf("INSERT INTO t VALUES (3)")).toBe("store_io_error");
    disk.faults = undefined;
    expect(codeOf("INSERT INTO t VALUES (4)")).toBe("ok");
    expect(driver.prepare("SELECT a FROM t").all()).toEqual([{ a: 1 }, { a: 4 }]);
    driver.close();
    expect(codeOf("SELECT 1")).toBe("store_io_error");
  });

  it("lets one connection write, and others look", () => {
    const disk = createDisk();
    const driver = openOn(disk);
    configure(driver);
    driver.exec("CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    expect(() => openOn(disk)).toThrow(expect.objectContaining({ code: "store_busy" }));
    const look = lookAt(disk);
    expect(look.prepare("SELECT a FROM t").all()).toEqual([{ a: 1 }]);
    expect(() => {
      look.exec("INSERT INTO t VALUES (2)");
    }).toThrow(expect.objectContaining({ code: "store_read_only" }));
    look.close();
    expect(disk.has("store.db-wal")).toBe(true);
    driver.close();
    expect(disk.has("store.db-wal")).toBe(false);
  });

  it("keeps what FULL acknowledged through power cuts at any access", () => {
    for (let seed = 0; seed < 150; seed++) {
      const { acked, found } = untilPowerLoss(seed, "FULL");
      expect(found, `seed ${seed}`).toBeGreaterThanOrEqual(acked);
    }
  });

  it("loses what NORMAL acknowledged: the disk is as forgetful as it says", () => {
    let lost = 0;
    for (let seed = 0; seed < 150; seed++) {
      const { acked, found } = untilPowerLoss(seed, "NORMAL");
      if (found < acked) lost += 1;
    }
    expect(lost).toBeGreaterThan(50);
  });
});

describe("a simulated disk", () => {
  it("keeps names and content only once they are synced", () => {
    const kept = new Set<string>();
    for (let seed = 0; seed < 50; seed++) {
      const disk = createDisk();
      const user = { alive: true };
      const synced = disk.open(user, "synced", true);
      const unsynced = disk.open(user, "folder/unsynced", true);
      if (synced === undefined || unsynced === undefined) expect.unreachable();
      disk.write(user, synced, 0, Uint8Array.of(1, 2, 3));
      disk.sync(user, synced);
      disk.write(user, unsynced, 0, new Uint8Array(2000).fill(7));
      disk.losePower(createChance(seed));
      const { files } = disk.image();
      expect(files.get("synced")).toEqual(Uint8Array.of(1, 2, 3));
      const rest = files.get("folder/unsynced");
      kept.add(
        rest === undefined ? "gone" : `${rest.length}/${rest.filter((b) => b === 7).length}`,
      );
    }
    // Gone, empty, whole, and torn in several ways.
    expect(kept).toContain("gone");
    expect(kept).toContain("0/0");
    expect(kept).toContain("2000/2000");
    expect(kept.size).toBeGreaterThan(4);
  });

  it("gives a dead process nothing", () => {
    const disk = createDisk();
    const user = { alive: true };
    const file = disk.open(user, "file", true);
    user.alive = false;
    expect(() => {
      if (file !== undefined) disk.write(user, file, 0, Uint8Array.of(1));
    }).toThrow(expect.objectContaining({ failure: "dead" } satisfies Partial<DiskError>));
  });

  it("puts an image back", () => {
    const disk = createDisk();
    const user = { alive: true };
    const file = disk.open(user, "a/file", true);
    if (file === undefined) expect.unreachable();
    disk.write(user, file, 0, Uint8Array.of(1));
    const image = disk.image("a/");
    disk.write(user, file, 0, Uint8Array.of(2));
    disk.open(user, "a/other", true);
    disk.restore(image, "a/");
    expect(disk.names()).toEqual(["a/file"]);
    expect(disk.image("a/").files.get("file")).toEqual(Uint8Array.of(1));
  });
});
