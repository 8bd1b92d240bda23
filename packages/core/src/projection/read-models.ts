/**
 * Read models on SQLite: one table per projection, one row per stream, updated in the append's transaction.
 *
 * An event that comes last in canonical order (its version vector covers the stream's frontier) is folded
 * onto the stored state; any other makes its stream fold anew. A fold that throws stops its projection at
 * that event until it is built again.
 */
import { canonicalOrder } from "../event/canonical-order.ts";
import { type Header, originKey, type RecordedEvent } from "../event/event.ts";
import type { Registry } from "../event/registry.ts";
import { hex, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { StoredEvent } from "../store/event-log.ts";
import { modelTablePrefix } from "../store/schema.ts";
import {
  type AppendedRow,
  type AppendParticipant,
  type SqliteEventLog,
  inTransaction,
} from "../store/sqlite-event-log.ts";
import type { SqliteDriver, SqlStatement, SqlValue } from "../store/sqlite-driver.ts";
import type { ColumnType, ColumnValue, ModelQuery, ModelRow, Projection } from "./projection.ts";
import { compileCount, compileQuery } from "./query.ts";

export interface ReadModelStatus {
  readonly name: string;
  readonly version: number;
  readonly state: "current" | "stopped" | "incomplete" | "stale";
  readonly stoppedAt?: number;
}

export interface ReadModels extends AppendParticipant {
  query(model: string, query: ModelQuery): readonly ModelRow[];
  row(model: string, stream: string): ModelRow | undefined;
  count(model: string, query: Pick<ModelQuery, "where">): number;
  /** Empties the read model and projects it from the first event, in one transaction. */
  rebuild(model: string, onProgress?: (done: number, total: number) => void): void;
  /** Names of the models that another version of projection or registry built, or nobody yet. */
  stale(): readonly string[];
  status(): readonly ReadModelStatus[];
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

interface Model {
  readonly projection: Projection;
  readonly table: string;
  readonly types: ReadonlySet<string>;
  state: ReadModelStatus["state"];
  stoppedAt: number | undefined;
  /** Prepared once the table is there. */
  select?: SqlStatement;
  upsert?: SqlStatement;
  remove?: SqlStatement;
}

interface ProjectionRow {
  readonly version: number;
  readonly registry: string;
  readonly state: "current" | "stopped" | "incomplete";
  readonly stopped_at: number | null;
}

export function createReadModels(deps: ReadModelsDeps): ReadModels {
  const { driver, log } = deps;
  const digest = registryDigest(deps.crypto, deps.registry);
  const models = new Map(deps.projections.map((p) => [p.name, loadModel(driver, p, digest)]));

  function modelOf(name: string): Model {
    const model = models.get(name);
    if (model === undefined) throw new HoldfastError("model_unknown", { model: name.slice(0, 64) });
    return model;
  }

  function readable(name: string): Model {
    const model = modelOf(name);
    adopt(driver, model, digest);
    if (model.state === "stale") throw new HoldfastError("model_stale", { model: name });
    return model;
  }

  function setState(model: Model, state: "current" | "stopped" | "incomplete", at?: number): void {
    model.state = state;
    model.stoppedAt = at;
    driver
      .prepare(
        `INSERT INTO projections (name, version, registry, state, stopped_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, registry = excluded.registry,
           state = excluded.state, stopped_at = excluded.stopped_at`,
      )
      .run(model.projection.name, model.projection.version, digest, state, at ?? null);
  }

  function stop(model: Model, position: number): void {
    deps.observer.count("projection_stopped", 1);
    deps.observer.log("error", "projection_stopped", { projection: model.projection.name });
    setState(model, "stopped", position);
  }

  /** Folds one more event; `undefined` when the fold refused it and the projection stopped. */
  function advance(
    model: Model,
    state: unknown,
    event: RecordedEvent,
  ): { readonly state: unknown } | undefined {
    try {
      return { state: model.projection.fold(state, event) };
    } catch {
      stop(model, event.position);
      return undefined;
    }
  }

  /** Stores the state after the event at `position`; one that makes no row stops the projection there. */
  function store(model: Model, stream: string, { scope, state, position }: FoldedStream): void {
    if (state === undefined) {
      model.remove?.run(stream);
      return;
    }
    const row = rowOf(model.projection, state);
    if (row === undefined) stop(model, position);
    else model.upsert?.run(stream, scope, row.json, ...row.values);
  }

  function storedState(model: Model, stream: string): unknown {
    const row = model.select?.get<{ state: string }>(stream);
    return row === undefined ? undefined : JSON.parse(row.state);
  }

  /** The state of a stream from its first event, in canonical order. */
  function refold(model: Model, stream: string): void {
    const events = canonicalOrder(readAll(log, { stream }).map((stored) => deps.open(stored)));
    let state: unknown;
    let position = 0;
    for (const event of events) {
      if (!model.types.has(event.type)) continue;
      if (!event.known) {
        setState(model, "incomplete");
        continue;
      }
      const next = advance(model, state, event);
      if (next === undefined) return;
      state = next.state;
      position = event.position;
    }
    const scope = events[0]?.scope ?? "";
    store(model, stream, { scope, state, position });
  }

  function applyTo(model: Model, appended: readonly AppendedRow[]): void {
    const states = new Map<string, FoldedStream>();
    const anew = new Set<string>();
    for (const row of appended) {
      const { header } = row.sealed;
      if (!model.types.has(header.type) || model.state === "stopped") continue;
      if (anew.has(header.stream)) continue;
      if (!comesLast(header, row.frontierBefore)) {
        anew.add(header.stream);
        states.delete(header.stream);
        continue;
      }
      const known = states.get(header.stream);
      const before = known === undefined ? storedState(model, header.stream) : known.state;
      const next = advance(model, before, deps.openAppended(row));
      if (next === undefined) break;
      states.set(header.stream, {
        scope: header.scope,
        state: next.state,
        position: row.position,
      });
    }
    for (const [stream, folded] of states) store(model, stream, folded);
    for (const stream of anew) if (model.state !== "stopped") refold(model, stream);
  }

  function rebuild(name: string, onProgress?: (done: number, total: number) => void): void {
    const model = modelOf(name);
    inTransaction(driver, () => {
      createTable(driver, model);
      setState(model, "current");
      const streams = driver
        .prepare("SELECT stream FROM streams ORDER BY stream")
        .all<{ stream: string }>();
      for (const [done, { stream }] of streams.entries()) {
        if ((model.state as string) === "stopped") break;
        refold(model, stream);
        if (done % 500 === 0) onProgress?.(done, streams.length);
      }
      onProgress?.(streams.length, streams.length);
    });
  }

  return {
    name: "projections",
    apply(appended) {
      for (const model of models.values()) adopt(driver, model, digest);
      forgetOthers(driver, models);
      for (const model of models.values()) if (model.state !== "stale") applyTo(model, appended);
    },
    query(name, query) {
      const model = readable(name);
      const { sql, values } = compileQuery(model.projection, model.table, query);
      return driver
        .prepare(sql)
        .all<StoredRow>(...values)
        .map((row) => modelRow(model, row));
    },
    row(name, stream) {
      const model = readable(name);
      const row = model.select?.get<StoredRow>(stream);
      return row === undefined ? undefined : modelRow(model, row);
    },
    count(name, query) {
      const model = readable(name);
      const { sql, values } = compileCount(model.projection, model.table, query);
      return driver.prepare(sql).get<{ value: number }>(...values)?.value ?? 0;
    },
    rebuild,
    stale: () =>
      [...models.values()].filter((m) => m.state === "stale").map((m) => m.projection.name),
    status: () =>
      [...models.values()].map((model) => {
        adopt(driver, model, digest);
        const { projection, state, stoppedAt } = model;
        return {
          name: projection.name,
          version: projection.version,
          state,
          ...(stoppedAt !== undefined && { stoppedAt }),
        };
      }),
  };
}

type StoredRow = Readonly<Record<string, ColumnValue>> & {
  readonly stream: string;
  readonly scope: string;
  readonly state: string;
};

function modelRow(model: Model, row: StoredRow): ModelRow {
  const columns = Object.fromEntries(
    Object.keys(model.projection.columns).map((name) => [name, row[name] ?? null]),
  );
  return {
    stream: row.stream,
    scope: row.scope,
    columns,
    state: JSON.parse(row.state) as unknown,
  };
}

/** The state of a stream after its event at `position`. */
interface FoldedStream {
  readonly scope: string;
  readonly state: unknown;
  readonly position: number;
}

/** What is stored of a state; `undefined` when the projection made no row of it, or one of other types. */
function rowOf(
  projection: Projection,
  state: unknown,
): { readonly json: string; readonly values: readonly SqlValue[] } | undefined {
  try {
    const json = JSON.stringify(state) as string | undefined;
    const row = projection.row(state);
    const columns = Object.entries(projection.columns);
    const values = columns.map(([name]): SqlValue => row[name] ?? null);
    const fits = columns.every(([, type], at) => fitsColumn(type, values[at] ?? null));
    return json === undefined || !fits ? undefined : { json, values };
  } catch {
    return undefined;
  }
}

function fitsColumn(type: ColumnType, value: SqlValue): boolean {
  if (value === null) return true;
  if (type === "text") return typeof value === "string";
  return type === "integer" ? Number.isSafeInteger(value) : Number.isFinite(value);
}

/** Does everything that the stream held before lie in this event's past? */
function comesLast(header: Header, frontier: Readonly<Record<string, number>>): boolean {
  const own = originKey(header.dev, header.inc);
  return Object.entries(frontier).every(
    ([origin, count]) => origin === own || (header.vv?.[origin] ?? 0) >= count,
  );
}

function loadModel(driver: SqliteDriver, projection: Projection, digest: string): Model {
  const model: Model = {
    projection,
    table: modelTablePrefix + projection.name,
    types: new Set(projection.types),
    state: "stale",
    stoppedAt: undefined,
  };
  adopt(driver, model, digest);
  return model;
}

/** Takes over what the store says of a read model: another process may have built, stopped or left it. */
function adopt(driver: SqliteDriver, model: Model, digest: string): void {
  const row = driver
    .prepare("SELECT version, registry, state, stopped_at FROM projections WHERE name = ?")
    .get<ProjectionRow>(model.projection.name);
  const current = row?.version === model.projection.version && row.registry === digest;
  model.state = current ? row.state : "stale";
  model.stoppedAt = current ? (row.stopped_at ?? undefined) : undefined;
  if (current && model.select === undefined) prepareModel(driver, model);
}

/** Read models that the running append does not fold onto are behind from now on: built anew when next asked for. */
function forgetOthers(driver: SqliteDriver, models: ReadonlyMap<string, Model>): void {
  const rows = driver.prepare("SELECT name FROM projections").all<{ name: string }>();
  for (const { name } of rows) {
    if ((models.get(name)?.state ?? "stale") !== "stale") continue;
    driver.prepare("DELETE FROM projections WHERE name = ?").run(name);
  }
}

function createTable(driver: SqliteDriver, model: Model): void {
  const columns = Object.entries(model.projection.columns);
  const declared = columns.map(([name, type]) => `, "${name}" ${type.toUpperCase()}`).join("");
  driver.exec(
    `DROP TABLE IF EXISTS ${model.table};
     CREATE TABLE ${model.table} (
       stream TEXT PRIMARY KEY, scope TEXT NOT NULL, state TEXT NOT NULL CHECK (json_valid(state))${declared}
     ) STRICT;`,
  );
  for (const [name] of columns) {
    driver.exec(`CREATE INDEX "${model.table}_by_${name}" ON ${model.table} ("${name}")`);
  }
  prepareModel(driver, model);
}

function prepareModel(driver: SqliteDriver, model: Model): void {
  const names = Object.keys(model.projection.columns);
  const quoted = names.map((name) => `, "${name}"`).join("");
  const updates = ["state", ...names].map((name) => `"${name}" = excluded."${name}"`).join(", ");
  model.select = driver.prepare(
    `SELECT stream, scope, state${quoted} FROM ${model.table} WHERE stream = ?`,
  );
  model.upsert = driver.prepare(
    `INSERT INTO ${model.table} (stream, scope, state${quoted})
     VALUES (?, ?, ?${names.map(() => ", ?").join("")}) ON CONFLICT (stream) DO UPDATE SET ${updates}`,
  );
  model.remove = driver.prepare(`DELETE FROM ${model.table} WHERE stream = ?`);
}

/** Digest of what reading depends on besides the fold: part of a read model's version. */
function registryDigest(crypto: Crypto, registry: Registry): string {
  return hex(crypto.sha256(utf8(canonicalJson(registry.describe())))).slice(0, 32);
}

/** All events of a filter, page by page. */
function readAll(log: SqliteEventLog, filter: { readonly stream: string }): readonly StoredEvent[] {
  const events: StoredEvent[] = [];
  for (let after = 0; ;) {
    const page = log.read({ ...filter, after, limit: limits.queryRowsDefault });
    events.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < limits.queryRowsDefault) return events;
    after = last.position;
  }
}
