/** The table of `spec/sync-states.md` and the function are the same, cell by cell, in both directions. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { inputKinds, type InputKind, type LaneInput, phases, step } from "@holdfast/core";

const page = readFileSync(new URL("../../spec/sync-states.md", import.meta.url), "utf8");

/** Cells as the page has them: `phase input` → `next effects`. */
function cellsOfPage(): ReadonlyMap<string, string> {
  const cells = new Map<string, string>();
  const [, tables = ""] = page.split("## The table\n");
  for (const section of tables.split("\n### ").slice(1)) {
    const [phase = "", ...lines] = section.split("\n");
    const rows = lines.filter((line) => line.startsWith("| ") && !/^\| (Input|---)/.test(line));
    for (const row of rows) {
      const [input = "", next = "", effects = ""] = row.split("|").slice(1, 4).map(trimmed);
      const key = `${phase} ${input}`;
      expect(cells.has(key), `${key} stands twice`).toBe(false);
      cells.set(key, `${next} ${effects}`);
    }
  }
  return cells;
}

const trimmed = (text: string): string => text.trim();

function inputOf(kind: InputKind): LaneInput {
  switch (kind) {
    case "succeeded":
      return { kind, more: false };
    case "succeeded-more":
      return { kind: "succeeded", more: true };
    case "failed-now":
      return { kind: "failed", class: "now" };
    case "failed-smaller":
      return { kind: "failed", class: "smaller" };
    case "failed-after":
      return { kind: "failed", class: "after" };
    case "unauthorised":
      return { kind: "failed", class: "auth" };
    case "evidence":
      return { kind: "failed", class: "halt" };
    case "breaker-open":
      return { kind, waitMs: 1_000 };
    default:
      return { kind };
  }
}

function cellsOfFunction(): ReadonlyMap<string, string> {
  const cells = new Map<string, string>();
  for (const phase of phases) {
    for (const kind of inputKinds) {
      const { lane, effects } = step(
        { phase, failures: 0, immediate: 0, halvings: 0 },
        inputOf(kind),
      );
      const done = effects.map((effect) => effect.kind).join(", ");
      cells.set(`${phase} ${kind}`, `${lane.phase} ${done === "" ? "–" : done}`);
    }
  }
  return cells;
}

test("every cell of the function stands on the page, and no other", () => {
  const fromPage = cellsOfPage();
  const fromFunction = cellsOfFunction();
  expect(fromFunction.size).toBe(phases.length * inputKinds.length);
  expect([...fromPage.keys()].toSorted()).toEqual([...fromFunction.keys()].toSorted());
  for (const [key, cell] of fromFunction) expect(fromPage.get(key), key).toBe(cell);
});

test("the page names every phase and every input", () => {
  const [, list = ""] = page.split("## Phases\n");
  const [before = ""] = list.split("## The table\n");
  for (const phase of phases) expect(before).toContain(`| ${phase} |`);
  for (const kind of inputKinds) expect(before, kind).toMatch(new RegExp(`\\b${kind}\\b`));
});
