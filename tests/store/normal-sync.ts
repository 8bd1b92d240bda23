/**
 * A driver that lies about `synchronous`: it sets NORMAL where FULL was asked for, and reads back FULL. The
 * store refuses an honest NORMAL; this is how the suites show that they would notice.
 */
import type { SqliteDriver } from "@holdfast/core";

export function withNormalSync(driver: SqliteDriver): SqliteDriver {
  return {
    capabilities: driver.capabilities,
    get inTransaction() {
      return driver.inTransaction;
    },
    prepare(sql) {
      const statement = driver.prepare(sql);
      if (sql !== "PRAGMA synchronous") return statement;
      return { ...statement, get: <Row>() => ({ synchronous: 2 }) as Row };
    },
    exec(sql) {
      driver.exec(sql === "PRAGMA synchronous = FULL" ? "PRAGMA synchronous = NORMAL" : sql);
    },
    close() {
      driver.close();
    },
  };
}
