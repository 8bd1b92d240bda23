/** Live queries, rows kept in memory and full-text search, on real stores. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import type { Draft, Holdfast } from "@holdfast/core";
import {
  createChance,
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createTestStore,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { createLiveQueries } from "./live-queries.ts";
import {
  defineProjection,
  type ModelChange,
  type ModelQuery,
  type ModelRow,
} from "./projection.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-live-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

interface Last {
  readonly text: string;
  readonly size: number;
}

const last = defineProjection<Last>({
  name: "last",
  version: 1,
  types: ["NoteTaken"],
  columns: { text: "text", size: "integer" },
  searchFields: ["body"],
  fold(_, event) {
    const { text } = event.data as { readonly text: string };
    return text === "forget" ? undefined : { text, size: text.length };
  },
  row: ({ text, size }) => ({ text, size }),
  search: ({ text }) => ({ body: text }),
});

async function made() {
  const path = join(folder, `store-${files++}.db`);
  const clock = createManualClock();
  let create = true;
  const test = await createTestStore({
    crypto: createNodeCrypto(),
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey, { readOnly }) {
      const driver = openSqlite({ path, pageKey, readOnly, create });
      create = false;
      return driver;
    },
  });
  const registry = createNoteRegistry();
  const open: typeof test.open = (more = {}) =>
    test.open({ registry, projections: [last], ...more });
  return { clock, open };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A subscriber that keeps the answer by what it is told, and refuses to be told nonsense. */
function follow(store: Holdfast, query: ModelQuery) {
  const rows = new Map<string, ModelRow<Last>>();
  const changes: ModelChange<Last>[] = [];
  const end = store.subscribe<Last>("last", query, (change) => {
    changes.push(change);
    const { added, changed, removed } = change;
    expect(added.length + changed.length + removed.length).toBeGreaterThan(0);
    for (const row of added) {
      expect(rows.has(row.stream)).toBe(false);
      rows.set(row.stream, row);
    }
    for (const row of changed) {
      expect(rows.get(row.stream)?.state).not.toEqual(row.state);
      expect(rows.has(row.stream)).toBe(true);
      rows.set(row.stream, row);
    }
    for (const row of removed) expect(rows.delete(row.stream)).toBe(true);
  });
  const answer = (): readonly ModelRow<Last>[] =>
    [...rows.values()].toSorted((a, b) => (a.stream < b.stream ? -1 : 1));
  return { changes, answer, end };
}

const asked = (store: Holdfast, query: ModelQuery): readonly ModelRow<Last>[] =>
  store.query<Last>("last", query).toSorted((a, b) => (a.stream < b.stream ? -1 : 1));

describe("live queries", () => {
  it("bring the answer at once, then exactly what changed, all of one turn together", async () => {
    const { open } = await made();
    const store = await open();
    await store.append([note("a", "x"), note("b", "yy")]);
    await turn();
    const { changes, end } = follow(store, { where: { size: { lte: 2 } } });
    expect(changes).toMatchObject([{ changed: [], removed: [] }]);
    expect(changes[0]?.added).toHaveLength(2);
    await Promise.all([
      store.append(note("a", "zzz")),
      store.append([note("c", "q"), note("b", "rr")]),
      store.append(note("d", "much too long")),
    ]);
    await turn();
    expect(changes.slice(1)).toMatchObject([
      {
        added: [{ stream: store.streamId("c") }],
        changed: [{ stream: store.streamId("b"), state: { text: "rr" } }],
        removed: [{ stream: store.streamId("a") }],
      },
    ]);
    await store.append(note("b", "rr"));
    await turn();
    expect(changes).toHaveLength(2);
    end();
    await store.append(note("b", "s"));
    await turn();
    expect(changes).toHaveLength(2);
    await store.close();
  });

  it("added up are the answer, for any appends and queries, with limits, rebuilds and unsubscribers", async () => {
    const queries: readonly ModelQuery[] = [
      {},
      { where: { size: { gt: 1 } } },
      { where: { text: { in: ["a", "bb"] } } },
      { order: ["-size"], limit: 3 },
      { where: { size: 2 }, order: ["text"], limit: 2 },
    ];
    const { open } = await made();
    const store = await open();
    for (let seed = 0; seed < 6; seed++) {
      const chance = createChance(seed);
      const followers = queries.map((query) => ({ query, ...follow(store, query) }));
      for (let step = 0; step < 8; step++) {
        const drafts = Array.from({ length: 1 + chance.integer(4) }, (): Draft => {
          const text = chance.pick(["a", "bb", "ccc", "dd", "forget"]);
          return note(`s${chance.integer(8)}`, text);
        });
        const appended = store.append(drafts);
        if (chance.oneIn(3)) await turn();
        if (chance.oneIn(4)) followers.push({ query: {}, ...follow(store, {}) });
        await appended;
        if (chance.oneIn(5)) await store.rebuild("last");
      }
      await turn();
      for (const { query, answer, end } of followers) {
        expect(answer(), JSON.stringify(query)).toEqual(asked(store, query));
        end();
      }
    }
    await store.close();
  });

  it("without a limit hold as many rows as a query without one", async () => {
    const { open } = await made();
    const store = await open();
    const size = limits.queryRowsDefault;
    await store.append(Array.from({ length: size - 1 }, (_, at) => note(`s${at}`, "x")));
    await turn();
    const { answer, end } = follow(store, {});
    await store.append(Array.from({ length: 3 }, (_, at) => note(`more${at}`, "x")));
    await turn();
    expect(answer()).toHaveLength(size);
    expect(answer()).toEqual(asked(store, {}));
    await store.append([note("s1", "forget"), note("s2", "forget")]);
    await turn();
    expect(answer()).toEqual(asked(store, {}));
    end();
    await store.close();
  });

  it("see what another connection commits, by polling", async () => {
    const { clock, open } = await made();
    const writer = await open();
    await writer.append(note("a", "x"));
    const reader = await open({ readOnly: true });
    const { changes, answer, end } = follow(reader, {});
    await writer.append([note("a", "y"), note("b", "z")]);
    await turn();
    expect(changes).toHaveLength(1);
    clock.advance(limits.livePollMs);
    await turn();
    expect(answer()).toEqual(asked(writer, {}));
    expect(changes).toHaveLength(2);
    clock.advance(limits.livePollMs * 3);
    await turn();
    expect(changes).toHaveLength(2);
    end();
    await writer.append(note("a", "again"));
    clock.advance(limits.livePollMs * 2);
    await turn();
    expect(changes).toHaveLength(2);
    await reader.close();
    await writer.close();
  });

  it("wait while nobody keeps the model up to date, and go on when somebody has built it", async () => {
    const { clock, open } = await made();
    const first = await open();
    await first.append(note("a", "x"));
    await first.close();
    const reader = await open({ readOnly: true });
    const { changes, answer, end } = follow(reader, {});
    const other = await open({ projections: [] });
    await other.append(note("a", "y"));
    await other.close();
    clock.advance(limits.livePollMs);
    await turn();
    expect(changes).toHaveLength(1);
    const again = await open();
    clock.advance(limits.livePollMs);
    await turn();
    expect(answer()).toEqual(asked(again, {}));
    expect(changes).toHaveLength(2);
    end();
    await reader.close();
    await again.close();
  });
});

it("a listener that fails keeps no other from being told", () => {
  const clock = createManualClock();
  const flushes: (() => void)[] = [];
  const timers = { ...clock, soon: (run: () => void) => void flushes.push(run) };
  const answers: ModelRow[] = [];
  const live = createLiveQueries({
    timers,
    models: () => ({ query: () => answers, version: () => 1 }),
  });
  const told: ModelChange[] = [];
  live.subscribe("m", {}, () => {
    throw new Error("a listener's own");
  });
  live.subscribe("m", {}, (change) => told.push(change));
  const row = { stream: "s", scope: "c", columns: {}, state: 1 };
  live.committed({ rows: [{ model: "m", stream: "s", row }], swapped: new Set() });
  expect(() => {
    for (const flush of flushes) flush();
  }).toThrow("a listener's own");
  expect(told).toEqual([{ added: [row], changed: [], removed: [] }]);
  live.close();
});

it("what a failing medium or a lost connection kept back is told at the next poll", () => {
  const clock = createManualClock();
  const timers = { ...clock, soon: (run: () => void): void => void clock.after(0, run) };
  const row = { stream: "s", scope: "c", columns: {}, state: 1 };
  let answers: readonly ModelRow[] = [];
  let fails = false;
  const models = {
    query() {
      if (fails) throw new HoldfastError("store_io_error");
      return answers;
    },
    version() {
      if (fails) throw new HoldfastError("store_io_error");
      return 1;
    },
  };
  const live = createLiveQueries({ timers, models: () => models });
  const told: ModelChange[] = [];
  live.subscribe("m", {}, (change) => told.push(change));
  answers = [row];
  fails = true;
  live.committed({ rows: [], swapped: new Set(["m"]) });
  clock.advance(limits.livePollMs * 2);
  expect(told).toEqual([]);
  fails = false;
  clock.advance(limits.livePollMs * 2);
  expect(told).toEqual([{ added: [row], changed: [], removed: [] }]);
  answers = [];
  live.reopened();
  clock.advance(limits.livePollMs * 2);
  expect(told.at(-1)).toEqual({ added: [], changed: [], removed: [row] });
  expect(told).toHaveLength(2);
  live.close();
});

describe("rows in memory", () => {
  it("are as fresh as the store: after own appends, removals, rebuilds and another's commits", async () => {
    const { clock, open } = await made();
    const store = await open();
    const reader = await open({ readOnly: true });
    const text = (of: Holdfast): string | undefined => of.row<Last>("last", "a")?.state.text;
    expect(text(store)).toBeUndefined();
    for (const next of ["x", "y", "forget", "z"]) {
      await store.append(note("a", next));
      const expected = next === "forget" ? undefined : next;
      expect(text(store)).toBe(expected);
      expect(text(reader)).toBe(expected);
    }
    const kept = store.row("last", "a");
    expect(store.row("last", "a")).toBe(kept);
    clock.advance(limits.cacheTtlMs + 1);
    expect(store.row("last", "a")).not.toBe(kept);
    expect(store.row("last", "a")).toEqual(kept);
    const before = store.row("last", "a");
    await store.rebuild("last");
    expect(store.row("last", "a")).not.toBe(before);
    expect(store.row("last", "a")).toEqual(kept);
    await reader.close();
    await store.close();
  });
});

describe("full-text search", () => {
  it("finds all words and beginnings; operators, quotes and signs are text; removed rows are gone", async () => {
    const { open } = await made();
    const store = await open();
    await store.append([
      note("a", "Nosebleed after breakfast, left side"),
      note("b", "breakfast OR lunch"),
      note("c", 'said "stop" - (loudly) NEAR the *door*'),
      note("d", "Épistaxis légère"),
    ]);
    const named = new Map(["a", "b", "c", "d"].map((name) => [store.streamId(name), name]));
    const found = (words: string): string =>
      store
        .search("last", words)
        .map(({ stream }) => named.get(stream))
        .toSorted()
        .join("");
    expect(found("breakfast")).toBe("ab");
    expect(found("breakfast left")).toBe("a");
    expect(found("BREAKFAST lunch")).toBe("b");
    expect(found("break*")).toBe("ab");
    expect(found("break")).toBe("");
    expect(found("nosebleed OR lunch")).toBe("");
    expect(found("breakfast OR")).toBe("b");
    expect(found('"stop"')).toBe("c");
    expect(found("NEAR door")).toBe("c");
    expect(found("epistaxis")).toBe("d");
    for (const words of [
      '"',
      "(",
      "body:stop",
      "a AND",
      "NOT left",
      "^left",
      "{body}: x",
      '""" *',
      "'",
      "-",
    ]) {
      expect(() => found(words), words).not.toThrow();
    }
    for (const words of ["", "  ", "*"])
      expect(() => found(words), words).toThrow(/^query_invalid/);
    expect(() => found("a\u0000b")).toThrow(/^query_invalid/);
    await store.append([note("a", "forget"), note("b", "only lunch")]);
    expect(found("breakfast")).toBe("");
    expect(found("lunch")).toBe("b");
    await store.rebuild("last");
    expect(found("lunch")).toBe("b");
    expect(store.search("last", "l*", { limit: 1 })).toHaveLength(1);
    await store.close();
  });
});
