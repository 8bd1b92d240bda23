import { existsSync, readdirSync, readFileSync } from "node:fs";
import reference from "canonicalize";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hex } from "./bytes.ts";
import { HoldfastError } from "./errors.ts";
import { canonicalBytes, canonicalJson } from "./jcs.ts";
import { limits } from "./limits.ts";

const shared = process.env["HOLDFAST_SHARED"] ?? new URL("../../../../../shared", import.meta.url).pathname;
const vectors = `${shared}/vectors/jcs`;

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

describe("canonicalJson", () => {
  it.skipIf(!existsSync(vectors))("writes the published vectors (skipped without ../shared)", () => {
    const names = readdirSync(`${vectors}/input`);
    expect(names.length).toBe(6);
    for (const name of names) {
      const value: unknown = JSON.parse(readFileSync(`${vectors}/input/${name}`, "utf8"));
      expect(canonicalJson(value)).toBe(readFileSync(`${vectors}/output/${name}`, "utf8"));
      const bytes = readFileSync(`${vectors}/outhex/${name.replace(".json", ".txt")}`, "utf8");
      expect(hex(canonicalBytes(value))).toBe(bytes.replaceAll(/\s/g, ""));
    }
  });

  // RFC 8785 Appendix B: IEEE 754 bits and the text of the number.
  it.each([
    ["0000000000000000", "0"],
    ["8000000000000000", "0"],
    ["0000000000000001", "5e-324"],
    ["8000000000000001", "-5e-324"],
    ["7fefffffffffffff", "1.7976931348623157e+308"],
    ["ffefffffffffffff", "-1.7976931348623157e+308"],
    ["4340000000000000", "9007199254740992"],
    ["c340000000000000", "-9007199254740992"],
    ["4430000000000000", "295147905179352830000"],
    ["44b52d02c7e14af5", "9.999999999999997e+22"],
    ["44b52d02c7e14af6", "1e+23"],
    ["44b52d02c7e14af7", "1.0000000000000001e+23"],
    ["444b1ae4d6e2ef4e", "999999999999999700000"],
    ["444b1ae4d6e2ef4f", "999999999999999900000"],
    ["444b1ae4d6e2ef50", "1e+21"],
    ["3eb0c6f7a0b5ed8c", "9.999999999999997e-7"],
    ["3eb0c6f7a0b5ed8d", "0.000001"],
    ["41b3de4355555553", "333333333.3333332"],
    ["41b3de4355555554", "333333333.33333325"],
    ["41b3de4355555555", "333333333.3333333"],
    ["41b3de4355555556", "333333333.3333334"],
    ["41b3de4355555557", "333333333.33333343"],
    ["becbf647612f3696", "-0.0000033333333333333333"],
    ["43143ff3c1cb0959", "1424953923781206.2"],
  ])("writes the double %s as %s", (bits, text) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(`0x${bits}`));
    expect(canonicalJson(view.getFloat64(0))).toBe(text);
  });

  it("agrees with another implementation on any well-formed JSON", () => {
    const unicode = fc.string({ unit: "binary" });
    const json = fc.jsonValue({ stringUnit: "binary", maxDepth: 6 });
    const wide = fc.dictionary(unicode, json, { minKeys: 20, maxKeys: 60 });
    fc.assert(
      fc.property(fc.oneof(json, wide), (value) => {
        expect(canonicalJson(value)).toBe(reference(value));
      }),
      { numRuns: 500 },
    );
  });

  it("sorts by UTF-16 code units and escapes NUL", () => {
    expect(canonicalJson({ "\u{10000}": 1, "\uFFFF": 2, a: 3, A: 4, "": "\0" })).toBe(
      '{"":"\\u0000","A":4,"a":3,"\u{10000}":1,"\uFFFF":2}',
    );
    expect(canonicalJson(Object.assign(Object.create(null), { b: 1, a: null }))).toBe('{"a":null,"b":1}');
  });

  class Point {
    readonly x = 1;
  }
  const cycle: Record<string, unknown> = {};
  cycle["me"] = [cycle];
  it.each<[string, unknown, string, string]>([
    ["lone surrogate in a value", { a: ["\ud800"] }, "json_lone_surrogate", "/a/0"],
    ["lone surrogate in a key", { a: { "\udc00": 1 } }, "json_lone_surrogate", "/a"],
    ["NaN", { "a/b~": [Number.NaN] }, "json_unsafe_number", "/a~1b~0/0"],
    ["infinity", [1, -Infinity], "json_unsafe_number", "/1"],
    ["undefined member", { a: undefined }, "json_not_plain", "/a"],
    ["undefined root", undefined, "json_not_plain", ""],
    ["array hole", [1, , 2], "json_not_plain", "/1"], // oxlint-disable-line no-sparse-arrays
    ["function", { a: () => 1 }, "json_not_plain", "/a"],
    ["toJSON", { toJSON: () => 1 }, "json_not_plain", "/toJSON"],
    ["bigint", [1n], "json_not_plain", "/0"],
    ["symbol", [Symbol("a")], "json_not_plain", "/0"],
    ["symbol key", { a: { [Symbol("a")]: 1 } }, "json_not_plain", "/a"],
    ["class instance", { a: new Point() }, "json_not_plain", "/a"],
    ["Date", { a: new Date(0) }, "json_not_plain", "/a"],
    ["Map", new Map(), "json_not_plain", ""],
    ["boxed string", [new String("a")], "json_not_plain", "/0"], // oxlint-disable-line no-new-wrappers
    ["bytes", [new Uint8Array(1)], "json_not_plain", "/0"],
    ["cycle", { a: cycle }, "json_not_plain", "/a/me/0"],
  ])("refuses: %s", (_name, value, code, path) => {
    let error: unknown;
    try {
      canonicalJson(value);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error).toMatchObject({ code, details: { path } });
  });

  it("nests up to the limit and no deeper", () => {
    expect(canonicalJson(nested(limits.jsonDepthMax))).toContain("1");
    for (const depth of [limits.jsonDepthMax + 1, 10_000, 1_000_000])
      expect(() => canonicalJson(nested(depth))).toThrow("json_too_deep");
  });
});
