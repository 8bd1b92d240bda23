/** Named values in the table `sync`: what this installation keeps for itself between two exchanges. */
import type { SqliteDriver } from "../store/sqlite-driver.ts";

export interface LocalValues {
  get(name: string): string | undefined;
  set(name: string, value: string): void;
  remove(name: string): void;
  /** Names that begin so, in order, with their values. */
  list(prefix: string): readonly { readonly name: string; readonly value: string }[];
  /** How many names begin so. */
  count(prefix: string): number;
}

/** Over one connection; whoever writes is inside a transaction. */
export function localValues(driver: SqliteDriver): LocalValues {
  return {
    get: (name) =>
      driver.prepare("SELECT value FROM sync WHERE name = ?").get<{ value: string }>(name)?.value,
    set(name, value) {
      driver
        .prepare(
          `INSERT INTO sync (name, value) VALUES (?, ?)
           ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
        )
        .run(name, value);
    },
    remove(name) {
      driver.prepare("DELETE FROM sync WHERE name = ?").run(name);
    },
    list: (prefix) =>
      driver
        .prepare("SELECT name, value FROM sync WHERE name >= ? AND name < ? ORDER BY name")
        // U+FFFF sorts behind every character that names are made of.
        .all<{ name: string; value: string }>(prefix, `${prefix}\uFFFF`),
    count: (prefix) =>
      driver
        .prepare("SELECT count(*) AS n FROM sync WHERE name >= ? AND name < ?")
        .get<{ n: number }>(prefix, `${prefix}\uFFFF`)?.n ?? 0,
  };
}
