/** Bugs between a store and SQLite: statements left out, moved, or answered falsely. */
import type { SqliteDriver, SqlStatement, SqlValue } from "@holdfast/core";
import type { SimSite } from "./sim-store.ts";

/** How one statement is carried out; `real` does what it should. */
type Carry = (sql: string, real: () => unknown) => unknown;

/** A driver whose statements all pass `carry`. */
export function carriedDriver(driver: SqliteDriver, carry: Carry): SqliteDriver {
  const statementOver = (sql: string, statement: SqlStatement): SqlStatement => ({
    run: (...values) => carry(sql, () => statement.run(...values)) as number,
    get: <Row>(...values: readonly SqlValue[]) =>
      carry(sql, () => statement.get<Row>(...values)) as Row | undefined,
    all: <Row>(...values: readonly SqlValue[]) =>
      carry(sql, () => statement.all<Row>(...values)) as readonly Row[],
  });
  return {
    capabilities: driver.capabilities,
    get inTransaction() {
      return driver.inTransaction;
    },
    prepare: (sql) => statementOver(sql, driver.prepare(sql)),
    exec(sql) {
      carry(sql, () => {
        driver.exec(sql);
      });
    },
    close() {
      driver.close();
    },
  };
}

/** `synchronous=NORMAL`, and the reading back of it that says FULL. */
export function normalSynchronous(driver: SqliteDriver): SqliteDriver {
  return carriedDriver(driver, (sql, real) => {
    if (sql === "PRAGMA synchronous = FULL") {
      driver.exec("PRAGMA synchronous = NORMAL");
      return undefined;
    }
    return sql === "PRAGMA synchronous" ? { synchronous: 2 } : real();
  });
}

/** COMMIT is answered at once and done with the next statement. */
export function lazyCommit(driver: SqliteDriver): SqliteDriver {
  let owed = false;
  return carriedDriver(driver, (sql, real) => {
    if (owed) driver.exec("COMMIT");
    owed = sql === "COMMIT";
    return owed ? 0 : real();
  });
}

/** Statements that match are done in a transaction after the one that they belong to. */
export function splitBefore(pattern: RegExp): (driver: SqliteDriver) => SqliteDriver {
  return (driver) => {
    let split = false;
    return carriedDriver(driver, (sql, real) => {
      if (sql.startsWith("BEGIN")) split = false;
      if (!split && driver.inTransaction && pattern.test(sql)) {
        split = true;
        driver.exec("COMMIT");
        driver.exec("BEGIN IMMEDIATE");
      }
      return real();
    });
  };
}

/** Statements that match are not done. */
export function leaveOut(pattern: RegExp): (driver: SqliteDriver) => SqliteDriver {
  return (driver) => carriedDriver(driver, (sql, real) => (pattern.test(sql) ? 0 : real()));
}

/** COMMITs that wait for a mark to be written first, by site. */
const waiting = new WeakMap<SimSite, () => void>();

/** The mark is written before the commit that it attests: this half keeps the COMMIT back. */
export function commitAfterMark(driver: SqliteDriver, site: SimSite): SqliteDriver {
  let events = false;
  return carriedDriver(driver, (sql, real) => {
    waiting.get(site)?.();
    if (sql.startsWith("INSERT INTO commits")) events = true;
    if (sql !== "COMMIT" || !events) return real();
    events = false;
    waiting.set(site, () => {
      waiting.delete(site);
      real();
    });
    return 0;
  });
}

/** The other half: the COMMIT follows the mark. */
export function markWritten(site: SimSite): void {
  waiting.get(site)?.();
}
