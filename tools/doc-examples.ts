/**
 * Code blocks of README.md, docs/ and `@example` tags, run as they stand.
 *
 * A block fenced as `ts` is a program; `sh run` is a script for a POSIX shell, with `holdfast` on
 * its path, in a folder that holds nothing but the repository's `examples`; `sh run needs=NAME` is one where that is
 * installed. `ts no-run`, plain `sh` and every other fence are shown only.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import type { SourceText } from "./project.ts";
import { isTest, listFiles, readText, root } from "./project.ts";

/** One fenced block. */
export interface Example {
  readonly path: string;
  readonly line: number;
  readonly kind: "ts" | "sh";
  readonly run: boolean;
  /** What is to be installed where it runs. */
  readonly needs?: string;
  readonly code: string;
}

const fence = /^```(.*)$/;

function kindOf(label: string): Pick<Example, "kind" | "run" | "needs"> | undefined {
  const [language, ...flags] = label.trim().split(/\s+/);
  if (language === "ts" || language === "typescript")
    return { kind: "ts", run: !flags.includes("no-run") };
  if (language !== "sh" && language !== "bash") return undefined;
  const needs = flags.find((flag) => flag.startsWith("needs="))?.slice("needs=".length);
  return { kind: "sh", run: flags.includes("run"), ...(needs === undefined ? {} : { needs }) };
}

/** Blocks of one Markdown text; `firstLine` is the line of the file at which the text starts. */
export function blocksOf(path: string, text: string, firstLine = 1): readonly Example[] {
  const examples: Example[] = [];
  let open: { label: string; line: number; code: string[] } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const label = fence.exec(line.trim())?.[1];
    if (label === undefined) open?.code.push(line);
    else if (open === undefined) open = { label, line: firstLine + index, code: [] };
    else {
      const kind = kindOf(open.label);
      if (kind !== undefined)
        examples.push({ path, line: open.line, ...kind, code: `${open.code.join("\n")}\n` });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`${path}:${open.line} a code block has no end`);
  return examples;
}

/** Blocks in the `@example` tags of one source file. */
export function tagBlocksOf({ path, text }: SourceText): readonly Example[] {
  return [...text.matchAll(/\/\*\*[\s\S]*?\*\//g)].flatMap((comment) => {
    if (!comment[0].includes("@example")) return [];
    const firstLine = text.slice(0, comment.index).split("\n").length;
    const lines = comment[0].split("\n").map((line) => line.replace(/^\s*\* ?/, ""));
    return blocksOf(path, lines.join("\n"), firstLine);
  });
}

/** Every block of the repository. */
export function readExamples(): readonly Example[] {
  const files = listFiles();
  const pages = files.filter((path) => path === "README.md" || /^docs\/.*\.md$/.test(path));
  const code = files.filter((path) => /^packages\/.*\.ts$/.test(path) && !isTest(path));
  return [
    ...pages.flatMap((path) => blocksOf(path, readText(path))),
    ...code.flatMap((path) => tagBlocksOf({ path, text: readText(path) })),
  ];
}

/** What running a block did. */
export interface Outcome {
  readonly status: number | null;
  readonly output: string;
}

const programTimeoutMs = 280_000;
const condition = "--conditions=@holdfast/source";

function outcomeOf(result: ReturnType<typeof spawnSync>): Outcome {
  const output = `${String(result.stdout)}${String(result.stderr)}`;
  return { status: result.status, output };
}

function runProgram(code: string, folder: string): Outcome {
  // Packages are looked up from the file's own folder, so the file stands below node_modules' parent;
  // Node strips no types inside node_modules itself.
  const home = join(root, "reports");
  mkdirSync(home, { recursive: true });
  const place = mkdtempSync(join(home, "example-"));
  try {
    const file = join(place, "example.ts");
    writeFileSync(file, code);
    return outcomeOf(
      spawnSync(process.execPath, [condition, file], { cwd: folder, timeout: programTimeoutMs }),
    );
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

function runScript(code: string, folder: string, given: Environment): Outcome {
  const bin = join(folder, ".bin");
  mkdirSync(bin);
  const command = join(bin, "holdfast");
  const main = join(root, "packages/cli/src/main.ts");
  writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" ${condition} "${main}" "$@"\n`);
  chmodSync(command, 0o755);
  symlinkSync(join(root, "examples"), join(folder, "examples"));
  const env = {
    ...process.env,
    ...given,
    PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}`,
    HOLDFAST_STATE: join(folder, ".state"),
  };
  return outcomeOf(
    spawnSync("sh", ["-eu", "-c", code], { cwd: folder, env, timeout: programTimeoutMs }),
  );
}

type Environment = Readonly<Record<string, string>>;

/** Run one block in a folder of its own, a script with those variables. */
export function runExample({ kind, code }: Example, given: Environment = {}): Outcome {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-docs-"));
  try {
    return kind === "ts" ? runProgram(code, folder) : runScript(code, folder, given);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
