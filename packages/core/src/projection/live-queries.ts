/**
 * Live queries: whoever subscribes is told what changed in the answer, exactly once for each change, after it
 * is durable. Changes of one turn come together. What other processes write is seen by polling SQLite's
 * `data_version`; a hint, so the answer is then asked for anew and compared.
 */
import type { Timers } from "../std/ports.ts";
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
  close(): void;
}

interface Subscription {
  readonly model: string;
  readonly query: ModelQuery;
  readonly listener: ModelListener;
  rows: Map<string, ModelRow>;
}

export function createLiveQueries(deps: {
  readonly timers: Timers;
  readonly models: () => Pick<ReadModels, "query" | "version">;
}): LiveQueries {
  const subscriptions = new Set<Subscription>();
  let pending = new Map<string, TouchedRow>();
  let swapped = new Set<string>();
  let scheduled = false;
  let version = -1;
  let cancelPoll: (() => void) | undefined;

  function answer({ model, query }: Pick<Subscription, "model" | "query">) {
    const rows = deps.models().query(model, query);
    return new Map(rows.map((row) => [row.stream, row]));
  }

  function tellAll(one: Subscription): void {
    const before = one.rows;
    one.rows = answer(one);
    tell(one, differences(before, one.rows));
  }

  /** Tells what some rows change; costs what these rows cost, however many the answer has. */
  function tellTouched(one: Subscription, rows: readonly TouchedRow[]): void {
    const concerned = rows.filter(
      ({ stream, row }) =>
        one.rows.has(stream) || (row !== undefined && matches(row, one.query.where)),
    );
    if (concerned.length === 0) return;
    // Which rows stand within a limit depends on all others.
    if (one.query.limit !== undefined) {
      tellAll(one);
      return;
    }
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
    tell(one, differences(before, after));
  }

  function tell(one: Subscription, change: ModelChange | undefined): void {
    if (change !== undefined) one.listener(change);
  }

  function flush(): void {
    scheduled = false;
    const touched = pending;
    const resets = swapped;
    pending = new Map();
    swapped = new Set();
    const byModel = Map.groupBy(touched.values(), ({ model }) => model);
    for (const one of subscriptions) {
      if (resets.has(one.model)) tellAll(one);
      else {
        const rows = byModel.get(one.model);
        if (rows !== undefined) tellTouched(one, rows);
      }
    }
  }

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    deps.timers.soon(flush);
  }

  function poll(): void {
    cancelPoll = undefined;
    if (subscriptions.size === 0) return;
    const now = deps.models().version();
    if (now !== version) {
      version = now;
      for (const { model } of subscriptions) swapped.add(model);
      schedule();
    }
    cancelPoll = deps.timers.after(limits.livePollMs, poll, true);
  }

  return {
    subscribe(model, query, listener) {
      const one: Subscription = { model, query, listener, rows: new Map() };
      tellAll(one);
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
