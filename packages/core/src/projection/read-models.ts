/**
 * Read models on SQLite, updated in the append's transaction.
 *
 * A read model is *built*: one build has a table of its own. While a new version is built beside the old one,
 * the old one answers; the new one is swapped in, in one transaction, when it is complete and a sample of its
 * streams folds to the same rows again. A build goes on where it stopped. A fold that throws stops its
 * projection at that event until it is built again.
 */
import type { RecordedEvent } from "../event/event.ts";
import type { Registry } from "../event/registry.ts";
import { hex, utf8 } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { StoredEvent } from "../store/event-log.ts";
import type { AppendedRow, AppendParticipant, SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { inOrder, matches } from "./condition.ts";
import {
  comesLast,
  createSnapshots,
  foldEvents,
  foldStart,
  type FoldPoint,
  inCanonicalOrder,
  readAll,
  type Snapshots,
  stateAsOf,
} from "./fold.ts";
import { createModelTable, dropModelTable, type ModelTable, openModelTable, type StoredRow } from "./model-table.ts";
import type {
  AggregateQuery,
  AggregateRow,
  ModelPage,
  ModelQuery,
  ModelRow,
  Moment,
  PageQuery,
  Projection,
  Where,
} from "./projection.ts";
import { compileAggregate, compileCount, compileQuery, cursorAfter, searchExpression } from "./query.ts";

/** Where one read model stands. */
export interface ReadModelStatus {
  readonly name: string;
  readonly version: number;
  readonly state: "current" | "stopped" | "incomplete" | "building" | "stale";
  /** Position of the event that the fold refused. */
  readonly stoppedAt?: number;
}

/** One row that an append changed, before and after. */
export interface TouchedRow {
  readonly model: string;
  readonly stream: string;
  readonly after: ModelRow | undefined;
}

/** The answer of one step of a rebuild. */
export interface BuildStep {
  readonly done: boolean;
  readonly streams: number;
  readonly total: number;
}

export interface ReadModels extends AppendParticipant {
  query(model: string, query: ModelQuery): readonly ModelRow[];
  page(model: string, query: PageQuery): ModelPage;
  aggregate(model: string, query: AggregateQuery): readonly AggregateRow[];
  search(model: string, text: string, limit: number): readonly ModelRow[];
  row(model: string, stream: string): ModelRow | undefined;
  count(model: string, query: { readonly where?: Where }): number;
  asOf(model: string, moment: Moment, query: ModelQuery): readonly ModelRow[];
  /** How SQLite would answer a query: EXPLAIN QUERY PLAN, a line a step. */
  explain(model: string, query: ModelQuery): readonly string[];
  /** Begins a build from the first event, in the caller's transaction; one that was under way is dropped. */
  beginBuild(model: string): void;
  /** Folds some more streams of the build, or swaps it in; in the caller's transaction. */
  stepBuild(model: string): BuildStep;
  /** Models that another version of projection or registry built, or nobody yet, or not to the end. */
  unfinished(): readonly string[];
  status(): readonly ReadModelStatus[];
  /** Rows that appends have changed since the last call. */
  takeTouched(): readonly TouchedRow[];
}

export interface ReadModelsDeps {
  readonly driver: SqliteDriver;
  readonly crypto: Crypto;
  readonly observer: Observer;
  readonly log: SqliteEventLog;
  readonly registry: Registry;
  readonly projections: readonly Projection[];
  readonly open: (stored: StoredEvent) => RecordedEvent;
  /** The event that the running append stores, without opening it again. */
  readonly openAppended: (row: AppendedRow) => RecordedEvent;
}

type BuildState = "building" | "current" | "stopped" | "incomplete";

/** One build, open. */
interface Build {
  readonly number: number;
  readonly table: ModelTable;
  readonly snapshots: Snapshots;
  state: BuildState;
  stoppedAt: number | undefined;
  /** While building: streams up to this one are in the table. */
  cursor: string;
  /** Rows that the build has put in: compared before the swap. */
  streams: number;
}

interface Model {
  readonly projection: Projection;
  readonly types: ReadonlySet<string>;
  /** Answers queries; may be of an older version. */
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
  readonly cursor: string;
  readonly streams: number;
}

export function createReadModels(deps: ReadModelsDeps): ReadModels {
  const digest = registryDigest(deps.crypto, deps.registry);
  const models = new Map(deps.projections.map((p) => [p.name, loadModel(deps.driver, p, digest)]));
  const folding = createFolding(deps);
  const touched = new Map<string, TouchedRow>();

  function modelOf(name: string): Model {
    const model = models.get(name);
    if (model === undefined) throw new HoldfastError("model_unknown", { model: name.slice(0, 64) });
    return model;
  }

  function serving(name: string): { readonly model: Model; readonly build: Build } {
    const model = modelOf(name);
    if (model.serving === undefined) throw new HoldfastError("model_stale", { model: name });
    return { model, build: model.serving };
  }

  function touch(model: Model, build: Build, stream: string): void {
    if (model.serving !== build) return;
    const { name } = model.projection;
    const after = build.table.get(stream);
    touched.set(`${name}/${stream}`, { model: name, stream, after });
  }

  function streamsOf(after: string, limit: number): readonly string[] {
    return deps.driver
      .prepare("SELECT stream FROM streams WHERE stream > ? ORDER BY stream LIMIT ?")
      .all<{ stream: string }>(after, limit)
      .map(({ stream }) => stream);
  }

  function asOf(name: string, moment: Moment, query: ModelQuery): readonly ModelRow[] {
    const { model, build } = serving(name);
    const { projection } = model;
    // Conditions are checked before the fold, so that a bad one is refused and not merely unmet.
    compileQuery(projection, build.table.name, query);
    const named = query.where?.["stream"];
    const rows: ModelRow[] = [];
    for (let after = ""; ; ) {
      const streams = typeof named === "string" ? [named] : streamsOf(after, limits.queryRowsDefault);
      for (const stream of streams) {
        const head = deps.log.streams.get(stream);
        if (head === undefined) continue;
        const state = stateAsOf(deps, projection, build.snapshots, stream, moment);
        if (state === undefined) continue;
        const row = { stream, scope: head.scope, columns: projection.row(state), state };
        if (matches(row, query.where)) rows.push(row);
      }
      const last = streams.at(-1);
      if (typeof named === "string" || last === undefined) break;
      after = last;
    }
    return inOrder(rows, query.order).slice(0, query.limit ?? limits.queryRowsDefault);
  }

  function page(name: string, query: PageQuery): ModelPage {
    const { model, build } = serving(name);
    const { sql, values } = compileQuery(model.projection, build.table.name, query);
    const rows = deps.driver
      .prepare(sql)
      .all<StoredRow>(...values)
      .map((stored) => build.table.rowOf(stored));
    const last = rows.at(-1);
    const full = last !== undefined && rows.length === (query.limit ?? limits.queryRowsDefault);
    const next = full ? cursorAfter(model.projection, query.order, last) : undefined;
    return { rows, next };
  }

  function stepBuild(name: string): BuildStep {
    const model = modelOf(name);
    const { building } = model;
    const total = count(deps.driver, "SELECT count(*) AS value FROM streams");
    if (building === undefined) return { done: true, streams: total, total };
    const streams = streamsOf(building.cursor, limits.rebuildStreamsPerStep);
    for (const stream of streams) {
      folding.refold(model, building, stream, 0);
      building.cursor = stream;
      building.streams += 1;
    }
    saveBuild(deps.driver, building);
    if (streams.length > 0 && building.stoppedAt === undefined) {
      return { done: false, streams: building.streams, total };
    }
    swap(deps, model, building, folding);
    return { done: true, streams: total, total };
  }

  return {
    name: "projections",
    apply(appended) {
      for (const model of models.values()) {
        for (const build of [model.serving, model.building]) {
          if (build === undefined || (build === model.serving && !model.upToDate)) continue;
          for (const stream of folding.apply(model, build, appended)) touch(model, build, stream);
        }
      }
    },
    takeTouched() {
      const rows = [...touched.values()];
      touched.clear();
      return rows;
    },
    query: (name, query) => page(name, query).rows,
    page,
    aggregate(name, query) {
      const { model, build } = serving(name);
      const { sql, values } = compileAggregate(model.projection, build.table.name, query);
      return deps.driver.prepare(sql).all<AggregateRow>(...values);
    },
    search(name, text, limit) {
      const { model, build } = serving(name);
      if (model.projection.search === undefined) {
        throw new HoldfastError("query_invalid", { model: name, field: "search" });
      }
      return build.table.search(searchExpression(model.projection, text), limit);
    },
    row: (name, stream) => serving(name).build.table.get(stream),
    count(name, query) {
      const { model, build } = serving(name);
      const { sql, values } = compileCount(model.projection, build.table.name, query);
      return count(deps.driver, sql, ...values);
    },
    asOf,
    explain(name, query) {
      const { model, build } = serving(name);
      const { sql, values } = compileQuery(model.projection, build.table.name, query);
      return deps.driver
        .prepare(`EXPLAIN QUERY PLAN ${sql}`)
        .all<{ detail: string }>(...values)
        .map(({ detail }) => detail);
    },
    beginBuild(name) {
      const model = modelOf(name);
      if (model.building !== undefined) dropBuild(deps.driver, model.projection, model.building);
      model.building = createBuild(deps.driver, model.projection, digest);
    },
    stepBuild,
    unfinished: () =>
      [...models.values()]
        .filter((model) => !model.upToDate || model.building !== undefined)
        .map((model) => model.projection.name),
    status: () => [...models.values()].map((model) => statusOf(model)),
  };
}

function statusOf({ projection, serving, upToDate, building }: Model): ReadModelStatus {
  const { name, version } = projection;
  if (building !== undefined) return { name, version, state: "building" };
  if (serving === undefined || !upToDate) return { name, version, state: "stale" };
  const { state, stoppedAt } = serving;
  return { name, version, state, ...(stoppedAt !== undefined && { stoppedAt }) };
}

/** Folds appended events into builds, and streams anew. */
function createFolding(deps: ReadModelsDeps) {
  function stop(model: Model, build: Build, position: number): void {
    deps.observer.count("projection_stopped", 1);
    deps.observer.log("error", "projection_stopped", { projection: model.projection.name });
    build.state = build.state === "building" ? "building" : "stopped";
    build.stoppedAt = position;
    saveBuild(deps.driver, build);
  }

  function markIncomplete(build: Build): void {
    if (build.state !== "current") return;
    build.state = "incomplete";
    saveBuild(deps.driver, build);
  }

  /** Folds a stream from the last snapshot within its first `unchanged` events. */
  function refold(model: Model, build: Build, stream: string, unchanged: number): void {
    if (build.stoppedAt !== undefined) return;
    build.snapshots.cutAfter(stream, unchanged);
    const from = build.snapshots.before(stream, { folded: unchanged });
    const stored = readAll(deps.log, stream, from.position);
    if (!stored.some(({ headerText }) => mentions(model, headerText))) {
      if (from === foldStart) return;
    }
    const positions = stored.map(({ position }) => position);
    const events = inCanonicalOrder(stored).map((event) => deps.open(event));
    const scope = deps.log.streams.get(stream)?.scope ?? "";
    const outcome = foldEvents(model.projection, from, events, (point) => {
      // A snapshot stands for all events up to its position: others are not kept.
      if (point.folded % limits.snapshotEvery !== 0) return;
      if (positions[point.folded - from.folded - 1] !== point.position) return;
      build.snapshots.put(stream, point);
    });
    if (outcome.refusedAt !== undefined) {
      stop(model, build, outcome.refusedAt);
      return;
    }
    if (outcome.incomplete) markIncomplete(build);
    build.table.put(stream, scope, outcome.point.state);
  }

  /** How many events of a stream stand before the first of these in canonical order. */
  function unchangedBefore(stream: string, arrived: ReadonlySet<number>): number {
    const ordered = inCanonicalOrder(readAll(deps.log, stream, 0));
    return Math.max(0, ordered.findIndex(({ position }) => arrived.has(position)));
  }

  function applyStream(model: Model, build: Build, stream: string, rows: readonly AppendedRow[]): boolean {
    if (build.stoppedAt !== undefined) return false;
    const inOrderOfArrival = rows.every((row) => comesLast(row.sealed.header, row.frontierBefore));
    if (!inOrderOfArrival) {
      refold(model, build, stream, unchangedBefore(stream, new Set(rows.map((row) => row.position))));
      return true;
    }
    const ofTypes = rows.some((row) => model.types.has(row.sealed.header.type));
    const last = rows.at(-1);
    invariant(last !== undefined, "a stream that is applied has rows");
    const folded = last.streamEvents;
    const crossing = Math.floor(folded / limits.snapshotEvery) > Math.floor((folded - rows.length) / limits.snapshotEvery);
    if (!ofTypes && !crossing) return false;
    const before = build.table.get(stream)?.state;
    const from: FoldPoint = {
      state: before,
      folded: folded - rows.length,
      position: 0,
      recorded: last.recordedBefore,
    };
    const events = rows.map((row) => deps.openAppended(row));
    const outcome = foldEvents(model.projection, from, events, (point) => {
      if (point.folded % limits.snapshotEvery === 0) build.snapshots.put(stream, point);
    });
    if (outcome.refusedAt !== undefined) stop(model, build, outcome.refusedAt);
    if (outcome.incomplete) markIncomplete(build);
    if (ofTypes) build.table.put(stream, last.sealed.header.scope, outcome.point.state);
    return ofTypes;
  }

  /** Applies appended events to a build; the streams whose rows may have changed. */
  function apply(model: Model, build: Build, appended: readonly AppendedRow[]): readonly string[] {
    const byStream = new Map<string, AppendedRow[]>();
    for (const row of appended) {
      const { stream } = row.sealed.header;
      // A stream that a build has not reached is folded when it is reached.
      if (build.state === "building" && stream > build.cursor) continue;
      const rows = byStream.get(stream);
      if (rows === undefined) byStream.set(stream, [row]);
      else rows.push(row);
    }
    const changed: string[] = [];
    for (const [stream, rows] of byStream) {
      if (applyStream(model, build, stream, rows)) changed.push(stream);
    }
    return changed;
  }

  return { apply, refold };
}

/** A quick look, without parsing, whether a header may be of the projection's types. */
function mentions(model: Model, headerText: string): boolean {
  for (const type of model.types) if (headerText.includes(`"type":"${type}"`)) return true;
  return false;
}

/** Checks a sample of a finished build against a second fold, then lets it answer in place of the old one. */
function swap(
  deps: ReadModelsDeps,
  model: Model,
  building: Build,
  folding: ReturnType<typeof createFolding>,
): void {
  const sample = deps.driver
    .prepare(`SELECT stream, state FROM ${building.table.name} ORDER BY random() LIMIT ?`)
    .all<{ stream: string; state: string }>(limits.rebuildSampleMax);
  for (const { stream, state } of sample) {
    folding.refold(model, building, stream, 0);
    const again = building.table.get(stream)?.state;
    if (building.stoppedAt === undefined && canonicalJson(again) !== canonicalJson(JSON.parse(state))) {
      throw new HoldfastError("projection_impure", { projection: model.projection.name });
    }
  }
  if (model.serving !== undefined) dropBuild(deps.driver, model.projection, model.serving);
  building.state = building.stoppedAt === undefined ? "current" : "stopped";
  saveBuild(deps.driver, building);
  model.serving = building;
  model.upToDate = true;
  model.building = undefined;
}

function loadModel(driver: SqliteDriver, projection: Projection, digest: string): Model {
  const rows = driver
    .prepare(
      `SELECT build, version, registry, columns, state, stopped_at, cursor, streams
       FROM projections WHERE name = ? ORDER BY build`,
    )
    .all<BuildRow>(projection.name);
  const isNow = (row: BuildRow): boolean =>
    row.version === projection.version && row.registry === digest;
  const served = rows.find((row) => row.state !== "building");
  const begun = rows.find((row) => row.state === "building" && isNow(row));
  // A build of another version answers as long as it has the columns that are asked for.
  const usable = served !== undefined && (isNow(served) || served.columns === columnsOf(projection));
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
    cursor: row.cursor,
    streams: row.streams,
  };
}

/** A new build without rows; builds of this model that were begun and given up go. */
function createBuild(driver: SqliteDriver, projection: Projection, digest: string): Build {
  const abandoned = driver
    .prepare("SELECT build FROM projections WHERE name = ? AND state = 'building'")
    .all<{ build: number }>(projection.name);
  for (const { build } of abandoned) dropBuild(driver, projection, { number: build, snapshots: createSnapshots(driver, build) });
  const number = count(driver, "SELECT coalesce(max(build), 0) + 1 AS value FROM projections");
  driver
    .prepare(
      `INSERT INTO projections (build, name, version, registry, columns, state, cursor, streams)
       VALUES (?, ?, ?, ?, ?, 'building', '', 0)`,
    )
    .run(number, projection.name, projection.version, digest, columnsOf(projection));
  createModelTable(driver, projection, number);
  return {
    number,
    table: openModelTable(driver, projection, number),
    snapshots: createSnapshots(driver, number),
    state: "building",
    stoppedAt: undefined,
    cursor: "",
    streams: 0,
  };
}

function dropBuild(
  driver: SqliteDriver,
  projection: Projection,
  build: Pick<Build, "number" | "snapshots">,
): void {
  build.snapshots.drop();
  dropModelTable(driver, projection, build.number);
  driver.prepare("DELETE FROM projections WHERE build = ?").run(build.number);
}

function saveBuild(driver: SqliteDriver, build: Build): void {
  driver
    .prepare("UPDATE projections SET state = ?, stopped_at = ?, cursor = ?, streams = ? WHERE build = ?")
    .run(build.state, build.stoppedAt ?? null, build.cursor, build.streams, build.number);
}

function count(driver: SqliteDriver, sql: string, ...values: readonly (string | number | null | Uint8Array)[]): number {
  return driver.prepare(sql).get<{ value: number }>(...values)?.value ?? 0;
}

/** Digest of what reading depends on besides the fold: part of a read model's version. */
function registryDigest(crypto: Crypto, registry: Registry): string {
  return hex(crypto.sha256(utf8(canonicalJson(registry.describe())))).slice(0, 32);
}
