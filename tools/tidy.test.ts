import { describe, expect, it } from "vitest";
import type { Finding, SourceText } from "./project.ts";
import { entryPoints, isCode, packageFolders } from "./project.ts";
import { formatFinding, readFiles, runTidy } from "./tidy.ts";
import {
  checkBarrels,
  checkCoreOrder,
  checkCycles,
  checkPackages,
  checkPurity,
  checkVerifier,
  importGraph,
} from "./tidy/imports.ts";
import {
  checkDefaultExports,
  checkFileSizes,
  checkFunctionSizes,
  checkNames,
  checkSyntax,
  longerWithReason,
  sizes,
} from "./tidy/shape.ts";
import { checkLinks, checkText } from "./tidy/text.ts";

const file = (path: string, text: string): SourceText => ({ path, text });
const texts = (findings: readonly Finding[]): readonly string[] => findings.map(formatFinding);
const lines = (count: number): string => "f();\n".repeat(count);

describe("the repository", () => {
  const files = readFiles();
  const code = files.filter(({ path }) => isCode(path));

  it("is tidy", () => {
    expect(texts(runTidy(files, new Set(entryPoints())))).toEqual([]);
  });

  // A walk that finds no files, or a resolver that finds no imports, would pass every check.
  it("is really looked at", () => {
    expect(code.length).toBeGreaterThanOrEqual(60);
    for (const folder of packageFolders())
      expect(code.map(({ path }) => path)).toContain(`packages/${folder}/src/index.ts`);
    const edges = [...importGraph(code).values()].flat().length;
    expect(edges).toBeGreaterThanOrEqual(90);
    expect(entryPoints().length).toBeGreaterThanOrEqual(packageFolders().length);
  });

  it("gives a reason for every longer file or function", () => {
    for (const reason of Object.values(longerWithReason))
      expect(reason.length).toBeGreaterThanOrEqual(20);
  });
});

describe("core order", () => {
  it("refuses an import of a later folder, of src itself, and a file outside the folders", () => {
    const found = checkCoreOrder([
      file("packages/core/src/proof/tree.ts", 'import { a } from "../seal/header.ts";'),
      file("packages/core/src/std/a.ts", 'export type A = import("../index.ts").B;'),
      file("packages/core/src/stray.ts", ""),
    ]);
    expect(texts(found)).toEqual([
      expect.stringContaining("proof imports only std, telemetry, event, keys, proof: move"),
      expect.stringContaining("std/a.ts:1 [core-order] imports ../index.ts"),
      expect.stringContaining("stands in no folder of core; move it into one of std"),
    ]);
  });

  it("accepts earlier folders and itself", () => {
    const text = 'import { a } from "../std/bytes.ts"; import { b } from "./b.ts";';
    expect(checkCoreOrder([file("packages/core/src/seal/a.ts", text)])).toEqual([]);
  });
});

describe("packages", () => {
  it.each([
    ["packages/core/src/std/a.ts", 'import "@holdfast/node";', "no other package"],
    ["packages/node/src/a.ts", 'import "@holdfast/testkit";', "only @holdfast/core"],
    ["packages/testkit/src/a.ts", 'await import("@holdfast/node");', "only @holdfast/core"],
    ["packages/cli/src/a.ts", 'import "@holdfast/server";', "@holdfast/server/serve"],
    ["packages/console/src/a.ts", 'import { x } from "@holdfast/server/api";', "(types)"],
    ["packages/node/src/a.ts", 'import "../../core/src/std/bytes.ts";', "by its name"],
    ["tests/a.test.ts", 'import "holdfast";', "imports holdfast"],
    ["bench/a.ts", 'import "../packages/core/src/index.ts";', "by its name"],
    ["tests/a.test.ts", 'export * from "../examples/diary/main.ts";', "imports an example"],
  ])("%s may not: %s", (path, text, part) => {
    expect(texts(checkPackages([file(path, text)]))).toEqual([expect.stringContaining(part)]);
  });

  it.each([
    ["packages/cli/src/a.ts", 'import "@holdfast/packs"; import "@holdfast/server/serve";'],
    ["packages/console/src/a.ts", 'import type { X } from "@holdfast/server/api";'],
    ["packages/core/src/std/a.test.ts", 'import "@holdfast/testkit"; import "node:fs";'],
    ["tools/a.ts", 'import "@holdfast/core"; import "holdfast";'],
  ])("%s may: %s", (path, text) => {
    expect(checkPackages([file(path, text)])).toEqual([]);
  });
});

describe("purity", () => {
  const at = "packages/core/src/std/a.ts";

  it.each([
    ['import { readFileSync } from "node:fs";', "declare a port"],
    ['import { readFileSync } from "fs";', "declare a port"],
    ["const t = Date.now();", "use the Clock port"],
    ["const t = new Date();", "use the Clock port"],
    ["const r = Math.random();", "use the Random port"],
    ["const f = () => crypto;", "use the Crypto or Random port"],
    ["const deps = { fetch };", "use a transport"],
    ["setTimeout(() => {}, 1);", "use the Timers port"],
    ["process.exit();", "`deps`"],
    ['console.log("x");', "use the Observer port"],
    ["const n = performance.now();", "use the Clock port"],
    ["globalThis.x = 1;", "`deps`"],
  ])("refuses %s", (text, part) => {
    expect(texts(checkPurity([file(at, text)]))).toEqual([expect.stringContaining(part)]);
  });

  it.each([
    "interface Deps { readonly crypto: Crypto; fetch(): void; process: string }",
    "export function f({ crypto }: Deps) { return crypto.sha256(); }",
    "export const f = (process: () => void) => { process(); };",
    "import type { Crypto as crypto } from './ports.ts'; let x: typeof crypto;",
    "const iso = new Date(1).toISOString(); const m = Math.floor(1.5); const u = Date.UTC(2020);",
    "deps.crypto.sha256(deps.performance, { console: 1 });",
  ])("accepts %s", (text) => {
    expect(texts(checkPurity([file(at, text)]))).toEqual([]);
  });

  it("leaves tests and other packages alone", () => {
    const text = "console.log(Date.now());";
    expect(
      checkPurity([file("packages/core/src/std/a.test.ts", text), file("tools/a.ts", text)]),
    ).toEqual([]);
  });
});

describe("imports between files", () => {
  it("refuses barrels inside a package", () => {
    const entry = "packages/core/src/index.ts";
    const text = 'export { a } from "./a.ts"; export * from "./b.ts";';
    const sources = [file(entry, text), file("packages/core/src/std/index.ts", text)];
    const found = texts(checkBarrels(sources, new Set([entry])));
    expect(found).toHaveLength(3);
    expect(found[0]).toContain("name the file after what it holds");
    expect(found[1]).toContain("re-export in src/index.ts only");
  });

  it("refuses cycles, of types too", () => {
    const found = checkCycles([
      file("tools/a.ts", 'import "./b.ts";'),
      file("tools/b.ts", 'import type { C } from "./c.ts";'),
      file("tools/c.ts", 'export * from "./a.ts";'),
    ]);
    expect(texts(found)).toEqual([
      expect.stringContaining("tools/a.ts -> tools/b.ts -> tools/c.ts -> tools/a.ts"),
    ]);
  });

  it("keeps the verifier apart from the writer", () => {
    const found = checkVerifier([
      file("packages/core/src/store/verify.ts", 'import "./reader.ts";'),
      file("packages/core/src/store/reader.ts", 'import "./writer.ts";'),
      file("packages/core/src/store/writer.ts", ""),
    ]);
    expect(texts(found)).toEqual([expect.stringContaining("reaches the writer")]);
  });
});

describe("shape", () => {
  it("refuses long files", () => {
    expect(checkFileSizes([file("tools/a.ts", lines(sizes.fileLinesMax))])).toEqual([]);
    expect(texts(checkFileSizes([file("tools/a.ts", lines(sizes.fileLinesMax + 1))]))).toEqual([
      expect.stringContaining("has 501 lines; split it by meaning"),
    ]);
  });

  it("refuses long functions; a nested function counts for itself", () => {
    const fits = `function a() {\n${lines(sizes.functionLinesMax - 2)}}\n`;
    expect(checkFunctionSizes([file("tools/a.ts", fits)])).toEqual([]);
    const long = `const a = () => {\n${lines(sizes.functionLinesMax - 1)}};\n`;
    expect(texts(checkFunctionSizes([file("tools/a.ts", long)]))).toEqual([
      expect.stringContaining("a has 71 lines of its own"),
    ]);
    const factory = `function createA() {\nreturn {\n${`b() {\n${lines(50)}},\n`.repeat(3)}};\n}\n`;
    expect(checkFunctionSizes([file("tools/a.ts", factory)])).toEqual([]);
    const whole = `function createA() {\nreturn {\n${`b() {\n${lines(50)}},\n`.repeat(4)}};\n}\n`;
    expect(texts(checkFunctionSizes([file("tools/a.ts", whole)]))).toEqual([
      expect.stringContaining("212 lines with nested functions"),
    ]);
  });

  it("measures the tests of a group one by one", () => {
    const test = `it("x", () => {\n${lines(40)}});\n`;
    const group = `describe("x", () => {\n${test.repeat(6)}});\n`;
    expect(checkFunctionSizes([file("tools/a.test.ts", group)])).toEqual([]);
    expect(checkFunctionSizes([file("tools/a.ts", group)])).toHaveLength(1);
  });

  it.each(["export default 1;", "export default function f() {}", "export { a as default };"])(
    "refuses %s",
    (text) => {
      expect(texts(checkDefaultExports([file("tools/a.ts", text)]))).toEqual([
        expect.stringContaining("export it by name"),
      ]);
      expect(checkDefaultExports([file("vitest.config.ts", text)])).toEqual([]);
    },
  );

  it.each([
    ["const a: any = 1;", "use unknown"],
    ["const a = b as any;", "use unknown"],
    ["enum A { b }", "union of string literals"],
    ["namespace A { export const b = 1; }", "a module is one already"],
    ["class A { constructor(readonly b: string) {} }", "declare the field"],
  ])("refuses %s", (text, part) => {
    expect(texts(checkSyntax([file("tools/a.ts", text)]))).toEqual([expect.stringContaining(part)]);
  });

  it("accepts words of comments and strings, and global declarations", () => {
    const text = 'declare global { var a: string }\nconst b = "enum any"; // as any';
    expect(checkSyntax([file("tools/a.ts", text)])).toEqual([]);
  });

  it.each([
    ["packages/core/src/std/utils.ts", "", '"utils" in the path'],
    ["packages/core/src/helpers/a.ts", "", '"helpers" in the path'],
    ["tools/a.ts", "export class EventManager {}", '"manager" in EventManager'],
    ["tools/a.ts", "export const eventData = 1;", '"data" in eventData'],
    ["tools/a.ts", "export interface HTTPHandlers {}", '"handlers" in HTTPHandlers'],
    ["tools/a.ts", "const a = 1; export { a as baseImpl };", '"base" in baseImpl'],
  ])("refuses names: %s %s", (path, text, part) => {
    expect(texts(checkNames([file(path, text)]))).toEqual([expect.stringContaining(part)]);
  });

  it("accepts words that only contain one, the vocabulary, and names that stay inside", () => {
    const text =
      "export const database = 1, metadata = 2, base64url = 3, dataKey = 4, DATA_KEYS = 5;\n" +
      "export interface DataKeyRow {}\nconst info = 6;";
    expect(checkNames([file("packages/core/src/keys/data-key.ts", text)])).toEqual([]);
  });
});

describe("text", () => {
  it.each([
    ["a.md", `${"TO"}DO: later`, "work left"],
    ["a.ts", `// @ts-${"ignore"}`, "correct the type"],
    ["a.ts", `it${".only"}("x");`, "run all of them"],
    ["a.ts", `describe${".skip"}("x");`, "stated reason"],
    ["a.ts", `const path = "/${"tmp"}/x";`, "os.tmpdir()"],
    ["a.md", `see /${"home"}/someone/x`, "a path of one machine"],
    ["a.json", `"https://registry.${"npmjs"}.org/x"`, "a package registry's host"],
  ])("%s may not hold %s", (path, text, part) => {
    expect(texts(checkText([file(path, text)]))).toEqual([expect.stringContaining(part)]);
  });

  it("accepts the same letters elsewhere", () => {
    const text = "the homework/only( of XTODOX; /usr/bin/node; https://host/home/ x.only";
    expect(checkText([file("a.ts", text)])).toEqual([]);
  });

  it("finds links that lead nowhere", () => {
    const text = "[a](b.md) [c](../c.md#d) [e](https://host/e) [f](#f)\n[g](gone.md)";
    const there = new Set(["docs/b.md", "c.md"]);
    expect(texts(checkLinks([file("docs/a.md", text)], (path) => there.has(path)))).toEqual([
      expect.stringContaining("docs/a.md:2 [links] links to gone.md"),
    ]);
  });
});
