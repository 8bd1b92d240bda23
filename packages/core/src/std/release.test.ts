import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { checkRelease, coreRelease } from "./release.ts";

describe("an installation", () => {
  it("of one release is taken", () => {
    checkRelease({ core: "1.2.0", node: "1.2.0" });
  });

  it("that was updated by half is refused, and says which part is behind", () => {
    expect(() => {
      checkRelease({ core: "1.2.0", node: "1.3.0" });
    }).toThrow(/release_mixed.*core=1\.2\.0, node=1\.3\.0|release_mixed[\s\S]*node=1\.3\.0/);
  });

  it("names the release of its packages", () => {
    for (const name of ["core", "node"]) {
      const path = new URL(`../../../${name}/package.json`, import.meta.url);
      expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ version: coreRelease });
    }
  });
});
