/**
 * Builds of read models: each has tables of its own and a row in `projections`. While one is being built
 * another answers; a build that an opener did not fold onto is *behind* and is built anew.
 */
import { canonicalJson } from "../std/jcs.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import { createSnapshots, type Snapshots } from "./fold.ts";
import {
  createModelTable,
  dropModelTable,
  type ModelTable,
  openModelTable,
  tableNames,
} from "./model-table.ts";
import type { Projection } from "./projection.ts";

export type BuildState = "building" | "current" | "stopped" | "behind";

/** One build, open. */
export interface Build {
  readonly number: number;
  readonly table: ModelTable;
  readonly snapshots: Snapshots;
  state: BuildState;
  /** Position of the event that the fold refused. */
  stoppedAt: number | undefined;
  /** Met events of its types that the registry does not know (yet). */
  incomplete: boolean;
  /** While building: streams up to this one are in the table. */
  cursor: string;
  /** Streams that were folded so far. */
  streams: number;
}

/** A projection with its builds. */
export interface Model {
  readonly projection: Projection;
  readonly types: ReadonlySet<string>;
  /** Answers queries; of an older version while a new one is built. */
  serving: Build | undefined;
  /** Is `serving` of this projection's version and registry? */
  upToDate: boolean;
  building: Build | undefined;
}

interface BuildRow {
  readonly build: number;
  readonly version: number;
  readonly registry: string;
  readonly columns: string;
  readonly state: BuildState;
  readonly stopped_at: number | null;
  readonly incomplete: number;
  readonly cursor: string;
  readonly streams: number;
}

/** The builds of a projection as the store has them. */
export function loadModel(driver: SqliteDriver, projection: Projection, digest: string): Model {
  const rows = driver
    .prepare(
      `SELECT build, version, registry, columns, state, stopped_at, incomplete, cursor, streams
       FROM projections WHERE name = ? ORDER BY build`,
    )
    .all<BuildRow>(projection.name);
  const isNow = (row: BuildRow): boolean =>
    row.version === projection.version && row.registry === digest;
  const served = rows.find((row) => row.state !== "building" && row.state !== "behind");
  const begun = rows.find((row) => row.state === "building" && isNow(row));
  // A build of another version answers where it has the same columns.
  const usable =
    served !== undefined && (isNow(served) || served.columns === columnsOf(projection));
  return {
    projection,
    types: new Set(projection.types),
    serving: usable ? openBuild(driver, projection, served) : undefined,
    upToDate: served !== undefined && isNow(served),
    building: begun === undefined ? undefined : openBuild(driver, projection, begun),
  };
}

function columnsOf(projection: Projection): string {
  return canonicalJson({ columns: projection.columns, search: projection.searchFields ?? [] });
}

function openBuild(driver: SqliteDriver, projection: Projection, row: BuildRow): Build {
  return {
    number: row.build,
    table: openModelTable(driver, projection, row.build),
    snapshots: createSnapshots(driver, row.build),
    state: row.state,
    stoppedAt: row.stopped_at ?? undefined,
    incomplete: row.incomplete === 1,
    cursor: row.cursor,
    streams: row.streams,
  };
}

/** A new build without rows, in the caller's transaction; builds that were begun and given up go. */
export function createBuild(driver: SqliteDriver, projection: Projection, digest: string): Build {
  const abandoned = driver
    .prepare("SELECT build FROM projections WHERE name = ? AND state = 'building'")
    .all<{ build: number }>(projection.name);
  for (const { build } of abandoned) dropBuild(driver, projection, build);
  const next = driver.prepare("SELECT coalesce(max(build), 0) + 1 AS value FROM projections");
  const number = next.get<{ value: number }>()?.value ?? 1;
  driver
    .prepare(
      `INSERT INTO projections (build, name, version, registry, columns, state)
       VALUES (?, ?, ?, ?, ?, 'building')`,
    )
    .run(number, projection.name, projection.version, digest, columnsOf(projection));
  createModelTable(driver, projection, number);
  return openBuild(driver, projection, {
    build: number,
    version: projection.version,
    registry: digest,
    columns: "",
    state: "building",
    stopped_at: null,
    incomplete: 0,
    cursor: "",
    streams: 0,
  });
}

/** Drops a build with its tables, in the caller's transaction. */
export function dropBuild(
  driver: SqliteDriver,
  projection: Pick<Projection, "name">,
  number: number,
): void {
  createSnapshots(driver, number).drop();
  dropModelTable(driver, projection, number);
  driver.prepare("DELETE FROM projections WHERE build = ?").run(number);
}

/** Drops every other build of the projection, in the caller's transaction. */
export function dropOthers(
  driver: SqliteDriver,
  projection: Pick<Projection, "name">,
  kept: Build,
): void {
  const others = driver
    .prepare("SELECT build FROM projections WHERE name = ? AND build <> ?")
    .all<{ build: number }>(projection.name, kept.number);
  for (const { build } of others) dropBuild(driver, projection, build);
}

export function saveBuild(driver: SqliteDriver, build: Build): void {
  driver
    .prepare(
      `UPDATE projections SET state = ?, stopped_at = ?, incomplete = ?, cursor = ?, streams = ?
       WHERE build = ?`,
    )
    .run(
      build.state,
      build.stoppedAt ?? null,
      build.incomplete ? 1 : 0,
      build.cursor,
      build.streams,
      build.number,
    );
}

/**
 * Takes the rows, texts and snapshots of streams out of every build there is, in the caller's transaction, also of
 * builds that nobody here folds.
 */
export function removeStreams(driver: SqliteDriver, streams: readonly string[]): void {
  const list = JSON.stringify(streams);
  const isOne = "IN (SELECT value FROM json_each(?))";
  const tables = new Set(
    driver
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .all<{ name: string }>()
      .map(({ name }) => name),
  );
  const builds = driver
    .prepare("SELECT name, build FROM projections")
    .all<{ name: string; build: number }>();
  for (const { name, build } of builds) {
    const { model, search } = tableNames({ name }, build);
    if (!tables.has(model)) continue;
    const rows = `SELECT row FROM ${model} WHERE stream ${isOne}`;
    if (tables.has(search)) {
      driver.prepare(`DELETE FROM ${search} WHERE rowid IN (${rows})`).run(list);
    }
    driver.prepare(`DELETE FROM ${model} WHERE stream ${isOne}`).run(list);
  }
  driver.prepare(`DELETE FROM snapshots WHERE stream ${isOne}`).run(list);
}

/** Builds that the running append does not fold onto are behind from now on. */
export function markOthersBehind(driver: SqliteDriver, folded: readonly Build[]): void {
  const numbers = folded.map(({ number }): SqlValue => number);
  driver
    .prepare(
      `UPDATE projections SET state = 'behind'
       WHERE state <> 'behind' AND build NOT IN (${numbers.map(() => "?").join(", ")})`,
    )
    .run(...numbers);
}
