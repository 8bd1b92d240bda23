/** The penetration table against the tests that it names: a test that is gone, or a row that is, fails here. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "..");
const page = readFileSync(join(root, "docs/reference/penetration.md"), "utf8");

/** Letters of the page and the files that they stand for. */
const files = new Map(
  [...page.matchAll(/`([A-Z])` = `([^`]+)`/g)].map(([, letter = "", path = ""]) => [letter, path]),
);

interface Row {
  readonly name: string;
  readonly evidence: string;
}

function rowsUnder(heading: string): readonly Row[] {
  const [, after = ""] = page.split(`## ${heading}\n`);
  const [section = ""] = after.split("\n## ");
  const lines = section.split("\n").filter((line) => line.startsWith("| "));
  return lines.slice(2).map((line) => {
    const cells = line.split(" | ").map((cell) => cell.replaceAll(/^\| | \|$/g, ""));
    return { name: cells[0] ?? "", evidence: cells.at(-1) ?? "" };
  });
}

/** Tests that a cell names and that are not there. */
function missing(evidence: string): readonly string[] {
  if (evidence === "—") return [];
  return evidence.split(/; (?=[A-Z] › )/).filter((named) => {
    const [letter = "", ...rest] = named.split(" › ");
    const name = rest.join(" › ").trim();
    const path = join(root, files.get(letter) ?? "none");
    return name.length < 4 || !existsSync(path) || !readFileSync(path, "utf8").includes(name);
  });
}

const attacks = rowsUnder("Attacks by name");
const inputs = rowsUnder("Bad inputs");
const asvs = rowsUnder("OWASP ASVS 5.0, levels 1 and 2");

describe("the penetration table", () => {
  it("names files that are there", () => {
    expect(files.size).toBeGreaterThan(15);
    expect([...files.values()].filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });

  it.each([...attacks, ...inputs, ...asvs].map(({ name, evidence }) => [name, evidence] as const))(
    "%s: its tests are there",
    (_name, evidence) => {
      expect(missing(evidence)).toEqual([]);
    },
  );

  it("would notice a test that is not there", () => {
    expect(missing("D › a forged signature is refused and changes nothing")).toEqual([]);
    expect(missing("D › a test that nobody wrote")).toHaveLength(1);
    expect(missing("D › a forged signature; Q › no such file")).toHaveLength(1);
    expect(missing("")).toHaveLength(1);
  });

  it("has every row of the inputs that concern sync and server, and what is not built says so", () => {
    const range = (from: number, to: number) =>
      Array.from({ length: to - from + 1 }, (_, at) => String(from + at));
    const wanted = [...range(1, 36), ...range(42, 47), ...range(52, 54)];
    expect(inputs.map(({ name }) => name)).toEqual(wanted);
    const without = inputs.filter(({ evidence }) => evidence === "—").map(({ name }) => name);
    expect(without).toEqual(["16", "17", "54"]);
    expect(attacks.length).toBeGreaterThan(15);
    expect(attacks.every(({ evidence }) => evidence !== "—")).toBe(true);
    expect(asvs.length).toBeGreaterThan(40);
  });
});
