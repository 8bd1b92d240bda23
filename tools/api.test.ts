import ts from "typescript";
import { describe, expect, it } from "vitest";
import type { Api } from "./api.ts";
import { apiPages, checkApi, readApi, renderApi } from "./api.ts";
import { listFiles, namedEntryPoints, readText, root } from "./project.ts";

function apiOf(files: Readonly<Record<string, string>>): Api {
  const host = ts.createCompilerHost({});
  const inMemory = new Map(Object.entries(files).map(([name, text]) => [`${root}/${name}`, text]));
  const original = { ...host };
  host.fileExists = (path) => inMemory.has(path) || original.fileExists(path);
  host.readFile = (path) => inMemory.get(path) ?? original.readFile(path);
  host.getSourceFile = (path, version) => {
    const text = host.readFile(path);
    return text === undefined ? undefined : ts.createSourceFile(path, text, version);
  };
  const [api] = readApi([`${root}/index.ts`], host);
  if (api === undefined) throw new Error("no entry");
  return api;
}

describe("public exports", () => {
  const pages = apiPages();

  it("are documented, every one", () => {
    expect(pages.flatMap(({ problems }) => problems)).toEqual([]);
  });

  it("are those of the reference (rewrite it with npm run docs)", () => {
    expect(pages.map(({ path }) => path)).toHaveLength(namedEntryPoints().length);
    const kept = new Set(listFiles("docs"));
    expect([...kept].filter((path) => path.startsWith("docs/reference/api/"))).toHaveLength(
      namedEntryPoints().length,
    );
    for (const { path, text } of pages) expect(kept.has(path) ? readText(path) : "").toBe(text);
  });
});

describe("the reader", () => {
  const api = apiOf({
    "index.ts": 'export { twice, type Pair } from "./a.ts"; export * as all from "./a.ts";',
    "a.ts":
      "/** Two of them.\n *\n * More. */\nexport function twice(n: number) { return [n, n] as const; }\n" +
      "export interface Pair { /** First. */ readonly a: string }",
  });

  it("prints the inferred signature and the first paragraph", () => {
    const page = renderApi("x", api);
    expect(page.replace(/\s+/g, "")).toContain("functiontwice(n:number):readonly[number,number];");
    expect(page).toContain("Two of them.\n");
    expect(page).not.toContain("More.");
    expect(page).toContain("interface Pair {\n    readonly a: string;\n}");
  });

  it("finds exports without TSDoc", () => {
    expect(checkApi(api)).toContain("Pair: write TSDoc (purpose, shapes and units, error codes)");
    expect(checkApi(api).join()).not.toContain("twice");
  });
});
