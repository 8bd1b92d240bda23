/** Conditions, orders, pages and aggregates: SQLite's answer, the answer in memory, and a plain one agree. */
import { openPlainSqlite } from "@holdfast/node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareValues, inOrder, matches } from "./condition.ts";
import type { ColumnValue, Condition, ModelRow, PageQuery, Where } from "./projection.ts";
import { compileAggregate, compileQuery, cursorAfter } from "./query.ts";

const model = { name: "m", columns: { text: "text", whole: "integer", part: "real" } } as const;

const texts = fc.constantFrom(
  "",
  "a",
  "A",
  "aa",
  "z",
  "é",
  "\uE000",
  "\uFFFD",
  "𝄞",
  "𝄞a",
  "😀",
  "5",
);
const wholes = fc.constantFrom(-1, 0, 1, 2, 5, 2 ** 53 - 1, -(2 ** 53 - 1));
const parts = fc.constantFrom(-1.5, 0, 0.1, 0.30000000000000004, 1, 5, 1e300);
const nullable = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.option(values, { freq: 4 });
const columns = fc.record({
  text: nullable(texts),
  whole: nullable(wholes),
  part: nullable(parts),
});
const rowsOf = fc.array(columns, { maxLength: 25 }).map((list) =>
  list.map((values, at): ModelRow => ({
    stream: `s${String((at * 7) % 25).padStart(2, "0")}`,
    scope: `scope${at % 2}`,
    columns: values,
    state: {},
  })),
);

function conditionOn(values: fc.Arbitrary<string | number>): fc.Arbitrary<Condition> {
  const orNull = nullable(values);
  const some = { lt: values, lte: values, gt: values, gte: values };
  return fc.oneof(
    orNull,
    fc.record(
      { ...some, eq: orNull, ne: orNull, in: fc.array(orNull, { maxLength: 3 }) },
      { requiredKeys: [] },
    ),
  );
}
const where = fc.record(
  {
    text: conditionOn(texts),
    whole: conditionOn(fc.oneof(wholes, parts)),
    part: conditionOn(parts),
  },
  { requiredKeys: [] },
) as fc.Arbitrary<Where>;
const fields = ["text", "whole", "part", "scope", "stream"];
const order = fc.uniqueArray(
  fc
    .tuple(fc.constantFrom(...fields), fc.boolean())
    .map(([name, down]) => (down ? `-${name}` : name)),
  { maxLength: 3, selector: (name) => name.replace("-", "") },
);

const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
driver.exec(
  `CREATE TABLE model_m (stream TEXT PRIMARY KEY, scope TEXT, state TEXT, text TEXT, whole INTEGER, part REAL) STRICT`,
);

function store(rows: readonly ModelRow[]): void {
  driver.exec("DELETE FROM model_m");
  const insert = driver.prepare("INSERT INTO model_m VALUES (?, ?, '{}', ?, ?, ?)");
  for (const {
    stream,
    scope,
    columns: { text, whole, part },
  } of rows) {
    insert.run(stream, scope, text ?? null, whole ?? null, part ?? null);
  }
}

type Stored = Readonly<Record<string, ColumnValue>>;

function ask(query: PageQuery): readonly ModelRow[] {
  const { sql, values } = compileQuery(model, "model_m", query);
  return driver
    .prepare(sql)
    .all<Stored>(...values)
    .map(({ stream, scope, text, whole, part }) => ({
      stream: String(stream),
      scope: String(scope),
      columns: { text: text ?? null, whole: whole ?? null, part: part ?? null },
      state: {},
    }));
}

describe("conditions and orders in memory", () => {
  it("mean what they mean to SQLite, also beyond the basic plane and for nulls", () => {
    fc.assert(
      fc.property(rowsOf, where, order, (rows, condition, by) => {
        store(rows);
        const kept = rows.filter((row) => matches(row, condition));
        expect(inOrder(kept, by)).toEqual(ask({ where: condition, order: by }));
      }),
      { numRuns: 300 },
    );
  });

  it("put nulls before numbers before text", () => {
    expect(["a", null, 3, "", -1].toSorted(compareValues)).toEqual([null, -1, 3, "", "a"]);
  });

  it("are refused where the value is of another type than the column: SQLite would convert one of them", () => {
    const mixed: readonly Where[] = [
      { whole: "5" },
      { part: { lt: "5" } },
      { text: 5 },
      { text: { in: ["a", 5] } },
      { stream: { gte: 5 } },
      { whole: { lt: null as unknown as number } },
    ];
    for (const condition of mixed)
      expect(() => ask({ where: condition })).toThrow(/^query_invalid/);
  });
});

describe("pages", () => {
  it("put together are the whole answer, each row once", () => {
    fc.assert(
      fc.property(
        rowsOf,
        where,
        order,
        fc.integer({ min: 1, max: 6 }),
        (rows, condition, by, limit) => {
          store(rows);
          const query = { where: condition, order: by };
          const joined: ModelRow[] = [];
          for (let after: string | undefined, pages = 0; ; pages++) {
            const page = ask({ ...query, limit, ...(after !== undefined && { after }) });
            joined.push(...page);
            expect(pages).toBeLessThan(30);
            const last = page.at(-1);
            if (last === undefined || page.length < limit) break;
            after = cursorAfter(model, by, last);
          }
          expect(joined).toEqual(ask(query));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("do not go on from the cursor of another order, nor from any other text", () => {
    const row: ModelRow = {
      stream: "s",
      scope: "c",
      columns: { text: "a", whole: 1, part: 1 },
      state: {},
    };
    const cursor = cursorAfter(model, ["text"], row);
    expect(ask({ order: ["text"], after: cursor })).toBeInstanceOf(Array);
    for (const by of [["-text"], ["whole"], [], ["text", "whole"]]) {
      expect(() => ask({ order: by, after: cursor })).toThrow(/^query_invalid/);
    }
    for (const after of ["", "x", "%%%", "bnVsbA", cursor.slice(1)]) {
      expect(() => ask({ order: ["text"], after })).toThrow(/^query_invalid/);
    }
  });
});

describe("aggregates", () => {
  it("are what adding up the rows gives", () => {
    fc.assert(
      fc.property(rowsOf, where, (rows, condition) => {
        store(rows);
        const measures = {
          n: "count",
          total: { sum: "whole" },
          mean: { avg: "whole" },
          least: { min: "text" },
          most: { max: "part" },
        } as const;
        const asked = {
          where: { ...condition, whole: { in: [-1, 0, 1, 2, 5] } },
          groupBy: ["scope"],
          measures,
        };
        const { sql, values } = compileAggregate(model, "model_m", asked);
        const kept = rows.filter((row) => matches(row, asked.where));
        const groups = Map.groupBy(kept, ({ scope }) => scope);
        const plain = [...groups]
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([scope, list]) => {
            const given = (name: string): readonly ColumnValue[] =>
              list
                .map((row) => row.columns[name] ?? null)
                .filter((value) => value !== null)
                .toSorted(compareValues);
            const total = given("whole").reduce<number>((sum, value) => sum + Number(value), 0);
            return {
              scope,
              n: list.length,
              total,
              mean: total / given("whole").length,
              least: given("text")[0] ?? null,
              most: given("part").at(-1) ?? null,
            };
          });
        expect(
          driver
            .prepare(sql)
            .all(...values)
            .map((row) => ({ ...(row as object) })),
        ).toEqual(plain);
      }),
      { numRuns: 100 },
    );
  });
});
