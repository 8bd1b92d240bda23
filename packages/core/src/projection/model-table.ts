/**
 * The table of one build of a read model: one row per stream, an index per column, and a full-text index
 * where the projection declares one. All of it lies in the encrypted file.
 */
import { invariant } from "../std/errors.ts";
import { modelTablePrefix, searchTablePrefix } from "../store/schema.ts";
import type { SqliteDriver, SqlStatement, SqlValue } from "../store/sqlite-driver.ts";
import type { ColumnType, ColumnValue, ModelRow, Projection } from "./projection.ts";

/** A row as SQLite gives it. */
export type StoredRow = Readonly<Record<string, ColumnValue>> & {
  readonly stream: string;
  readonly scope: string;
  readonly state: string;
};

export interface ModelTable {
  readonly name: string;
  get(stream: string): ModelRow | undefined;
  /**
   * Writes the row of a stream, or removes it when the state is `undefined`. `false`: the projection makes no
   * row of the state, or one of other types than it declares; nothing was written.
   */
  put(stream: string, scope: string, state: unknown): boolean;
  count(): number;
  /** A row of this table from its stored form. */
  rowOf(stored: StoredRow): ModelRow;
  /** Streams that match a full-text expression, best first. */
  search(expression: string, limit: number): readonly ModelRow[];
}

/** Names of the tables of one build. */
export function tableNames(projection: Pick<Projection, "name">, build: number) {
  return {
    model: `${modelTablePrefix}${projection.name}_${build}`,
    search: `${searchTablePrefix}${projection.name}_${build}`,
  };
}

/** Makes the tables of a build, in the caller's transaction. */
export function createModelTable(
  driver: SqliteDriver,
  projection: Projection,
  build: number,
): void {
  const { model, search } = tableNames(projection, build);
  const columns = Object.entries(projection.columns);
  const declared = columns.map(([name, type]) => `, "${name}" ${type.toUpperCase()}`).join("");
  driver.exec(
    `CREATE TABLE ${model} (
       row INTEGER PRIMARY KEY, stream TEXT NOT NULL UNIQUE, scope TEXT NOT NULL,
       state TEXT NOT NULL CHECK (json_valid(state))${declared}
     ) STRICT;
     CREATE INDEX "${model}_by_scope" ON ${model} (scope, stream);`,
  );
  for (const [name] of columns) {
    driver.exec(`CREATE INDEX "${model}_by_${name}" ON ${model} ("${name}", stream)`);
  }
  for (const [at, names] of (projection.indexes ?? []).entries()) {
    const list = names.map((name) => `"${name}"`).join(", ");
    driver.exec(`CREATE INDEX "${model}_and_${at}" ON ${model} (${list}, stream)`);
  }
  const fields = projection.searchFields ?? [];
  if (fields.length > 0) {
    driver.exec(
      `CREATE VIRTUAL TABLE ${search} USING fts5(${fields.map((field) => `"${field}"`).join(", ")});
       INSERT INTO ${search} (${search}, rank) VALUES ('secure-delete', 1);`,
    );
  }
}

/** Drops the tables of a build, in the caller's transaction. */
export function dropModelTable(
  driver: SqliteDriver,
  projection: Pick<Projection, "name">,
  build: number,
): void {
  const { model, search } = tableNames(projection, build);
  driver.exec(`DROP TABLE IF EXISTS ${model}; DROP TABLE IF EXISTS ${search};`);
}

interface SearchIndex {
  remove(row: number): void;
  put(row: number, texts: Readonly<Record<string, string>>): void;
  readonly find: SqlStatement;
}

function openSearch(driver: SqliteDriver, projection: Projection, build: number): SearchIndex {
  const { model, search } = tableNames(projection, build);
  const fields = projection.searchFields ?? [];
  const quoted = fields.map((field) => `"${field}"`).join(", ");
  const remove = driver.prepare(`DELETE FROM ${search} WHERE rowid = ?`);
  const insert = driver.prepare(
    `INSERT INTO ${search} (rowid, ${quoted}) VALUES (?${fields.map(() => ", ?").join("")})`,
  );
  return {
    remove(row) {
      remove.run(row);
    },
    put(row, texts) {
      remove.run(row);
      insert.run(row, ...fields.map((field) => texts[field] ?? ""));
    },
    find: driver.prepare(
      `SELECT ${model}.* FROM ${search} JOIN ${model} ON ${model}.row = ${search}.rowid
       WHERE ${search} MATCH ? ORDER BY rank, stream LIMIT ?`,
    ),
  };
}

/** Opens the tables of a build that is there. */
export function openModelTable(
  driver: SqliteDriver,
  projection: Projection,
  build: number,
): ModelTable {
  const { model } = tableNames(projection, build);
  const names = Object.keys(projection.columns);
  const quoted = names.map((name) => `, "${name}"`).join("");
  const updates = ["state", ...names].map((name) => `"${name}" = excluded."${name}"`).join(", ");
  const select = driver.prepare(
    `SELECT stream, scope, state${quoted} FROM ${model} WHERE stream = ?`,
  );
  const upsert = driver.prepare(
    `INSERT INTO ${model} (stream, scope, state${quoted})
     VALUES (?, ?, ?${names.map(() => ", ?").join("")})
     ON CONFLICT (stream) DO UPDATE SET ${updates}`,
  );
  const rowNumber = driver.prepare(`SELECT row FROM ${model} WHERE stream = ?`);
  const remove = driver.prepare(`DELETE FROM ${model} WHERE stream = ?`);
  const count = driver.prepare(`SELECT count(*) AS value FROM ${model}`);
  const search =
    projection.search === undefined ? undefined : openSearch(driver, projection, build);

  function numberOf(stream: string): number | undefined {
    return rowNumber.get<{ row: number }>(stream)?.row;
  }

  function rowOf(stored: StoredRow): ModelRow {
    const columns = Object.fromEntries(names.map((name) => [name, stored[name] ?? null]));
    const state = JSON.parse(stored.state) as unknown;
    return { stream: stored.stream, scope: stored.scope, columns, state };
  }

  return {
    name: model,
    rowOf,
    get(stream) {
      const stored = select.get<StoredRow>(stream);
      return stored === undefined ? undefined : rowOf(stored);
    },
    put(stream, scope, state) {
      if (state === undefined) {
        const row = search === undefined ? undefined : numberOf(stream);
        if (row !== undefined) search?.remove(row);
        remove.run(stream);
        return true;
      }
      const stored = storable(projection, state);
      if (stored === undefined) return false;
      upsert.run(stream, scope, stored.json, ...stored.values);
      if (search === undefined) return true;
      const number = numberOf(stream);
      invariant(number !== undefined, "a row that was written has a number");
      search.put(number, stored.texts);
      return true;
    },
    count: () => count.get<{ value: number }>()?.value ?? 0,
    search: (expression, limit) =>
      search?.find.all<StoredRow>(expression, limit).map((stored) => rowOf(stored)) ?? [],
  };
}

interface Storable {
  readonly json: string;
  readonly values: readonly SqlValue[];
  readonly texts: Readonly<Record<string, string>>;
}

/** What is stored of a state; `undefined` when the projection made no row of it, or one of other types. */
function storable(projection: Projection, state: unknown): Storable | undefined {
  try {
    const json = JSON.stringify(state) as string | undefined;
    const row = projection.row(state);
    const texts = projection.search?.(state) ?? {};
    const columns = Object.entries(projection.columns);
    const values = columns.map(([name]): SqlValue => row[name] ?? null);
    const fits =
      columns.every(([, type], at) => fitsColumn(type, values[at] ?? null)) &&
      Object.values(texts).every((text) => typeof text === "string");
    return json === undefined || !fits ? undefined : { json, values, texts };
  } catch {
    return undefined;
  }
}

function fitsColumn(type: ColumnType, value: SqlValue): boolean {
  if (value === null) return true;
  if (type === "text") return typeof value === "string";
  return type === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value);
}
