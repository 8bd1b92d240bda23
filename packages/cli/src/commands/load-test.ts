/**
 * `holdfast load-test`: measures this machine, this version and a server under load, and says whether stated bounds
 * are kept. Everything happens in a temporary folder unless one is named.
 */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HoldfastError, parseServerUrl } from "@holdfast/core";
import { Command, InvalidArgumentError, Option } from "commander";
import { compareRuns, differencesOf } from "../load-test/compare.ts";
import { type Expectation, isKept, parseExpectation } from "../load-test/expectations.ts";
import { lineChart } from "../load-test/plot.ts";
import { figuresOf, readResult, type RunResult } from "../load-test/result.ts";
import { figureNames, type Ran, runSuites, suites } from "../load-test/run.ts";
import type { NamedServer } from "../load-test/site.ts";
import type { Suite } from "../load-test/suite.ts";
import { exitCodes, type Output, table } from "../output.ts";
import { type StoreOptions, UsageError } from "../store.ts";
import { readCode } from "./enroll.ts";
import { contextOf, position } from "./options.ts";

interface LoadTestOptions {
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

const notes = `
Suites: ${suites.map(({ name, summary }) => `\n  ${name.padEnd(8)} ${summary}`).join("")}

Without --server the project's own server runs in this process, over HTTP on this machine, behind a path that
delays each request by 50 ms and fails 5 % of them in the suite latency. A server that is named needs an enrolment
code, from --code-file, HOLDFAST_CODE or a prompt; it keeps what the test delivers: use one that is made for it.
The store is temporary unless --store names a new folder; HOLDFAST_STORE is not looked at.
A bound of --expect names a figure with its suite; p95<5000ms is one of latency. Exit code 1: a bound or a check failed.`;

/** The command. */
export function loadTestCommand(): Command {
  return new Command("load-test")
    .description("measure recording and delivery under load, and check stated bounds")
    .addOption(
      new Option("--suite <name...>", "suites to run; default: all").choices(
        suites.map(({ name }) => name),
      ),
    )
    .option("--server <url>", "a server that runs; default: one in this process")
    .option("--code-file <file>", "file that holds the code to enrol at the server")
    .option(
      "--delay <ms>",
      "delay of each request in latency; default: 50, or 0 with --server",
      position,
    )
    .option(
      "--failing <percent>",
      "requests that fail in latency; default: 5, or 0 with --server",
      percent,
    )
    .option("--seed <number>", "chooses which requests fail", position, 1)
    .option("--quick", "tiny sizes, to try the command; the figures mean nothing")
    .option("--out <dir>", "folder for result.json and a plot of each suite as SVG")
    .option("--expect <bound...>", "bounds to keep, such as p95<5000ms or workers.lost<1")
    .option("--compare <file...>", "two results instead of a run: every figure and its ratio")
    .addHelpText("after", notes)
    .action(async (_, command: Command) => {
      const { options, output } = contextOf<LoadTestOptions>(command);
      if (options.compare === undefined) await run(options, output, command);
      else await compare(options.compare, output);
    });
}

function percent(text: string): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value > 50) {
    throw new InvalidArgumentError("A percentage from 0 to 50 is needed.");
  }
  return value;
}

async function run(
  options: LoadTestOptions & StoreOptions,
  output: Output,
  command: Command,
): Promise<void> {
  const quick = options.quick === true;
  const chosen = suites.filter(({ name }) => options.suite?.includes(name) ?? true);
  const expectations = expectationsOf(options.expect ?? [], chosen, quick);
  const server = await namedServer(options);
  if (options.out !== undefined) makeFolder(options.out, "--out");
  const kept = ownStore(command);
  const folder = kept ?? (await mkdtemp(join(tmpdir(), "holdfast-load-test-")));
  try {
    const ran = await runSuites({
      folder,
      suites: chosen,
      server,
      path: pathOf(options, server),
      seed: options.seed,
      quick,
      version: command.parent?.version() ?? "",
      sink: output.json ? undefined : process.stderr,
      began: (suite) => output.say(`${suite.name}: ${suite.summary}`),
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
function ownStore(command: Command): string | undefined {
  const folder = command.parent?.opts<StoreOptions>().store;
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

async function compare(files: readonly string[], output: Output): Promise<void> {
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
