import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { utf8 } from "./bytes.ts";
import { HoldfastError } from "./errors.ts";
import { assertIJson, parseJson, parseJsonLocated } from "./json.ts";
import { limits } from "./limits.ts";

const shared = process.env["HOLDFAST_SHARED"] ?? new URL("../../../../../shared", import.meta.url).pathname;
const bundles = `${shared}/data/fhir`;

function caught(run: () => unknown): HoldfastError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(HoldfastError);
    return error as HoldfastError;
  }
  throw new Error("nothing was refused");
}

/** JSON that I-JSON also takes. */
const iJson = fc
  .jsonValue({ stringUnit: "binary", maxDepth: 6 })
  .filter((value) => {
    const text = JSON.stringify(value);
    return !text.includes("\\u0000") && !text.includes("__proto__");
  })
  // JSON.stringify turns −0 into 0; large integers are not I-JSON.
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  .filter((value) => !hasUnsafe(value));

function hasUnsafe(value: unknown): boolean {
  if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value);
  return typeof value === "object" && value !== null && Object.values(value).some(hasUnsafe);
}

/** The text again, every character of every string escaped, white space between all tokens. */
function spelledOut(value: unknown): string {
  if (typeof value === "string")
    return `"${Array.from({ length: value.length }, (_, i) => `\\u${value.charCodeAt(i).toString(16).padStart(4, "0")}`).join("")}"`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[ ${value.map(spelledOut).join("\t,\r\n")} ]`;
  return `{ ${Object.entries(value)
    .map(([key, member]) => `${spelledOut(key)} : ${spelledOut(member)}`)
    .join(" , ")} }`;
}

describe("parseJson", () => {
  it("reads what JSON.parse reads, from text and from bytes", () => {
    fc.assert(
      fc.property(iJson, (value) => {
        const text = JSON.stringify(value);
        expect(parseJson(text)).toStrictEqual(value);
        expect(parseJson(utf8(JSON.stringify(value, null, 2)))).toStrictEqual(value);
        expect(parseJson(spelledOut(value))).toStrictEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it("accepts no text that JSON.parse refuses", () => {
    const token = fc.constantFrom(
      ..."{}[],:\"\\/ \t01-+.eEatrufalsn".split(""),
      "true", "false", "null", '"a"', '"\\u0041"', "1.5", "\u00a0", "\u0001", "\ufeff",
    );
    let read = 0;
    fc.assert(
      fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
        const text = tokens.join("");
        let value: unknown;
        try {
          value = parseJson(text);
        } catch (error) {
          expect(error).toBeInstanceOf(HoldfastError);
          if ((error as HoldfastError).code === "json_malformed") {
            expect(() => JSON.parse(text) as unknown).toThrow(SyntaxError);
          }
          return;
        }
        read++;
        expect(value).toStrictEqual(JSON.parse(text));
      }),
      { numRuns: 20_000 },
    );
    expect(read).toBeGreaterThan(100);
  });

  it("keeps names of the prototype as ordinary own keys", () => {
    const value = parseJson('{"constructor":1,"toString":{"hasOwnProperty":null},"valueOf":[]}');
    expect(Object.keys(value as object)).toEqual(["constructor", "toString", "valueOf"]);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(caught(() => parseJson('{"constructor":1,"constructor":2}')).code).toBe("json_duplicate_key");
  });

  it.each([
    ["0", 0],
    ["0.0", 0],
    ["0e99", 0],
    ["-1.50", -1.5],
    ["1E+2", 100],
    ["9007199254740991", 9007199254740991],
    ["-9007199254740991.0", -9007199254740991],
    ["3.14159265358979323846264338327950288", Math.PI],
    ["5e-324", 5e-324],
  ])("reads the number %s", (text, value) => {
    expect(parseJson(text)).toBe(value);
  });

  it.each<[string, string, string, number]>([
    ["", "json_malformed", "", 0],
    ["  ", "json_malformed", "", 2],
    ["\ufeff{}", "json_malformed", "", 0],
    ["{} x", "json_malformed", "", 3],
    ['{"a":[1,]}', "json_malformed", "/a/1", 8],
    ['{"a":1,}', "json_malformed", "", 7],
    ["{'a':1}", "json_malformed", "", 1],
    ['{"a" 1}', "json_malformed", "/a", 5],
    ['{"a":1 "b":2}', "json_malformed", "", 7],
    ["[1 2]", "json_malformed", "", 3],
    ["[1", "json_malformed", "", 2],
    ["[tru]", "json_malformed", "/0", 4],
    ["[01]", "json_malformed", "", 2],
    ["[+1]", "json_malformed", "/0", 1],
    ["[1.]", "json_malformed", "/0", 3],
    ["[.5]", "json_malformed", "/0", 1],
    ["[1e]", "json_malformed", "/0", 3],
    ["[-]", "json_malformed", "/0", 2],
    ["[NaN]", "json_malformed", "/0", 1],
    ['["a', "json_malformed", "/0", 3],
    ['["a\nb"]', "json_malformed", "/0", 3],
    ['["\0"]', "json_malformed", "/0", 2],
    ['["\\x"]', "json_malformed", "/0", 3],
    ['["\\', "json_malformed", "/0", 3],
    ['["\\u00g0"]', "json_malformed", "/0", 6],
    ['["\\u12', "json_malformed", "/0", 6],
    ['["\\n\t"]', "json_malformed", "/0", 4],
    ['{"a":{"b":1,"b":2}}', "json_duplicate_key", "/a/b", 12],
    ['{"b":1,"\\u0062":2}', "json_duplicate_key", "/b", 7],
    ['{"":null,"":null}', "json_duplicate_key", "/", 9],
    ['{"a/~":["\\ud800"]}', "json_lone_surrogate", "/a~1~0/0", 9],
    ['["\\udc00\\ud800"]', "json_lone_surrogate", "/0", 2],
    ['["\\ud800\\u0041"]', "json_lone_surrogate", "/0", 2],
    ['["\\ud800x"]', "json_lone_surrogate", "/0", 2],
    ['["\\ud83d\ude00"]', "json_lone_surrogate", "/0", 2],
    ['["\ud83d\\ude00"]', "json_lone_surrogate", "/0", 2],
    ['["\u{1f600}a\ud800"]', "json_lone_surrogate", "/0", 5],
    ['{"a":{"\\ud800":1}}', "json_lone_surrogate", "/a", 7],
    ['["a\\u0000"]', "json_nul", "/0", 3],
    ['{"k\\u0000":1}', "json_nul", "", 3],
    ["[1,9007199254740992]", "json_unsafe_number", "/1", 3],
    ["[-9007199254740992]", "json_unsafe_number", "/0", 1],
    ["[9007199254740993.0]", "json_unsafe_number", "/0", 1],
    ["[1e400]", "json_unsafe_number", "/0", 1],
    ["[1e22]", "json_unsafe_number", "/0", 1],
    ["[-0]", "json_unsafe_number", "/0", 1],
    ["[-0.0]", "json_unsafe_number", "/0", 1],
    ["[-0e5]", "json_unsafe_number", "/0", 1],
    ["[1e-400]", "json_unsafe_number", "/0", 1],
    ["[0.0001E-999]", "json_unsafe_number", "/0", 1],
    ['{"a":{"__proto__":1}}', "json_forbidden_key", "/a/__proto__", 6],
    ['{"\\u005f_proto__":1}', "json_forbidden_key", "/__proto__", 1],
  ])("refuses %j: %s at %j, offset %d", (text, code, path, offset) => {
    expect(caught(() => parseJson(text))).toMatchObject({ code, details: { path, offset } });
  });

  it("refuses bytes that are not UTF-8, and a byte order mark", () => {
    expect(caught(() => parseJson(new Uint8Array([0x22, 0xff, 0x22]))).code).toBe("utf8_malformed");
    expect(caught(() => parseJson(utf8("\ufeff1"))).code).toBe("json_malformed");
  });

  it("nests up to the limit; a million brackets are one refusal", () => {
    const max = limits.jsonDepthMax;
    expect(parseJson("[".repeat(max) + "]".repeat(max))).toHaveLength(1);
    for (const depth of [max + 1, 10_000, 1_000_000]) {
      const error = caught(() => parseJson("[".repeat(depth) + "]".repeat(depth)));
      expect(error).toMatchObject({ code: "json_too_deep", details: { offset: max, path: "/0".repeat(max) } });
      expect(caught(() => parseJson('{"a":'.repeat(depth))).code).toBe("json_too_deep");
    }
  });

  it("refuses more bytes than the limit before reading them", () => {
    const half = "é".repeat(limits.jsonTextBytesMax / 2);
    expect(caught(() => parseJson(`${half}a`))).toMatchObject({
      code: "json_too_large",
      details: { bytes: limits.jsonTextBytesMax + 1 },
    });
    const bytes = new Uint8Array(limits.jsonTextBytesMax + 1);
    expect(caught(() => parseJson(bytes)).code).toBe("json_too_large");
  });

  it("keeps error details short and free of half surrogates", () => {
    const error = caught(() => parseJson(`{"${"\u{1f600}".repeat(5_000)}":nul}`));
    const path = error.details["path"] as string;
    expect(path.length).toBeLessThan(600);
    expect(path.isWellFormed()).toBe(true);
  });
});

describe("parseJsonLocated", () => {
  it("finds the original text of each wanted value", () => {
    const text = ' {"entry" : [ {"resource": {"v": 1.50} }, {"resource":[ ]} ], "x":{"resource":1}} ';
    const located = parseJsonLocated(utf8(text), (path) => path.length === 3 && path[2] === "resource");
    const found = [...located.spans].map(([at, { start, end }]) => [at, located.text.slice(start, end)]);
    expect(found).toEqual([
      ["/entry/0/resource", '{"v": 1.50}'],
      ["/entry/1/resource", "[ ]"],
    ]);
    expect(located.value).toEqual(JSON.parse(text));
  });

  it("finds the root and keys that need escaping", () => {
    const { spans } = parseJsonLocated(' {"a/b":{"~":true}} ', () => true);
    expect([...spans].sort()).toEqual([
      ["", { start: 1, end: 19 }],
      ["/a~1b", { start: 8, end: 18 }],
      ["/a~1b/~0", { start: 13, end: 17 }],
    ]);
  });

  it.skipIf(!existsSync(bundles))("reads whole FHIR bundles (skipped without ../shared)", () => {
    const names = readdirSync(bundles).filter((name) => name.endsWith(".json"));
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) {
      const bytes = readFileSync(`${bundles}/${name}`);
      const expected = JSON.parse(bytes.toString("utf8")) as { entry: { resource: unknown }[] };
      const located = parseJsonLocated(bytes, (path) => path.length === 3 && path[2] === "resource");
      expect(located.value).toStrictEqual(expected);
      expect(located.spans.size).toBe(expected.entry.length);
      for (const [i, entry] of expected.entry.entries()) {
        const span = located.spans.get(`/entry/${i}/resource`);
        expect(JSON.parse(located.text.slice(span?.start, span?.end))).toStrictEqual(entry.resource);
      }
    }
  });
});

describe("assertIJson", () => {
  it("passes exactly what is written and read back unchanged", () => {
    fc.assert(
      fc.property(fc.anything({ maxDepth: 4, withBigInt: true, withDate: true, withMap: true, withNullPrototype: true, withSparseArray: true, stringUnit: "binary" }), (value) => {
        let passes = true;
        try {
          assertIJson(value);
        } catch (error) {
          expect(error).toBeInstanceOf(HoldfastError);
          passes = false;
        }
        if (passes) expect(parseJson(JSON.stringify(value))).toEqual(value);
      }),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(iJson, (value) => {
        assertIJson(value);
      }),
    );
  });

  const cycle: unknown[] = [];
  cycle.push({ cycle });
  it.each<[unknown, string, string]>([
    [{ a: ["\udfff"] }, "json_lone_surrogate", "/a/0"],
    [{ a: { "\ud800": 1 } }, "json_lone_surrogate", "/a"],
    [{ a: "x\0" }, "json_nul", "/a"],
    [{ a: { "\0": 1 } }, "json_nul", "/a"],
    [[Number.NaN], "json_unsafe_number", "/0"],
    [[Infinity], "json_unsafe_number", "/0"],
    [[-0], "json_unsafe_number", "/0"],
    [[2 ** 53], "json_unsafe_number", "/0"],
    [[-1e300], "json_unsafe_number", "/0"],
    [JSON.parse('{"a":{"__proto__":1}}'), "json_forbidden_key", "/a/__proto__"],
    [{ a: undefined }, "json_not_plain", "/a"],
    [{ a: new Date(0) }, "json_not_plain", "/a"],
    [Object.create({ a: 1 }), "json_not_plain", ""],
    [{ a: cycle }, "json_too_deep", "/a/0/cycle"],
  ])("refuses value %#", (value, code, path) => {
    expect(caught(() => { assertIJson(value); })).toMatchObject({ code, details: { path } });
  });

  it("counts depth as the parser does, and survives a million levels", () => {
    let value: unknown = [];
    for (let i = 1; i < limits.jsonDepthMax; i++) value = [value];
    assertIJson(value);
    for (let i = 0; i < 1_000_000; i++) value = [value];
    expect(caught(() => { assertIJson(value); }).code).toBe("json_too_deep");
  });
});
