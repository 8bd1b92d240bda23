/** What the compact suites share: a store with much that is no longer needed, and what must not change in it. */
import { defineProjection, type Draft, type Holdfast, type Projection } from "@holdfast/core";
import { rowsIn } from "../backup/lab.ts";
import { draftOf, makeStore, open, openWith, promiseOf } from "../store/lab.ts";

/** A read model that the application had once, with a full-text index. */
const formerNotes: Projection = defineProjection<{ readonly texts: string }>({
  name: "former",
  version: 1,
  types: ["NoteRecorded"],
  columns: { length: "integer" },
  fold: (state, event) => ({
    texts: `${state?.texts ?? ""}${(event.data as { readonly text: string }).text}`,
  }),
  row: (state) => ({ length: state.texts.length }),
  search: (state) => ({ texts: state.texts }),
  searchFields: ["texts"],
});

function longDraft(n: number): Draft {
  return { ...draftOf(n), stream: "long/diary", scope: "long" };
}

/** A store with a build that nothing is read from, and a stream with several snapshots; what it promises. */
export async function crowdedStore(folder: string, events: number): Promise<readonly string[]> {
  await makeStore(folder);
  const promises: string[] = [];
  const keep = async (store: Holdfast, drafts: readonly Draft[], from: number): Promise<void> => {
    const result = await store.append(drafts);
    if (result.status !== "appended") throw new Error(result.status);
    promises.push(...result.events.map(({ id }, at) => promiseOf(id, from + at)));
  };
  const numbers = (from: number, count: number) =>
    Array.from({ length: count }, (_, at) => from + at);
  const first = await open(folder);
  await keep(first, numbers(0, events).map(draftOf), 0);
  await first.close();
  // Former notes are built, and folded onto no more from the next append on.
  await (await openWith(folder, { projections: [formerNotes] })).close();
  const store = await open(folder);
  for (let from = 0; from < 300; from += 50) {
    await keep(store, numbers(100_000 + from, 50).map(longDraft), 100_000 + from);
  }
  await store.close();
  return promises;
}

type LogRows = readonly (readonly string[])[];

/** Everything that compacting must leave as it is: headers, leaves, frames, notes and tiles, in order. */
export async function logRows(folder: string): Promise<LogRows> {
  const { all, driver } = await rowsIn(folder);
  const tables = [
    "SELECT * FROM incarnations ORDER BY number",
    "SELECT * FROM events ORDER BY position",
    "SELECT position, section, key, state, hex(bytes) FROM frames ORDER BY position, section",
    "SELECT * FROM commits ORDER BY number",
    "SELECT * FROM tiles ORDER BY rowid",
  ];
  const rows = tables.map((sql) => all(sql).map((row) => JSON.stringify(row)));
  driver.close();
  return rows;
}

/** Rows of the log that are not what they were; what was added since is none. */
export function changedRows(before: LogRows, after: LogRows): readonly string[] {
  return before.flatMap((rows, table) => rows.filter((row, at) => after[table]?.[at] !== row));
}

/** Counts of what compacting takes away. */
export async function crowd(folder: string): Promise<{
  readonly builds: number;
  readonly tables: number;
  readonly snapshots: number;
  readonly free: number;
}> {
  const { all, driver } = await rowsIn(folder);
  const value = (sql: string): number =>
    Object.values(all(sql)[0] as Record<string, number>)[0] ?? 0;
  try {
    return {
      builds: value("SELECT count(*) FROM projections WHERE name = 'former'"),
      tables: value("SELECT count(*) FROM sqlite_schema WHERE name GLOB '*former*'"),
      snapshots: value(
        "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM snapshots GROUP BY build, stream)",
      ),
      free: value("PRAGMA freelist_count"),
    };
  } finally {
    driver.close();
  }
}
