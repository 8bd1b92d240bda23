import { errorCodes } from "@holdfast/core";
import { createProgram } from "holdfast";
import { describe, expect, it } from "vitest";
import { readText } from "./project.ts";
import { cliPage, errorsSource, groupsOf, referencePages } from "./reference.ts";

describe("the reference of command and codes", () => {
  it.each(referencePages().map(({ path, text }) => [path, text] as const))(
    "%s is what the program says (rewrite it with npm run docs)",
    (path, text) => {
      expect(readText(path)).toBe(text);
    },
  );

  it("names every error code once", () => {
    const named = groupsOf(errorsSource()).flatMap(([, codes]) => codes);
    expect(named).toEqual(Object.keys(errorCodes));
  });

  it("changes with an option", () => {
    const program = createProgram();
    program.commands[0]?.option("--another <thing>", "a new option");
    expect(cliPage(program)).toContain("| `--another <thing>` | a new option |");
    expect(cliPage(createProgram())).not.toContain("--another");
  });
});
