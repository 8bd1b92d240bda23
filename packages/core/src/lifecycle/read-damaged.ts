/**
 * Reading rows of a database whose pages are damaged: page by page while that works, and key by key around what
 * cannot be read. For copies alone, never for the only file.
 */
import { isHoldfastError } from "../std/errors.ts";
import type { SqliteDriver, SqlStatement, SqlValue } from "../store/sqlite-driver.ts";

/** A row: its rowid, then the columns that were asked for. */
export type ReadRow = readonly SqlValue[];

/** What of a table could not be read. */
export interface LostRows {
  /** Keys that gave an error. */
  keys: number;
}

const rowsRead = 64;
/** Keys that are tried beyond the last one that is known to be there. */
const keysBeyond = 1_024;
/** How far beyond it rows are looked for. */
const keyReach = 2 ** 40;

/** `undefined` for what cannot be read; anything but a failure of storage is thrown. */
function attempted<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return undefined;
  }
}

/** The highest key that anything in the database still tells of a table. */
function highestKey(driver: SqliteDriver, table: string): number | undefined {
  const indices = attempted(() =>
    driver
      .prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
      )
      .all<{ name: string }>(table),
  );
  const sources = ["", ...(indices ?? []).map(({ name }) => ` INDEXED BY ${name}`)];
  const found = sources.flatMap((by) => {
    const row = attempted(() =>
      driver.prepare(`SELECT max(rowid) AS n FROM ${table}${by}`).get<{ n: number | null }>(),
    );
    return row === undefined ? [] : [row.n ?? 0];
  });
  return found.length === 0 ? undefined : Math.max(...found);
}

/** Where nothing tells of the highest key: one behind which rows can be read again, or there are none. */
function keyBehind(page: SqlStatement, after: number): number {
  for (let step = keysBeyond; step <= keyReach; step *= 2) {
    const rows = attempted(() => page.all<{ readonly place: number }>(after + step));
    if (rows !== undefined) return rows[0]?.place ?? after + step;
  }
  return after + keysBeyond;
}

/** Every row of a table that can be read, in order of its key. */
export function* readDamaged(
  driver: SqliteDriver,
  table: string,
  columns: readonly string[],
  lost: LostRows,
): Generator<ReadRow> {
  const select = `SELECT rowid AS place, ${columns.map((value, at) => `${value} AS c${at}`).join(", ")} FROM ${table}`;
  const valuesOf = (row: Readonly<Record<string, SqlValue>>): ReadRow => Object.values(row);
  type Row = Readonly<Record<string, SqlValue>>;
  const page = attempted(() =>
    driver.prepare(`${select} WHERE rowid > ? ORDER BY rowid LIMIT ${rowsRead}`),
  );
  const one = attempted(() => driver.prepare(`${select} WHERE rowid = ?`));
  if (page === undefined || one === undefined) {
    lost.keys += 1;
    return;
  }
  let highest: readonly [number | undefined] | undefined;
  for (let after = 0; ;) {
    const rows = attempted(() => page.all<Row>(after));
    if (rows?.length === 0) return;
    if (rows !== undefined) {
      for (const row of rows) yield valuesOf(row);
      after = Number(rows.at(-1)?.["place"]);
      continue;
    }
    highest ??= [highestKey(driver, table)];
    const last = highest[0] ?? keyBehind(page, after);
    // Key by key, until one can be read again.
    let found: Row | undefined;
    for (; found === undefined; after += 1) {
      if (after >= last) return;
      const key = after + 1;
      const read = attempted(() => [one.get<Row>(key)] as const);
      if (read === undefined) lost.keys += 1;
      else [found] = read;
    }
    yield valuesOf(found);
  }
}
