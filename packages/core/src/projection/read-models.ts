/**
 * Read models on SQLite, updated in the append's transaction.
 *
 * A read model is *built*: one build has a table of its own. While a new version is built beside the old one,
 * the old one answers; the new one is swapped in, in one transaction, when it is complete and a sample of its
 * streams folds to the same rows again. A build goes on where it stopped. A fold that throws stops its
 * projection at that event until it is built again.
 */
import type { Registry } from "../event/registry.ts";
import { hex, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { AppendParticipant } from "../store/sqlite-event-log.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import {
  type Build,
  createBuild,
  dropBuild,
  dropOthers,
  loadModel,
  markOthersBehind,
  type Model,
  removeStreams,
  saveBuild,
} from "./builds.ts";
import { inOrder, matches } from "./condition.ts";
import { stateAsOf } from "./fold.ts";
import { createFolding, type Folding, type FoldingDeps } from "./folding.ts";
import type { StoredRow } from "./model-table.ts";
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
import {
  compileAggregate,
  compileCount,
  compileQuery,
  cursorAfter,
  searchExpression,
} from "./query.ts";

/** Where one read model stands. */
export interface ReadModelStatus {
  readonly name: string;
  readonly version: number;
  readonly state: "current" | "stopped" | "incomplete" | "building" | "stale";
  /** Position of the event that the fold refused. */
  readonly stoppedAt?: number;
}

/** One row that an append changed: how it is now. */
export interface TouchedRow {
  readonly model: string;
  readonly stream: string;
  readonly row: ModelRow | undefined;
}

/** The answer of one step of a rebuild. */
export interface BuildStep {
  readonly done: boolean;
  readonly streams: number;
  readonly total: number;
}

/** The read models of one open connection; see the module header. */
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
  /** Folds streams anew, in the caller's transaction: sections of theirs have been opened. */
  refold(streams: readonly string[]): void;
  /**
   * Takes everything about streams out of every build, whoever folds it, and folds anew what is left of them; in the
   * caller's transaction. Builds that nobody here folds are behind from then on.
   */
  shred(streams: readonly string[]): void;
  /** Is a build of this version and registry under way? */
  isBuilding(model: string): boolean;
  /** Models that are not up to date: another version built them, or nobody yet, or not to the end. */
  unfinished(): readonly string[];
  status(): readonly ReadModelStatus[];
  /** Rows that appends have changed since the last call, and models that were swapped as a whole. */
  takeTouched(): { readonly rows: readonly TouchedRow[]; readonly swapped: ReadonlySet<string> };
  /** Changes whenever another connection commits. */
  version(): number;
}

/** What read models need. */
export interface ReadModelsDeps extends FoldingDeps {
  readonly crypto: Crypto;
  readonly registry: Registry;
  readonly projections: readonly Projection[];
}

/** Read models over an event log; they take part in its appends. */
export function createReadModels(deps: ReadModelsDeps): ReadModels {
  const { driver } = deps;
  const digest = registryDigest(deps.crypto, deps.registry);
  const folding = createFolding(deps);
  const models = new Map<string, Model>();
  const touched = new Map<string, TouchedRow>();
  const swapped = new Set<string>();
  const dataVersion = driver.prepare("PRAGMA data_version");
  let seen = -1;
  let othersAreBehind = false;

  function version(): number {
    return dataVersion.get<{ data_version: number }>()?.data_version ?? 0;
  }

  /** Takes over what other connections did: they may have built, stopped or left a read model. */
  function sync(): void {
    const now = version();
    if (now === seen) return;
    // All or none: a model that could not be read must not count as one that nobody folds.
    const loaded = deps.projections.map((one) => loadModel(driver, one, digest));
    for (const model of loaded) models.set(model.projection.name, model);
    othersAreBehind = false;
    seen = now;
  }

  function modelOf(name: string): Model {
    sync();
    const model = models.get(name);
    if (model === undefined) throw new HoldfastError("model_unknown", { model: name.slice(0, 64) });
    return model;
  }

  function serving(name: string): { readonly model: Model; readonly build: Build } {
    const model = modelOf(name);
    if (model.serving === undefined) throw new HoldfastError("model_stale", { model: name });
    return { model, build: model.serving };
  }

  function foldedBuilds(): readonly (readonly [Model, Build])[] {
    return [...models.values()].flatMap((model) => {
      const live = model.upToDate ? [model.serving, model.building] : [model.building];
      return live.flatMap((build) => (build === undefined ? [] : [[model, build] as const]));
    });
  }

  function number(sql: string, ...values: readonly SqlValue[]): number {
    return driver.prepare(sql).get<{ value: number }>(...values)?.value ?? 0;
  }

  function page(name: string, query: PageQuery): ModelPage {
    const { model, build } = serving(name);
    const { sql, values } = compileQuery(model.projection, build.table.name, query);
    const stored = driver.prepare(sql).all<StoredRow>(...values);
    const rows = stored.map((row) => build.table.rowOf(row));
    const last = rows.at(-1);
    const full = last !== undefined && rows.length === (query.limit ?? limits.queryRowsDefault);
    return { rows, next: full ? cursorAfter(model.projection, query.order, last) : undefined };
  }

  function asOf(name: string, moment: Moment, query: ModelQuery): readonly ModelRow[] {
    const { model, build } = serving(name);
    // Conditions are checked before the fold, so that a bad one is refused and not merely unmet.
    compileQuery(model.projection, build.table.name, query);
    const rows: ModelRow[] = [];
    const take = (stream: string): void => {
      const row = rowAsOf(deps, model, build, stream, moment);
      if (row !== undefined && matches(row, query.where)) rows.push(row);
    };
    const named = query.where?.["stream"];
    if (typeof named === "string") take(named);
    else
      for (let after = ""; ;) {
        const streams = streamsAfter(driver, after, limits.queryRowsDefault);
        for (const stream of streams) take(stream);
        const last = streams.at(-1);
        if (last === undefined) break;
        after = last;
      }
    return inOrder(rows, query.order).slice(0, query.limit ?? limits.queryRowsDefault);
  }

  function touch(model: Model, build: Build, stream: string): void {
    if (build !== model.serving) return;
    const { name } = model.projection;
    touched.set(`${name}/${stream}`, { model: name, stream, row: build.table.get(stream) });
  }

  function stepBuild(name: string): BuildStep {
    const model = modelOf(name);
    const { building } = model;
    const total = number("SELECT count(*) AS value FROM streams");
    if (building === undefined) return { done: true, streams: total, total };
    const streams = streamsAfter(driver, building.cursor, limits.rebuildStreamsPerStep);
    foldMore(driver, folding, model, building, streams);
    if (streams.length > 0 && building.stoppedAt === undefined) {
      return { done: false, streams: building.streams, total };
    }
    checkSample(driver, folding, model, building);
    swapIn(driver, model, building);
    swapped.add(name);
    return { done: true, streams: total, total };
  }

  /** What nobody here folds is not up to date any more. */
  function leaveOthersBehind(): void {
    if (othersAreBehind) return;
    const folded = foldedBuilds().map(([, build]) => build);
    markOthersBehind(driver, folded);
    othersAreBehind = true;
    for (const model of models.values()) if (!model.upToDate) model.serving = undefined;
  }

  function refold(streams: readonly string[]): void {
    sync();
    const each = foldedBuilds().flatMap(([model, build]) =>
      reached(build, streams).map((stream) => [model, build, stream] as const),
    );
    for (const [model, build, stream] of each) {
      folding.refold(model, build, stream, 0);
      touch(model, build, stream);
    }
  }

  return {
    name: "projections",
    apply(appended) {
      sync();
      // What a commit changed was taken after it: anything left is of an append that was rolled back.
      touched.clear();
      const folded = foldedBuilds();
      leaveOthersBehind();
      for (const [model, build] of folded) {
        for (const stream of folding.apply(model, build, appended)) touch(model, build, stream);
      }
    },
    takeTouched() {
      const taken = { rows: [...touched.values()], swapped: new Set(swapped) };
      touched.clear();
      swapped.clear();
      return taken;
    },
    version,
    query: (name, query) => page(name, query).rows,
    page,
    aggregate(name, query) {
      const { model, build } = serving(name);
      const { sql, values } = compileAggregate(model.projection, build.table.name, query);
      return driver.prepare(sql).all<AggregateRow>(...values);
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
      return number(sql, ...values);
    },
    asOf,
    explain(name, query) {
      const { model, build } = serving(name);
      const { sql, values } = compileQuery(model.projection, build.table.name, query);
      const steps = driver.prepare(`EXPLAIN QUERY PLAN ${sql}`).all<{ detail: string }>(...values);
      return steps.map(({ detail }) => detail);
    },
    beginBuild(name) {
      const model = modelOf(name);
      if (model.building !== undefined) dropBuild(driver, model.projection, model.building.number);
      model.building = createBuild(driver, model.projection, digest);
    },
    stepBuild,
    refold,
    shred(streams) {
      sync();
      removeStreams(driver, streams);
      leaveOthersBehind();
      refold(streams);
    },
    isBuilding: (name) => modelOf(name).building !== undefined,
    unfinished() {
      sync();
      const unfinished = [...models.values()].filter(
        (model) => !model.upToDate || model.building !== undefined,
      );
      return unfinished.map((model) => model.projection.name);
    },
    status() {
      sync();
      return [...models.values()].map((model) => statusOf(model));
    },
  };
}

function streamsAfter(driver: SqliteDriver, after: string, limit: number): readonly string[] {
  return driver
    .prepare("SELECT stream FROM streams WHERE stream > ? ORDER BY stream LIMIT ?")
    .all<{ stream: string }>(after, limit)
    .map(({ stream }) => stream);
}

/** One row as it was at a moment. */
function rowAsOf(
  deps: ReadModelsDeps,
  model: Model,
  build: Build,
  stream: string,
  moment: Moment,
): ModelRow | undefined {
  const head = deps.log.streams.get(stream);
  if (head === undefined) return undefined;
  const { projection } = model;
  const state = stateAsOf(deps, projection, build.snapshots, stream, moment);
  if (state === undefined) return undefined;
  return { stream, scope: head.scope, columns: projection.row(state), state };
}

/** A stream that a build has not reached is folded when it is reached. */
function reached(build: Build, streams: readonly string[]): readonly string[] {
  return build.state === "building" ? streams.filter((stream) => stream <= build.cursor) : streams;
}

/** Folds streams into a build, in order, and remembers how far it is. */
function foldMore(
  driver: SqliteDriver,
  folding: Folding,
  model: Model,
  building: Build,
  streams: readonly string[],
): void {
  for (const stream of streams) {
    folding.refold(model, building, stream, 0);
    building.cursor = stream;
    building.streams += 1;
  }
  saveBuild(driver, building);
}

/** Folds a sample of a finished build once more: a fold that is not pure must not be swapped in. */
function checkSample(driver: SqliteDriver, folding: Folding, model: Model, building: Build): void {
  if (building.stoppedAt !== undefined) return;
  const sample = driver
    .prepare(`SELECT stream, state FROM ${building.table.name} ORDER BY random() LIMIT ?`)
    .all<{ stream: string; state: string }>(limits.rebuildSampleMax);
  for (const { stream, state } of sample) {
    folding.refold(model, building, stream, 0);
    const again = canonicalJson(building.table.get(stream)?.state);
    if (again !== canonicalJson(JSON.parse(state))) {
      throw new HoldfastError("projection_impure", { projection: model.projection.name });
    }
  }
}

/** Lets a finished build answer in place of the old one. */
function swapIn(driver: SqliteDriver, model: Model, building: Build): void {
  dropOthers(driver, model.projection, building);
  building.state = building.stoppedAt === undefined ? "current" : "stopped";
  saveBuild(driver, building);
  model.serving = building;
  model.upToDate = true;
  model.building = undefined;
}

function statusOf({ projection, serving, upToDate, building }: Model): ReadModelStatus {
  const { name, version } = projection;
  if (building !== undefined) return { name, version, state: "building" };
  if (serving === undefined || !upToDate) return { name, version, state: "stale" };
  const { state, stoppedAt, incomplete } = serving;
  if (stoppedAt !== undefined) return { name, version, state: "stopped", stoppedAt };
  if (state !== "current") return { name, version, state: "stale" };
  return { name, version, state: incomplete ? "incomplete" : "current" };
}

/** Digest of what reading depends on besides the fold: part of a read model's version. */
function registryDigest(crypto: Crypto, registry: Registry): string {
  return hex(crypto.sha256(utf8(canonicalJson(registry.describe())))).slice(0, 32);
}
