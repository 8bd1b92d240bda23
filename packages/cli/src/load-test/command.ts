/**
 * What `holdfast load-test` does: measures this machine, this version and a server under load, and says whether
 * stated bounds are kept. Everything happens in a temporary folder unless one is named.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HoldfastError, parseServerUrl } from "@holdfast/core";
import { InvalidArgumentError } from "commander";
import { readCode } from "../commands/enroll.ts";
import { exitCodes, type Output, table } from "../output.ts";
import { softwareVersion } from "../version.ts";
import { UsageError } from "../store.ts";
import { compareRuns, differencesOf } from "./compare.ts";
import { type Expectation, isKept, parseExpectation } from "./expectations.ts";
import { lineChart } from "./plot.ts";
import { figuresOf, readResult, type RunResult } from "./result.ts";
import { figureNames, type Ran, runSuites, suites } from "./run.ts";
import type { NamedServer } from "./site.ts";
import type { Suite } from "./suite.ts";
import { suiteSummaries } from "./suite-names.ts";

/** Options of the command, read. */
export interface LoadTestOptions {
  readonly store?: string | undefined;
  readonly suite?: readonly string[];
  readonly server?: string;
  readonly codeFile?: string;
  readonly delay?: number;
  readonly failing?: number;
  readonly seed: number;
  readonly quick?: boolean;
  readonly out?: string;
  readonly expect?: readonly string[];
  readonly compare?: readonly string[];
}

/** Runs suites and reports. `store`: what the flag named; the environment's store is not looked at. */
export async function run(options: LoadTestOptions, output: Output): Promise<void> {
  const quick = options.quick === true;
  const chosen = suites.filter(({ name }) => options.suite?.includes(name) ?? true);
  const expectations = expectationsOf(options.expect ?? [], chosen, quick);
  const server = await namedServer(options);
  if (options.out !== undefined) makeFolder(options.out, "--out");
  const kept = ownStore(options.store);
  const folder = kept ?? (await mkdtemp(join(tmpdir(), "holdfast-load-test-")));
  try {
    const ran = await runSuites({
      folder,
      suites: chosen,
      server,
      path: pathOf(options, server),
      seed: options.seed,
      quick,
      version: softwareVersion,
      sink: output.json ? undefined : process.stderr,
      began: (suite) => output.say(`${suite.name}: ${suiteSummaries[suite.name]}`),
    });
    await report(ran, expectations, options.out, output);
  } finally {
    if (kept === undefined) await rm(folder, { recursive: true, force: true });
  }
}

/** Faults are added to the simulated server; the way to a real one is taken as it is. */
function pathOf(options: LoadTestOptions, server: NamedServer | undefined) {
  const usual = server === undefined ? { delay: 50, failing: 5 } : { delay: 0, failing: 0 };
  return {
    delayMs: options.delay ?? usual.delay,
    failing: (options.failing ?? usual.failing) / 100,
  };
}

function expectationsOf(
  texts: readonly string[],
  chosen: readonly Suite[],
  quick: boolean,
): readonly Expectation[] {
  const known = figureNames(chosen, quick);
  try {
    return texts.map((text) => parseExpectation(text, known));
  } catch (error) {
    if (error instanceof InvalidArgumentError) throw new UsageError(`--expect: ${error.message}`);
    throw error;
  }
}

async function namedServer(options: LoadTestOptions): Promise<NamedServer | undefined> {
  if (options.server === undefined) {
    if (options.codeFile === undefined) return undefined;
    throw new UsageError("A code is for a server: name it with --server URL.");
  }
  const { root: url } = parseServerUrl(options.server);
  return { url, code: await readCode(options) };
}

/** The folder of `--store`, which must be new: a load test is no guest in a store that is used. */
function ownStore(folder: string | undefined): string | undefined {
  if (folder === undefined) return undefined;
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new UsageError("--store: a load test needs a folder that is new or empty.");
  }
  makeFolder(folder, "--store");
  return folder;
}

function makeFolder(folder: string, argument: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    throw new HoldfastError("output_unwritable", { argument }, { cause });
  }
}

async function report(
  { result, charts }: Ran,
  expectations: readonly Expectation[],
  out: string | undefined,
  output: Output,
): Promise<void> {
  if (out !== undefined) {
    try {
      writeFileSync(join(out, "result.json"), `${JSON.stringify(result, undefined, 2)}\n`);
      for (const [name, chart] of Object.entries(charts)) {
        writeFileSync(join(out, `${name}.svg`), lineChart(chart));
      }
    } catch (cause) {
      throw new HoldfastError("output_unwritable", { argument: "--out" }, { cause });
    }
  }
  const figures = figuresOf(result);
  const bounds = expectations.map((each) => ({
    bound: each.text,
    value: figures[each.figure] ?? null,
    kept: isKept(each, figures),
  }));
  await output.row({ ...result, expectations: bounds });
  await output.say(describe(result));
  for (const { bound, value, kept } of bounds) {
    await output.say(`${kept ? "kept  " : "MISSED"}  ${bound}: ${value ?? "not measured"}`);
  }
  const checks = result.suites.every((suite) => Object.values(suite.checks).every(Boolean));
  if (!checks || bounds.some(({ kept }) => !kept)) process.exitCode = exitCodes.checkFailed;
}

/** Figures with a percentile each are shown as a table, the others by name. */
function describe({ suites: results, machine, quick }: RunResult): string {
  const timings: (readonly unknown[])[] = [];
  const others: (readonly unknown[])[] = [];
  for (const { name, figures, checks } of results) {
    const prefixes = Object.keys(figures)
      .filter((figure) => figure.endsWith("p50_ms"))
      .map((figure) => figure.slice(0, -"p50_ms".length));
    for (const prefix of prefixes) {
      const of = (figure: string): unknown => figures[`${prefix}${figure}_ms`];
      const label = `${name} ${prefix.replace(/\.$/, "")}`.trimEnd();
      timings.push([label, ...["p50", "p90", "p95", "p99", "max"].map(of)]);
    }
    for (const [figure, value] of Object.entries(figures)) {
      if (!/(^|\.)(p\d\d|max)_ms$/.test(figure)) others.push([name, figure, value]);
    }
    for (const [check, holds] of Object.entries(checks)) {
      others.push([name, check, holds ? "yes" : "NO"]);
    }
  }
  const { cores, cpu, node, holdfast, load_before: before, load_after: after } = machine;
  const parts = [
    ...(timings.length === 0
      ? []
      : [`\n${table(["milliseconds", "p50", "p90", "p95", "p99", "max"], timings)}`]),
    `\n${table(["suite", "figure", "value"], others)}`,
    `\n${cores} cores (${cpu}), Node ${node}, holdfast ${holdfast}, load ${before} before and ${after} after`,
    ...(quick ? ["Tiny sizes: these figures mean nothing."] : []),
  ];
  return parts.join("\n");
}

/** Prints every figure of two results with its ratio. */
export async function compare(files: readonly string[], output: Output): Promise<void> {
  const [first, second, ...more] = files;
  if (first === undefined || second === undefined || more.length > 0) {
    throw new UsageError("--compare: name two results, A.json B.json.");
  }
  const [a, b] = [readResult(first, "--compare A"), readResult(second, "--compare B")];
  const figures = compareRuns(a, b);
  const differences = differencesOf(a, b);
  await output.row({ differences, figures });
  const rows = figures.map(({ figure, a: one, b: other, ratio }) => [
    figure,
    one ?? "",
    other ?? "",
    ratio === undefined ? "" : ratio.toFixed(2),
  ]);
  await output.say(table(["figure", "A", "B", "B / A"], rows));
  if (differences.length > 0) {
    await output.say(`\nThe runs differ in ${differences.join(", ")}: read the ratios with that.`);
  }
}
