import { expect, it } from "vitest";
import { HoldfastError } from "../std/errors.ts";
import type { SqliteDriver, SqlStatement } from "../store/sqlite-driver.ts";
import { readDamaged } from "./read-damaged.ts";

/** A table of `rows` rows in pages of `inPage`, some of which fail; nothing else tells of its keys. */
function damagedTable(rows: number, inPage: number, failing: readonly number[]): SqliteDriver {
  const touch = (key: number): void => {
    const page = Math.floor((Math.min(Math.max(key, 1), rows) - 1) / inPage);
    if (failing.includes(page)) throw new HoldfastError("store_corrupt");
  };
  const row = (key: number) => ({ place: key, c0: key });
  const answers = (sql: string, key: number): readonly unknown[] => {
    if (sql.includes("sqlite_schema")) return [];
    if (sql.includes("max(rowid)")) {
      touch(rows);
      return [{ n: rows }];
    }
    if (sql.includes("rowid = ?")) {
      touch(key);
      return key <= rows ? [row(key)] : [];
    }
    const found = [];
    for (let at = key + 1; at <= key + 64; at++) {
      touch(at);
      if (at <= rows) found.push(row(at));
    }
    return found;
  };
  const prepare = (sql: string): SqlStatement => ({
    run: () => 0,
    get: (...[key]: readonly unknown[]) => answers(sql, Number(key))[0] as never,
    all: (...[key]: readonly unknown[]) => answers(sql, Number(key)) as never,
  });
  return { prepare } as SqliteDriver;
}

it("reads on behind each damaged page, however many there are, where nothing tells the last key", () => {
  const failing = [3, 40, 80, 99];
  const driver = damagedTable(10_000, 100, failing);
  const lost = { keys: 0 };
  const read = [...readDamaged(driver, "frames", ["position"], lost)].map(([key]) => key);
  expect(read).toHaveLength(10_000 - 100 * failing.length);
  expect(lost.keys).toBeGreaterThanOrEqual(100 * failing.length);
});

it("reads on behind a damage that is wider than the keys that are tried one by one", () => {
  const failing = Array.from({ length: 30 }, (_, at) => 10 + at);
  const driver = damagedTable(10_000, 100, [...failing, 99]);
  const read = [...readDamaged(driver, "frames", ["position"], { keys: 0 })];
  expect(read).toHaveLength(10_000 - 3_000 - 100);
});
