import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom, systemTimers } from "@holdfast/node";
import {
  createChance,
  createManualClock,
  createNoteDraft,
  createNoteRegistry,
  createTestStore,
  createWeightDraft,
} from "@holdfast/testkit";
import { afterAll, expect, it } from "vitest";
import { defineProjection, type ModelQuery, type ModelRow } from "./projection.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-live-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Rows come, change their columns, and go. */
const weights = defineProjection<{ readonly grams: number }>({
  name: "weights",
  version: 1,
  types: ["NoteTaken", "WeightMeasured"],
  columns: { grams: "integer" },
  fold(_, { data }) {
    const { grams } = data as { readonly grams?: number };
    return grams === undefined ? undefined : { grams };
  },
  row: (state) => state,
});

const queries: readonly ModelQuery[] = [
  {},
  { where: { grams: { gte: 3 } } },
  { where: { grams: 1 } },
  { order: ["-grams"], limit: 2 },
];
const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it("what subscribers were told adds up to the answer, with nothing told twice", async () => {
  const path = join(folder, "store.db");
  let create = true;
  const test = await createTestStore({
    crypto: createNodeCrypto(),
    random: systemRandom,
    clock: createManualClock(),
    timers: systemTimers,
    openDriver(pageKey, { readOnly }) {
      const driver = openSqlite({ path, pageKey, readOnly, create });
      create = false;
      return driver;
    },
  });
  const store = await test.open({ registry: createNoteRegistry(), projections: [weights] });
  const chance = createChance(7);
  const known = queries.map(() => new Map<string, ModelRow>());
  const ends = queries.map((query, at) =>
    store.subscribe("weights", query, ({ added, changed, removed }) => {
      const rows = known[at] as Map<string, ModelRow>;
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
    }),
  );
  for (let turn = 0; turn < 60; turn++) {
    const stream = `s${chance.integer(5)}`;
    const draft = chance.oneIn(4)
      ? createNoteDraft(stream, "gone")
      : createWeightDraft(stream, chance.integer(6));
    await store.append(draft);
    if (chance.oneIn(2)) continue;
    await soon();
    await soon();
    for (const [at, query] of queries.entries()) {
      const answer = store.query("weights", query).map((row) => [row.stream, row.state]);
      const told = [...(known[at] ?? [])].map(([name, row]) => [name, row.state]);
      expect(told.toSorted()).toEqual(answer.toSorted());
    }
  }
  for (const end of ends) end();
  const before = known.map((rows) => rows.size);
  await store.append(createWeightDraft("s9", 4));
  await soon();
  await soon();
  expect(known.map((rows) => rows.size)).toEqual(before);
  await store.close();
});
