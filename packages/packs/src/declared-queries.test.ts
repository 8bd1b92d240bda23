/** Every query that a pack declares is answered from an index; the check would notice one that is not. */
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createRegistry,
  defineProjection,
  type Holdfast,
  type ModelQuery,
  type Projection,
} from "@holdfast/core";
import { createManualClock, createTestStore } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packEvents, packProjections } from "./index.ts";

const projections: readonly Projection[] = packProjections;
const control = defineProjection<{ readonly name: string; readonly floor: number }>({
  name: "control",
  version: 1,
  types: ["RoomAdded"],
  columns: { name: "text", floor: "integer" },
  queries: {
    by_floor: { where: { floor: 1 } },
    sorted_by_two: { order: ["floor", "name"] },
    other_than: { where: { name: { ne: "kitchen" } }, order: ["-floor", "name"] },
  },
  fold: (state) => state,
  row: (state) => state,
});

let store: Holdfast;
beforeAll(async () => {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  const clock = createManualClock();
  const made = await createTestStore({
    crypto: createNodeCrypto(),
    random: systemRandom,
    clock,
    timers: clock,
    // One connection for maker and opener: what is in memory is gone with its connection.
    openDriver: () => ({
      ...driver,
      get inTransaction() {
        return driver.inTransaction;
      },
      close: () => undefined,
    }),
  });
  store = await made.open({
    registry: createRegistry([...packEvents]),
    projections: [...projections, control],
  });
});
afterAll(async () => {
  await store.close();
});

/**
 * Steps that read every row of a model. Walking an index from its beginning is no such step where nothing is
 * filtered and nothing sorted: the limit then ends it.
 */
function slowSteps(model: string, query: ModelQuery): readonly string[] {
  const steps = store.explain(model, query);
  const sorts = steps.some((step) => step.includes("TEMP B-TREE"));
  const walks = Object.keys(query.where ?? {}).length === 0 && !sorts;
  return steps.filter((step) =>
    walks ? /^SCAN (?!.*USING (COVERING )?INDEX)/.test(step) : step.startsWith("SCAN "),
  );
}

const declared = projections.flatMap(({ name, queries = {} }) =>
  Object.entries(queries).map(([title, query]) => ({ name, title, query })),
);

describe("declared queries", () => {
  test("are there to be checked", () => {
    expect(declared.length).toBeGreaterThan(5);
  });

  test.each(declared)("$name/$title is answered from an index", ({ name, query }) => {
    expect(store.explain(name, query)).not.toEqual([]);
    expect(slowSteps(name, query)).toEqual([]);
  });

  test("that have no index are noticed", () => {
    const { by_floor = {}, sorted_by_two = {}, other_than = {} } = control.queries ?? {};
    expect(slowSteps("control", by_floor)).toEqual([]);
    expect(slowSteps("control", sorted_by_two)).not.toEqual([]);
    expect(slowSteps("control", other_than)).not.toEqual([]);
  });
});
