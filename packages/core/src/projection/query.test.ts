import { openSqlite } from "@holdfast/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import {
  type Condition,
  defineProjection,
  type ModelQuery,
  type Projection,
} from "./projection.ts";
import { compileCount, compileQuery } from "./query.ts";

const model = { name: "m", columns: { text: "text", whole: "integer", part: "real" } } as const;
type Row = { readonly stream: string; readonly text: string | null; readonly whole: number | null };

const driver = openSqlite({ path: ":memory:", pageKey: undefined, readOnly: false, create: true });
driver.exec(
  `CREATE TABLE model_m (stream TEXT PRIMARY KEY, scope TEXT, state TEXT, text TEXT, whole INTEGER, part REAL) STRICT`,
);
const rows: readonly Row[] = Array.from({ length: 24 }, (_, at) => ({
  stream: `s${String(at).padStart(2, "0")}`,
  text: at % 5 === 0 ? null : `t${at % 4}`,
  whole: at % 7 === 0 ? null : at % 6,
}));
for (const { stream, text, whole } of rows) {
  const values = [stream, text, whole, whole === null ? null : whole / 2];
  driver.prepare("INSERT INTO model_m VALUES (?, 'scope', '{}', ?, ?, ?)").run(...values);
}

function run(query: ModelQuery): readonly string[] {
  const { sql, values } = compileQuery(model, "model_m", query);
  return driver
    .prepare(sql)
    .all<Row>(...values)
    .map(({ stream }) => stream);
}
function count(query: ModelQuery): number {
  const { sql, values } = compileCount(model, "model_m", query);
  return driver.prepare(sql).get<{ value: number }>(...values)?.value ?? -1;
}

/** What a condition means, said plainly: comparisons with null are never true. */
function meets(value: string | number | null, condition: Condition): boolean {
  if (condition === null || typeof condition !== "object") return value === condition;
  return Object.entries(condition).every(([sign, other]) => {
    if (sign === "eq") return value === other;
    if (sign === "ne") return value !== other;
    if (sign === "in") return value !== null && (other as unknown[]).includes(value);
    if (value === null) return false;
    const bound = other as typeof value;
    if (sign === "lt") return value < bound;
    if (sign === "lte") return value <= bound;
    return sign === "gt" ? value > bound : value >= bound;
  });
}

const texts = fc.constantFrom("t0", "t1", "t2", "t9", "");
const wholes = fc.integer({ min: -1, max: 7 });
const conditionsOn = <T extends string | number>(
  values: fc.Arbitrary<T>,
): fc.Arbitrary<Condition> =>
  fc.oneof(
    values,
    fc.constant(null),
    fc.record(
      {
        eq: fc.option(values),
        ne: fc.option(values),
        lt: values,
        lte: values,
        gt: values,
        gte: values,
        in: fc.array(fc.option(values), { maxLength: 3 }),
      },
      { requiredKeys: [] },
    ),
  );

describe("queries", () => {
  it("answer as a filter over plain rows does", () => {
    const where = fc.record(
      { text: conditionsOn(texts), whole: conditionsOn(wholes) },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(where, (asked) => {
        const wanted = rows.filter(
          (row) =>
            (asked.text === undefined || meets(row.text, asked.text)) &&
            (asked.whole === undefined || meets(row.whole, asked.whole)),
        );
        expect(run({ where: asked })).toEqual(wanted.map(({ stream }) => stream));
        expect(count({ where: asked })).toBe(wanted.length);
      }),
      { numRuns: 300 },
    );
  });

  it("order by columns, nulls first, ties by stream", () => {
    const by = (compare: (a: Row, b: Row) => number): readonly string[] =>
      rows.toSorted(compare).map(({ stream }) => stream);
    const whole = (row: Row): number => row.whole ?? -1;
    const text = (row: Row): string => row.text ?? "";
    const stream = (a: Row, b: Row): number => (a.stream < b.stream ? -1 : 1);
    expect(run({ order: ["whole"] })).toEqual(by((a, b) => whole(a) - whole(b) || stream(a, b)));
    expect(run({ order: ["-whole"] })).toEqual(by((a, b) => whole(b) - whole(a) || stream(b, a)));
    expect(run({ order: ["text", "-whole"] })).toEqual(
      by((a, b) => text(a).localeCompare(text(b)) || whole(b) - whole(a) || stream(b, a)),
    );
    expect(run({ order: ["-stream"], limit: 2 })).toEqual(["s23", "s22"]);
  });

  it("take a limit, also of nothing", () => {
    expect(run({ limit: 3 })).toHaveLength(3);
    expect(run({ limit: 0 })).toEqual([]);
    expect(run({ where: { whole: { in: [] } } })).toEqual([]);
    expect(run({ where: { part: { gte: 2.5 } } }).length).toBe(count({ where: { whole: 5 } }));
    expect(run({ where: { scope: "scope", stream: "s03" } })).toEqual(["s03"]);
  });

  const attack = `" OR 1=1; DROP TABLE model_m; --`;
  it.each<readonly [string, ModelQuery]>([
    ["an unknown column", { where: { nothing: 1 } }],
    ["the state as a column", { where: { state: "{}" } }],
    ["SQL for a column", { where: { [attack]: 1 } }],
    ["SQL for an order", { order: [attack] }],
    ["SQL behind an order", { order: ["whole; DROP TABLE model_m"] }],
    ["a column of the prototype", { where: { constructor: 1 } }],
    ["an order of the prototype", { order: ["-toString"] }],
    ["an unknown condition", { where: { whole: { like: "x" } as never } }],
    ["SQL for a condition", { where: { whole: { [attack]: 1 } as never } }],
    ["a condition of the prototype", { where: { whole: { constructor: 1 } as never } }],
    ["a list that is none", { where: { whole: { in: 1 as never } } }],
    [
      "a list that is too long",
      { where: { whole: { in: Array.from({ length: limits.queryListMax + 1 }, () => 1) } } },
    ],
    ["NaN", { where: { whole: Number.NaN } }],
    ["infinity in a list", { where: { whole: { in: [Number.POSITIVE_INFINITY] } } }],
    ["a boolean", { where: { whole: true as never } }],
    ["an object for a value", { where: { whole: { eq: {} as never } } }],
    ["a negative limit", { limit: -1 }],
    ["half a limit", { limit: 0.5 }],
    ["SQL for a limit", { limit: "1; DROP TABLE model_m" as never }],
  ])("refuse %s", (_, query) => {
    expect(() => run(query)).toThrow(/^query_invalid/);
  });

  it("bind every value: SQL in a value is a text like any other", () => {
    for (const value of [attack, "'; DELETE FROM model_m; --", "\u0000", "%"]) {
      expect(run({ where: { text: value } })).toEqual([]);
      expect(run({ where: { text: { in: [value] } } })).toEqual([]);
      expect(run({ where: { text: { ne: value } } })).toHaveLength(rows.length);
    }
    expect(count({})).toBe(rows.length);
  });
});

describe("defineProjection", () => {
  const good: Projection<{ n: number }> = {
    name: "good",
    version: 1,
    types: ["T"],
    columns: { n: "integer" },
    fold: (state) => state,
    row: (state) => state,
  };
  it("gives the declaration back", () => {
    expect(defineProjection(good)).toBe(good);
  });
  it.each<readonly [string, Partial<Projection<{ n: number }>>]>([
    ["a name with capitals", { name: "Good" }],
    ["SQL for a name", { name: "x; DROP TABLE events" }],
    ["an empty name", { name: "" }],
    ["version 0", { version: 0 }],
    ["no types", { types: [] }],
    ["SQL for a column", { columns: { 'n" TEXT; --': "text" } }],
    ["a fixed column", { columns: { stream: "text" } }],
  ])("refuses %s", (_, more) => {
    expect(() => defineProjection({ ...good, ...more })).toThrow(/^projection_invalid/);
  });
});
