import { describe, expect, it } from "vitest";
import { createEmpty } from "../tests/postgres/cluster.ts";
import type { Example } from "./doc-examples.ts";
import { blocksOf, readExamples, runExample, tagBlocksOf } from "./doc-examples.ts";

/** Blocks that are shown and not run: commands that install, start a server, need a terminal, a token or stock age. */
const shownOnlyMax = 12;

const examples = readExamples();
const shownOnly = examples.filter(({ run }) => !run);
const runnable = examples.filter(({ run }) => run);

describe("documents", () => {
  it.each(runnable.map((example) => [`${example.path}:${example.line}`, example] as const))(
    "%s runs",
    async (_place, example) => {
      const wanted = example.code.includes("$DATABASE_URL");
      const given: Record<string, string> = wanted ? { DATABASE_URL: await createEmpty() } : {};
      const { status, output } = runExample(example, given);
      expect({ status, output: status === 0 ? "" : output }).toEqual({ status: 0, output: "" });
    },
  );

  it(`show at most ${shownOnlyMax} blocks that are not run (now ${shownOnly.length})`, () => {
    expect(shownOnly.map(({ path, line }) => `${path}:${line}`).length).toBeLessThanOrEqual(
      shownOnlyMax,
    );
  });
});

describe("the runner", () => {
  const example = (kind: "ts" | "sh", code: string): Example => ({
    path: "a.md",
    line: 1,
    kind,
    run: true,
    code,
  });

  it("finds blocks with their lines and labels", () => {
    const text =
      "a\n```ts\nb();\n```\n```ts no-run\n```\n```text\n```\n```sh run\nc\n```\n```sh\n```\n";
    expect(blocksOf("a.md", text).map(({ line, kind, run }) => [line, kind, run])).toEqual([
      [2, "ts", true],
      [5, "ts", false],
      [9, "sh", true],
      [12, "sh", false],
    ]);
    expect(() => blocksOf("a.md", "```ts\n")).toThrow("a code block has no end");
  });

  it("finds blocks in @example tags only", () => {
    const text =
      "x();\n/**\n * A.\n * @example\n * ```ts\n * b();\n * ```\n */\n/** ```ts\n c\n``` */";
    expect(tagBlocksOf({ path: "a.ts", text })).toEqual([
      { path: "a.ts", line: 5, kind: "ts", run: true, code: "b();\n" },
    ]);
  });

  it("runs programs with types, against the packages, and reports a failure", () => {
    const good =
      'import * as core from "@holdfast/core";\nconst n: number = 1;\nif (!core) throw n;';
    expect(runExample(example("ts", good))).toEqual({ status: 0, output: "" });
    const bad = runExample(example("ts", 'throw new Error("no");'));
    expect(bad.status).toBe(1);
    expect(bad.output).toContain("Error: no");
  });

  it("runs scripts to the first command that fails, with holdfast on the path", () => {
    expect(runExample(example("sh", "command -v holdfast >found; test -s found")).status).toBe(0);
    expect(runExample(example("sh", "false\ntrue")).status).toBe(1);
  });
});
