/**
 * `npm run sim -- [--seeds N] [--from M] [--jobs J] [--bug NAME] [--twice]`, or `--bugs [--seeds N]`
 *
 * Runs seeds of the simulator on worker processes and prints what failed, with the commit and the end of the
 * trace; the same seed of the same commit fails again. `--bugs` plants each bug in turn and looks for the seed
 * that finds it by the oracle that it is meant for. Exit code: 0 well, 1 crash, 2 safety, 3 liveness, 4 a run that cannot be repeated, 5 a planted
 * bug that no seed found.
 */
import { fork } from "node:child_process";
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createNodeCrypto } from "@holdfast/node";
import {
  bugs,
  isFoundBy,
  loadSqlite,
  plantOf,
  runSeed,
  runSeedTwice,
  type SeedOptions,
  type Verdict,
} from "@holdfast/testkit";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "100" },
    from: { type: "string", default: "1" },
    jobs: { type: "string", default: "2" },
    bug: { type: "string" },
    bugs: { type: "boolean", default: false },
    twice: { type: "boolean", default: false },
    worker: { type: "boolean", default: false },
  },
});

const from = Number(values.from);
const until = from + Number(values.seeds);
const jobs = Math.max(1, Math.min(Number(values.jobs), until - from));

async function run(seed: number, bug: string | undefined): Promise<Verdict> {
  const base = { seed, sqlite: await loadSqlite(), crypto: createNodeCrypto() };
  const options: SeedOptions =
    bug === undefined ? base : { ...base, plant: plantOf(bug), knobs: bugs[bug]?.knobs ?? {} };
  return values.twice ? runSeedTwice(options) : runSeed(options);
}

function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

function print({ seed, code, text, hash, tail }: Verdict): void {
  const again = `npm run sim -- --from ${seed} --seeds 1${values.bug === undefined ? "" : ` --bug ${values.bug}`}`;
  console.log(`seed ${seed} failed with ${code} at commit ${commit()}, trace ${hash}: ${again}`);
  console.log(text);
  for (const line of tail) console.log(`  ${line}`);
}

/** Runs every seed of its portion and tells each verdict. */
async function work(): Promise<void> {
  for (let seed = from; seed < until; seed++) {
    process.send?.(await run(seed, values.bug));
  }
  process.disconnect?.();
}

/** Seeds of one process: enough to pay for its start, few enough that a crash loses little. */
const portionMax = 200;

/** Shares the seeds among processes: each takes the next portion. */
async function share(): Promise<readonly Verdict[]> {
  const verdicts: Verdict[] = [];
  // Equal ones, so that no process is left alone with the last.
  const rounds = Math.ceil((until - from) / (jobs * portionMax));
  const portion = Math.ceil((until - from) / (jobs * rounds));
  let next = from;
  async function serve(): Promise<void> {
    while (next < until) {
      const first = next;
      next = Math.min(until, first + portion);
      await runApart(first, next - first, verdicts);
    }
  }
  await Promise.all(Array.from({ length: jobs }, serve));
  return verdicts;
}

/** Runs seeds in a process of their own. */
async function runApart(first: number, seeds: number, verdicts: Verdict[]): Promise<void> {
  const args = ["--worker", "--from", String(first), "--seeds", String(seeds)];
  if (values.bug !== undefined) args.push("--bug", values.bug);
  if (values.twice) args.push("--twice");
  const child = fork(fileURLToPath(import.meta.url), args, {
    execArgv: ["--conditions=@holdfast/source", "--max-semi-space-size=64"],
  });
  child.on("message", (message) => {
    const verdict = message as Verdict;
    verdicts.push(verdict);
    if (verdict.code !== 0) print(verdict);
  });
  const code = await new Promise<number>((resolve) => {
    child.on("close", (left) => {
      resolve(left ?? 1);
    });
  });
  if (code !== 0) throw new Error(`a worker ended with ${code}`);
}

/** Looks for the first seed whose oracle finds each bug, and prints a table of them. */
async function hunt(): Promise<number> {
  let survivors = 0;
  console.log("| bug | found by seed | code | other ends before | seconds | oracle |");
  console.log("| --- | --- | --- | --- | --- | --- |");
  for (const name of Object.keys(bugs)) {
    if (values.bug !== undefined && values.bug !== name) continue;
    const started = performance.now();
    let found: Verdict | undefined;
    const others: number[] = [];
    for (let seed = from; seed < until && found === undefined; seed++) {
      const verdict = await run(seed, name);
      if (isFoundBy(name, verdict)) found = verdict;
      else if (verdict.code !== 0) others.push(seed);
    }
    if (found === undefined) survivors += 1;
    const [line = ""] = (found?.text ?? "").split("\n");
    const cells = [
      name,
      found?.seed ?? "NOT FOUND",
      found?.code ?? "-",
      others.length === 0 ? "-" : `${others.length} (seed ${others[0] ?? "?"})`,
      ((performance.now() - started) / 1_000).toFixed(1),
      line.slice(0, 120).replaceAll("|", "/"),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
  return survivors === 0 ? 0 : 5;
}

if (values.worker) await work();
else if (values.bugs) process.exitCode = await hunt();
else {
  const started = performance.now();
  const verdicts = await share();
  const failed = verdicts.filter(({ code }) => code !== 0).toSorted((a, b) => a.seed - b.seed);
  const steps = verdicts.reduce((sum, verdict) => sum + verdict.steps, 0);
  const seconds = (performance.now() - started) / 1_000;
  const rate = Math.round((1_000 * seconds) / Math.max(1, verdicts.length));
  console.log(
    `${verdicts.length} seeds, ${failed.length} failed, ${steps} steps, ${seconds.toFixed(1)} s, ${rate} ms a seed`,
  );
  process.exitCode = failed[0]?.code ?? (verdicts.length === until - from ? 0 : 1);
}
