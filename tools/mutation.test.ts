import { describe, expect, it } from "vitest";
import { merged, type Mutant, scores, scoreTable, survivorList } from "./mutation.ts";

function mutant(status: string, line: number, fileName = "packages/core/src/a.ts"): Mutant {
  const location = { start: { line, column: 3 }, end: { line, column: 9 } };
  return { fileName, mutatorName: "BooleanLiteral", replacement: "false", status, location };
}

describe("the mutation report", () => {
  const first = [
    mutant("Killed", 1),
    mutant("Timeout", 2),
    mutant("Ignored", 3),
    mutant("Survived", 4, "packages/core/src/b.ts"),
  ];

  it("puts later verdicts in the place of earlier ones, place by place", () => {
    const later = [mutant("NoCoverage", 3), mutant("Ignored", 1), mutant("Killed", 9)];
    expect(merged(first, later).map(({ status }) => status)).toEqual([
      "Killed",
      "Timeout",
      "NoCoverage",
      "Survived",
    ]);
  });

  it("counts by file, and leaves what nobody judged out of the score", () => {
    expect(scores(first)).toEqual([
      { file: "packages/core/src/a.ts", killed: 1, timedOut: 1, survived: 0, score: 100 },
      { file: "packages/core/src/b.ts", killed: 0, timedOut: 0, survived: 1, score: 0 },
      { file: "all", killed: 1, timedOut: 1, survived: 1, score: 66.7 },
    ]);
    expect(scoreTable(scores(first)).split("\n")).toContain("| b.ts | 0 | 0 | 1 | 0.0 % |");
  });

  it("lists the survivors with their places", () => {
    expect(survivorList([...first, mutant("NoCoverage", 5)])).toBe(
      "- packages/core/src/b.ts:4:3 BooleanLiteral: `false`\n" +
        "- packages/core/src/a.ts:5:3 BooleanLiteral (no test reaches it): `false`\n",
    );
  });
});
