/**
 * The long run: every vitest file with HOLDFAST_FULL=1 (long suites take their full figures), then the
 * process suites `*.suite.ts` of tests/ under node:test, then 10,000 seeds of the simulator. The last line sums
 * all three.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { listFiles, root } from "./project.ts";
import type { Tally } from "./reporter.ts";
import { tallyLines } from "./reporter.ts";

const env = { ...process.env, HOLDFAST_FULL: "1" };

function run(command: string, args: readonly string[]): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      process.stdout.write(chunk);
    });
    child.on("close", (code) => {
      resolve({ code: code ?? 1, output });
    });
  });
}

function countIn(output: string, pattern: RegExp): number {
  return Number([...output.matchAll(pattern)].at(-1)?.[1] ?? 0);
}

/** A suite that ended without a countable failure and yet not well counts as one failure. */
function read(
  { code, output }: { readonly code: number; readonly output: string },
  patterns: Readonly<Record<keyof Tally, RegExp>>,
): Tally {
  const failed = countIn(output, patterns.failed);
  return {
    passed: countIn(output, patterns.passed),
    failed: code !== 0 && failed === 0 ? 1 : failed,
    skipped: countIn(output, patterns.skipped),
  };
}

const vitest = join(root, "node_modules/vitest/vitest.mjs");
const first = read(await run(process.execPath, [vitest, "run"]), {
  passed: /^(\d+) passed, \d+ failed/gm,
  failed: /^\d+ passed, (\d+) failed/gm,
  skipped: /^(\d+) skipped\n\d+ passed, \d+ failed/gm,
});

const suites = listFiles("tests").filter((path) => path.endsWith(".suite.ts"));
const second =
  suites.length === 0
    ? { passed: 0, failed: 0, skipped: 0 }
    : read(
        await run(process.execPath, [
          "--conditions=@holdfast/source",
          "--test",
          "--test-reporter=tap",
          ...suites,
        ]),
        { passed: /^# pass (\d+)/gm, failed: /^# fail (\d+)/gm, skipped: /^# skipped (\d+)/gm },
      );

/** Ten thousand seeds of the simulator count as one test: any that fails is printed with its seed. */
const simulated = await run(process.execPath, [
  "--conditions=@holdfast/source",
  "tools/sim.ts",
  "--seeds",
  "10000",
  "--jobs",
  "2",
]);
const third = simulated.code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };

const sum: Tally = {
  passed: first.passed + second.passed + third.passed,
  failed: first.failed + second.failed + third.failed,
  skipped: first.skipped + second.skipped,
};
process.exitCode = sum.failed === 0 && sum.passed > 0 ? 0 : 1;
process.stdout.write(tallyLines(sum));
