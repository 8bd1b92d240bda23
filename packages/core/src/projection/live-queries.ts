/**
 * Live queries: whoever subscribes is told what changed in the answer, exactly once for each change, after it
 * is durable. Changes of one turn come together. What other processes write is seen by polling SQLite's
 * `data_version`; a hint, so the answer is then asked for anew and compared.
 */
import type { Timers } from "../std/ports.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { canonicalJson } from "../std/jcs.ts";
import { matches } from "./condition.ts";
import type { ModelChange, ModelQuery, ModelRow } from "./projection.ts";
import type { ReadModels, TouchedRow } from "./read-models.ts";

export type ModelListener = (change: ModelChange) => void;

export interface LiveQueries {
  /** The first call brings the whole answer as added, before this returns. */
  subscribe(model: string, query: ModelQuery, listener: ModelListener): () => void;
  /** After a commit of this process: tells subscribers, once the present turn is over. */
  committed(taken: ReturnType<ReadModels["takeTouched"]>): void;
  /** Another connection serves from now on: what the last one did not tell of is asked for at the next poll. */
  reopened(): void;
  close(): void;
}

interface Subscription {
  readonly model: string;
  readonly query: ModelQuery;
  readonly listener: ModelListener;
  rows: Map<string, ModelRow>;
}

/** Of no connection: the next poll asks for every answer anew. */
const unknownVersion = -1;

export function createLiveQueries(deps: {
  readonly timers: Timers;
  readonly models: () => Pick<ReadModels, "query" | "version">;
}): LiveQueries {
  const subscriptions = new Set<Subscription>();
  let pending = new Map<string, TouchedRow>();
  let swapped = new Set<string>();
  let scheduled = false;
  let version = unknownVersion;
  let cancelPoll: (() => void) | undefined;

  function answer({ model, query }: Pick<Subscription, "model" | "query">) {
    const rows = deps.models().query(model, query);
    return new Map(rows.map((row) => [row.stream, row]));
  }

  /** Asks for the whole answer anew. */
  function changeOfAll(one: Subscription): ModelChange | undefined {
    const next = answer(one);
    const change = differences(one.rows, next);
    one.rows = next;
    return change;
  }

  /** What some changed rows change in the answer: costs what changed, not what the answer holds. */
  function changeOf(one: Subscription, rows: readonly TouchedRow[]): ModelChange | undefined {
    const concerned = rows.filter(
      ({ stream, row }) =>
        one.rows.has(stream) || (row !== undefined && matches(row, one.query.where)),
    );
    if (concerned.length === 0) return undefined;
    // Which rows stand within a limit depends on all others; without one, the default limit holds.
    const most = one.rows.size + concerned.length;
    if (one.query.limit !== undefined || most > limits.queryRowsDefault) return changeOfAll(one);
    const before = new Map<string, ModelRow>();
    const after = new Map<string, ModelRow>();
    for (const { stream, row } of concerned) {
      const old = one.rows.get(stream);
      if (old !== undefined) before.set(stream, old);
      if (row !== undefined && matches(row, one.query.where)) {
        after.set(stream, row);
        one.rows.set(stream, row);
      } else one.rows.delete(stream);
    }
    return differences(before, after);
  }

  /**
   * `undefined` when the store cannot be read just now: a later poll asks again. While nobody keeps the model
   * up to date there is nothing to ask; whoever builds it commits, which the poll sees.
   */
  function whileReadable<T>(read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      if (error.code !== "model_stale") version = unknownVersion;
      return undefined;
    }
  }

  function flush(): void {
    scheduled = false;
    const touched = pending;
    const resets = swapped;
    pending = new Map();
    swapped = new Set();
    const byModel = Map.groupBy(touched.values(), ({ model }) => model);
    const failures: unknown[] = [];
    for (const one of subscriptions) {
      const rows = byModel.get(one.model) ?? [];
      if (!resets.has(one.model) && rows.length === 0) continue;
      const change = whileReadable(() =>
        resets.has(one.model) ? changeOfAll(one) : changeOf(one, rows),
      );
      if (change === undefined) continue;
      try {
        one.listener(change);
      } catch (error) {
        failures.push(error);
      }
    }
    // A listener that fails is the application's to hear of, after all others have been told.
    if (failures.length > 0) throw failures[0];
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    deps.timers.soon(flush);
  }

  function poll(): void {
    cancelPoll = undefined;
    if (subscriptions.size === 0) return;
    const now = whileReadable(() => deps.models().version());
    if (now !== undefined && now !== version) {
      version = now;
      for (const { model } of subscriptions) swapped.add(model);
      schedule();
    }
    cancelPoll = deps.timers.after(limits.livePollMs, poll, true);
  }

  return {
    subscribe(model, query, listener) {
      const one: Subscription = { model, query, listener, rows: new Map() };
      const first = changeOfAll(one);
      if (first !== undefined) listener(first);
      subscriptions.add(one);
      if (cancelPoll === undefined) {
        version = deps.models().version();
        cancelPoll = deps.timers.after(limits.livePollMs, poll, true);
      }
      return () => {
        subscriptions.delete(one);
        if (subscriptions.size > 0) return;
        cancelPoll?.();
        cancelPoll = undefined;
      };
    },
    committed(taken) {
      if (subscriptions.size === 0) return;
      for (const row of taken.rows) pending.set(`${row.model}/${row.stream}`, row);
      for (const model of taken.swapped) swapped.add(model);
      if (pending.size + swapped.size > 0) schedule();
    },
    reopened() {
      version = unknownVersion;
    },
    close() {
      subscriptions.clear();
      cancelPoll?.();
      cancelPoll = undefined;
    },
  };
}

function differences(
  before: ReadonlyMap<string, ModelRow>,
  after: ReadonlyMap<string, ModelRow>,
): ModelChange | undefined {
  const added: ModelRow[] = [];
  const changed: ModelRow[] = [];
  for (const [stream, row] of after) {
    const old = before.get(stream);
    if (old === undefined) added.push(row);
    else if (old !== row && canonicalJson(old.state) !== canonicalJson(row.state))
      changed.push(row);
  }
  const removed = [...before.values()].filter(({ stream }) => !after.has(stream));
  if (added.length + changed.length + removed.length === 0) return undefined;
  return { added, changed, removed };
}
