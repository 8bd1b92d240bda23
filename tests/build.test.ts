/** The packages as they are published: built by tsc, imported by plain Node without the source condition. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const compiler = join(root, "node_modules/@typescript/native/bin/tsc");
const published = ["core", "node", "packs", "server", "testkit", "cli"];

function run(...args: readonly string[]): string {
  return execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });
}

describe("the built packages", () => {
  beforeAll(() => {
    const projects = published.map((folder) => `packages/${folder}/tsconfig.build.json`);
    run(compiler, "-b", ...projects);
  });

  it("are imported from dist, core with the same names as its source", () => {
    const names = 'console.log(JSON.stringify(Object.keys(await import("@holdfast/core")).sort()))';
    const where = 'console.log(import.meta.resolve("@holdfast/core"))';
    expect(run("--input-type=module", "-e", where)).toContain("packages/core/dist/index.js");
    const built = run("--input-type=module", "-e", names);
    const source = run("--conditions=@holdfast/source", "--input-type=module", "-e", names);
    expect(JSON.parse(built)).toEqual(JSON.parse(source));
  });

  it.each(published)("%s has its code and its types in dist, and no test", (folder) => {
    const dist = join(root, "packages", folder, "dist");
    for (const file of ["index.js", "index.d.ts"]) expect(existsSync(join(dist, file))).toBe(true);
    const name = folder === "cli" ? "holdfast" : `@holdfast/${folder}`;
    run("--input-type=module", "-e", `await import("${name}")`);
  });
});
