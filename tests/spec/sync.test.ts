/** The protocol's vectors, its pinned digest, and the page that is normative: every rule names a test. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { errorCodes, protocolDigest, protocolVersion } from "@holdfast/core";
import { engineStatus, routes, statusByCode } from "@holdfast/server";
import { crypto } from "./ports.ts";
import { syncVectors } from "./sync-vectors.ts";
import { compareVectors } from "./vector-file.ts";

const root = new URL("../../", import.meta.url);
const page = readFileSync(new URL("spec/sync-protocol.md", root), "utf8");

describe("protocol v1", () => {
  it("keeps its shapes while it keeps its version", () => {
    expect(`${protocolVersion} ${protocolDigest(crypto).slice(0, 16)}`).toBe("1 1d18ffd3e9d9857f");
  });

  it("has vectors", () => {
    compareVectors("sync", syncVectors());
  });
});

interface Rule {
  readonly number: string;
  readonly text: string;
  readonly tests: readonly (readonly [file: string, title: string])[];
}

function rulesOf(text: string): readonly Rule[] {
  return [...text.matchAll(/^\| (P\d+) \| (.+) \| (.+) \|$/gm)].map(
    ([, number = "", rule = "", tests = ""]) => ({
      number,
      text: rule,
      tests: [...tests.matchAll(/\[[^\]]+\]\(\.\.\/([^)]+)\) "([^"]+)"/g)].map(
        ([, file = "", title = ""]) => [file, title] as const,
      ),
    }),
  );
}

describe("spec/sync-protocol.md", () => {
  const rules = rulesOf(page);

  it("numbers its rules without gaps, and every rule says MUST", () => {
    expect(rules.length).toBeGreaterThan(30);
    expect(rules.map(({ number }) => number)).toEqual(rules.map((_, at) => `P${at + 1}`));
    expect(rules.filter(({ text }) => !text.includes("MUST"))).toEqual([]);
    expect(page.match(/^\| P\d+ /gm)).toHaveLength(rules.length);
  });

  it.each(rules.map((rule) => [rule.number, rule] as const))("%s names a test", (_number, rule) => {
    expect(rule.tests.length).toBeGreaterThan(0);
    for (const [file, title] of rule.tests) {
      expect(readFileSync(new URL(file, root), "utf8")).toContain(title);
    }
  });

  it("has every route with its name, and every code with its status", () => {
    for (const { method, path } of routes) {
      expect(page).toContain(`\`${method.toUpperCase()} ${path}`);
    }
    for (const [code, status] of Object.entries({ ...statusByCode, ...engineStatus })) {
      expect(Object.hasOwn(errorCodes, code)).toBe(true);
      expect(page).toMatch(new RegExp(`^\\| ${status} \\|.*\`${code}\``, "m"));
    }
  });
});
