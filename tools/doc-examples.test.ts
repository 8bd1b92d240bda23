import { describe, expect, it } from "vitest";
import { stockToolsMissing } from "../tests/backup/lab.ts";
import { softHsmMissing } from "../tests/keys/devices.ts";
import { createEmpty } from "../tests/postgres/cluster.ts";
import type { Example } from "./doc-examples.ts";
import { blocksOf, readExamples, runExample, tagBlocksOf } from "./doc-examples.ts";

/** Blocks that are shown and not run: commands that install, start a server, or need a terminal. */
const shownOnlyMax = 8;

/** Why what a block needs is not here. */
const missing: Readonly<Record<string, () => string | undefined>> = {
  softhsm: softHsmMissing,
  "stock-tools": stockToolsMissing,
};

const examples = readExamples();
const shownOnly = examples.filter(({ run }) => !run);
const runnable = examples.filter(({ run }) => run);

describe("documents", () => {
  it.for(runnable.map((example) => [`${example.path}:${example.line}`, example] as const))(
    "%s runs",
    async ([, example], context) => {
      const { needs } = example;
      if (needs !== undefined) {
        expect(Object.keys(missing)).toContain(needs);
        const why = missing[needs]?.();
        if (why !== undefined) context.skip(why);
      }
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
      "a\n```ts\nb();\n```\n```ts no-run\n```\n```text\n```\n```sh run needs=age\nc\n```\n```sh\n```\n";
    expect(
      blocksOf("a.md", text).map(({ line, kind, run, needs }) => [line, kind, run, needs]),
    ).toEqual([
      [2, "ts", true, undefined],
      [5, "ts", false, undefined],
      [9, "sh", true, "age"],
      [12, "sh", false, undefined],
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
