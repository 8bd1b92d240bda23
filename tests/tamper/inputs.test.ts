/** Bad input is refused with a code and a path, and the store is as before. */
import fc from "fast-check";
import { type Draft, type Holdfast, isHoldfastError, limits } from "@holdfast/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { rmSync } from "node:fs";
import { scratchFolder } from "../faults/native.ts";
import { draftOf, makeStore, open, placeIn } from "./world.ts";

const full = process.env["HOLDFAST_FULL"] === "1";
let folder = "";
let store: Holdfast;
beforeAll(async () => {
  folder = scratchFolder("tamper-inputs");
  const place = placeIn(folder);
  await makeStore(place);
  store = await open(place);
  for (let n = 0; n < 5; n++) await store.append(draftOf(n));
});
afterAll(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

const base = { type: "NoteWritten", stream: "s", scope: "p", actor: "a" } as const;

/** Code and path of the refusal, with the count of events unchanged. */
async function refusal(drafts: unknown, options?: unknown): Promise<string> {
  const before = store.status().events;
  try {
    await store.append(drafts as Draft, options as Parameters<Holdfast["append"]>[1]);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    expect(store.status().events).toBe(before);
    return `${error.code} ${String(error.details["path"] ?? "")}`.trimEnd();
  }
  return "accepted";
}

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let at = 0; at < depth; at++) value = at % 2 === 0 ? [value] : { a: value };
  return value;
}

const cycle: Record<string, unknown> = {};
cycle["self"] = cycle;
const throwing = {
  get x(): never {
    throw new TypeError("from the caller");
  },
};
const hostile = new Proxy(
  {},
  {
    ownKeys() {
      throw new RangeError("from the caller");
    },
  },
);

const values: readonly (readonly [name: string, data: unknown, refused: string])[] = [
  ["a lone surrogate", { text: "\ud800" }, "json_lone_surrogate /data/text"],
  ["a lone surrogate in a key", { "\udc00": 1 }, "json_lone_surrogate /data"],
  ["NUL", { a: ["x\u0000"] }, "json_nul /data/a/0"],
  ["NaN", { n: Number.NaN }, "json_unsafe_number /data/n"],
  ["Infinity", { n: Number.POSITIVE_INFINITY }, "json_unsafe_number /data/n"],
  ["2^53+1", { n: 2 ** 53 + 2 }, "json_unsafe_number /data/n"],
  ["-0", { n: -0 }, "json_unsafe_number /data/n"],
  ["__proto__", JSON.parse('{"a":{"__proto__":1}}'), "json_forbidden_key /data/a/__proto__"],
  ["undefined", undefined, "json_not_plain /data"],
  ["undefined within", { a: undefined }, "json_not_plain /data/a"],
  ["a function", { a: () => 1 }, "json_not_plain /data/a"],
  ["a symbol", { a: Symbol("s") }, "json_not_plain /data/a"],
  ["a symbol key", { [Symbol("s")]: 1 }, "json_not_plain /data"],
  ["a Date", { a: new Date(0) }, "json_not_plain /data/a"],
  ["a Map", { a: new Map() }, "json_not_plain /data/a"],
  ["bytes", { a: new Uint8Array(1) }, "json_not_plain /data/a"],
  ["a BigInt", { a: 1n }, "json_not_plain /data/a"],
  ["a cycle", cycle, "json_too_deep /data/self"],
  ["a getter that throws", throwing, "json_not_plain /data"],
  ["a Proxy that throws", { a: hostile }, "json_not_plain /data"],
  ["a hole", [1, , 2], "json_not_plain /data/1"], // oxlint-disable-line no-sparse-arrays
  ["depth 10,000", nested(10_000), "json_too_deep"],
  ["a huge string", { a: "x".repeat(300_000) }, "event_too_large"],
];

describe("payloads", () => {
  test.each(values)("%s", async (_name, data, refused) => {
    const seen = await refusal({ ...base, data });
    expect(seen.slice(0, refused.length)).toBe(refused);
    expect(await refusal([draftOf(1), { ...base, data }])).toBe(seen);
  });

  const texts: readonly (readonly [text: string, refused: string])[] = [
    ["", "json_malformed /text"],
    ['{"a":1,"a":2}', "json_duplicate_key /text/a"],
    ['{"a":1,"\\u0061":2}', "json_duplicate_key /text/a"],
    ['{"a":"\\ud800"}', "json_lone_surrogate /text/a"],
    ['{"a":"\ud800"}', "json_lone_surrogate /text/a"],
    ['{"a":"\\u0000"}', "json_nul /text/a"],
    ['{"a":NaN}', "json_malformed /text"],
    ['{"a":1e999}', "json_unsafe_number /text/a"],
    ['{"a":9007199254740993}', "json_unsafe_number /text/a"],
    ['{"a":-0}', "json_unsafe_number /text/a"],
    ['{"__proto__":1}', "json_forbidden_key /text/__proto__"],
    [`${"[".repeat(10_000)}${"]".repeat(10_000)}`, "json_too_deep /text"],
    ["\ufeff{}", "json_malformed /text"],
    ["{} x", "json_malformed /text"],
  ];
  test.each(texts)("text %j", async (text, refused) => {
    const seen = await refusal({ ...base, type: "Document", data: undefined, text });
    expect(seen.slice(0, refused.length)).toBe(refused);
  });
});

describe("fields", () => {
  const none: readonly unknown[] = [];
  const odd: readonly unknown[] = [
    null,
    0,
    -1,
    -0,
    1.5,
    Number.NaN,
    2 ** 53,
    10n,
    true,
    "",
    "\ud800",
    "a\u0000b",
    "x".repeat(100_000),
    {},
    none,
    [null],
    [[]],
    ["x"],
    () => 1,
    Symbol("s"),
    new Date(0),
    new Map(),
    { length: 2 ** 40 },
    { toString: 1 },
    hostile,
    new Proxy([], { get: () => throwing.x }),
  ];
  const fields = [
    "type",
    "stream",
    "scope",
    "site",
    "actor",
    "role",
    "session",
    "op",
    "ref",
    "why",
    "reason",
    "id",
    "lane",
    "text",
  ] as const;

  test.each(fields)("wrong values of %s", async (field) => {
    for (const value of odd) {
      const seen = await refusal({ ...base, data: {}, [field]: value });
      // An empty list of leaves is what leaving it out is.
      if (field === "ref" && value === none) continue;
      expect(seen, `${field} ${typeof value}`).toMatch(
        /^(draft_invalid|json_\w+|event_type_unknown)/,
      );
    }
  });

  test("occurredAt", async () => {
    for (const value of odd) {
      if (value === 0 || value === -1) continue;
      expect(await refusal({ ...base, data: {}, occurredAt: value })).toBe(
        "draft_invalid /occurredAt",
      );
    }
  });

  test("things that are no drafts, and expectations that are none", async () => {
    for (const value of odd) {
      if (value === none) continue;
      expect(await refusal(value)).toMatch(/^(draft_invalid|json_not_plain)/);
    }
    expect(await refusal(Object.assign([], { length: 3 }))).toBe("draft_invalid");
    expect(await refusal(Object.assign([], { length: 2 ** 32 - 1 }))).toBe("batch_too_large");
    for (const expectation of [null, 0, "x", { a: "b" }, [1.5], hostile]) {
      const seen = await refusal({ ...base, data: {} }, { expect: expectation });
      expect(seen).toMatch(/^(draft_invalid|json_not_plain) \/expect$/);
    }
  });

  test("a bad draft does not take others of its group along", async () => {
    const before = store.status().events;
    const calls = await Promise.allSettled([
      store.append({ ...base, data: { text: "a", n: 1 } }),
      store.append({ ...base, data: Number.NaN }),
      store.append({ ...base, data: {}, op: "amend", why: "w", ref: ["A".repeat(43)] }),
      store.append({ ...base, data: { text: "b", n: 2 } }),
    ]);
    expect(calls.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "rejected",
      "fulfilled",
    ]);
    expect(store.status().events).toBe(before + 2);
  });

  test("what is recorded and projected is what was handed over, whatever is done to it afterwards", async () => {
    const data = { text: "before", n: 77, deep: { a: 1 } };
    const call = store.append({ ...base, stream: "changing", data });
    data.text = "after";
    data.deep.a = 2;
    await call;
    const recorded = store.read({ stream: "changing" }).at(-1);
    expect(recorded?.data).toEqual({ text: "before", n: 77, deep: { a: 1 } });
    expect(store.row("latest", "changing")?.state).toEqual(recorded?.data);
  });
});

test("payloads that a projection makes no row of stop it, and are recorded", async () => {
  const before = store.status().events;
  for (const data of [null, { n: "x" }, { n: 1.5 }, { n: { a: 1 } }, { text: 5 }]) {
    await store.append({ ...base, stream: "odd", data });
    expect(store.status().projections[0]).toMatchObject({ state: "stopped" });
    await store.rebuild("latest");
    expect(store.status().projections[0]).toMatchObject({ state: "stopped" });
    await store.append({ ...base, stream: "odd", data: { n: 1, text: "good" } });
    await store.rebuild("latest");
    expect(store.status().projections[0]).toMatchObject({ state: "current" });
  }
  expect(store.status().events).toBe(before + 10);
});

test("random garbage: a code or an event, never anything else", async () => {
  const anything = fc.anything({
    maxDepth: 3,
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withObjectString: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    withUnicodeString: true,
  } as fc.ObjectConstraints);
  const draft = fc.record(
    {
      type: fc.oneof(fc.constantFrom("NoteWritten", "Measured", "Document"), anything),
      stream: fc.oneof(fc.string(), anything),
      scope: fc.oneof(fc.constant("p"), anything),
      actor: fc.oneof(fc.string(), anything),
      data: anything,
      text: fc.oneof(fc.json(), anything),
      op: anything,
      ref: anything,
      why: anything,
      occurredAt: anything,
    },
    { requiredKeys: [] },
  );
  let appended = 0;
  const before = store.status().events;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(draft, anything, fc.array(draft, { maxLength: 3 })),
      async (given) => {
        try {
          const result = await store.append(given as Draft);
          appended += result.status === "appended" ? result.events.length : 0;
        } catch (error) {
          if (!isHoldfastError(error)) throw error;
        }
        expect(store.status().events).toBe(before + appended);
      },
    ),
    { numRuns: full ? 20_000 : 1_000 },
  );
});

test("afterwards the store verifies", () => {
  expect(store.verify().problems).toEqual([]);
  expect(limits.jsonDepthMax).toBeLessThan(10_000);
});
