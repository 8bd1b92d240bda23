/** Reading models: queries, rows from memory, the past, live queries. */
import { createLiveQueries } from "../projection/live-queries.ts";
import type { ModelChange, ModelPage, ModelRow } from "../projection/projection.ts";
import { createRowCache } from "../projection/row-cache.ts";
import { limits } from "../std/limits.ts";
import type { Holdfast } from "./holdfast.ts";
import type { StoreLife } from "./store-life.ts";

type ModelReader = Pick<
  Holdfast,
  "query" | "row" | "count" | "page" | "aggregate" | "search" | "asOf" | "subscribe" | "explain"
>;

/** `streamOf`: the id of a stream from its id or its words. */
export function createModelReader(
  life: StoreLife,
  streamOf: (text: string) => string,
): ModelReader & { readonly close: () => void } {
  const models = () => life.current().models;
  const cache = createRowCache(life.deps.clock);
  const live = createLiveQueries({ timers: life.deps.timers, models });
  life.listeners.add({
    committed(changed) {
      const taken = changed.takeTouched();
      cache.forget(taken.rows, taken.swapped);
      live.committed(taken);
    },
    reopened() {
      cache.clear();
      live.reopened();
    },
  });
  return {
    query: <State>(...[model, query = {}]: Parameters<Holdfast["query"]>) =>
      models().query(model, query) as readonly ModelRow<State>[],
    row<State>(model: string, stream: string) {
      const id = streamOf(stream);
      const now = models();
      const row = cache.get(model, id, now.version(), () => now.row(model, id));
      return row as ModelRow<State> | undefined;
    },
    count: (model, query = {}) => models().count(model, query),
    page: <State>(...[model, query = {}]: Parameters<Holdfast["page"]>) =>
      models().page(model, query) as ModelPage<State>,
    aggregate: (model, query) => models().aggregate(model, query),
    search: <State>(...[model, words, options = {}]: Parameters<Holdfast["search"]>) =>
      models().search(
        model,
        words,
        options.limit ?? limits.queryRowsDefault,
      ) as readonly ModelRow<State>[],
    asOf<State>(...[model, moment, query = {}]: Parameters<Holdfast["asOf"]>) {
      const stream = query.where?.["stream"];
      const where =
        typeof stream === "string" ? { ...query.where, stream: streamOf(stream) } : query.where;
      const asked = where === undefined ? query : { ...query, where };
      return models().asOf(model, moment, asked) as readonly ModelRow<State>[];
    },
    subscribe: (model, query, listener) =>
      live.subscribe(model, query, (change) => {
        // The type of the state is what the caller says of its own model.
        listener(change as ModelChange<never>);
      }),
    explain: (model, query) => models().explain(model, query),
    close: live.close,
  };
}
