/** What stands in the tables of a store, as whoever has the page key reads it: to search for what must not be there. */
import type { SqliteDriver } from "@holdfast/core";

/** Every value of every table, a line each; bytes as Latin-1. */
export function textOfTables(driver: SqliteDriver): string {
  const tables = driver
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
    .all<{ name: string }>();
  return tables
    .flatMap(({ name }) => driver.prepare(`SELECT * FROM "${name}"`).all<object>())
    .flatMap((row) => Object.values(row) as unknown[])
    .map((value) =>
      value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : String(value),
    )
    .join("\n");
}
