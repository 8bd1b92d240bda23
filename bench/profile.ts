/** Runs the bench again under `node --cpu-prof` and shows where its time went, by function's self time. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: {
      readonly functionName: string;
      readonly url: string;
      readonly lineNumber: number;
    };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

const shownMax = 40;

/** Lines "share  milliseconds  function  place", most first. */
export function summarise(profile: CpuProfile, max: number = shownMax): readonly string[] {
  const names = new Map(
    profile.nodes.map(({ id, callFrame: { functionName, url, lineNumber } }) => {
      const place = url.replace(/^.*\/(packages|bench|node_modules)\//, "$1/");
      return [
        id,
        `${functionName === "" ? "(anonymous)" : functionName}  ${place}:${lineNumber + 1}`,
      ];
    }),
  );
  const self = new Map<string, number>();
  let total = 0;
  for (const [at, id] of profile.samples.entries()) {
    const name = names.get(id) ?? "(unknown)";
    if (name.startsWith("(idle)")) continue;
    const took = (profile.timeDeltas[at] ?? 0) / 1_000;
    total += took;
    self.set(name, (self.get(name) ?? 0) + took);
  }
  return [...self]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, max)
    .map(([name, took]) => {
      const share = ((100 * took) / total).toFixed(1).padStart(5);
      return `${share} %  ${took.toFixed(0).padStart(7)} ms  ${name}`;
    });
}

/** The exit code of the bench. The profile goes to standard error. */
export async function runProfiled(words: readonly string[]): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-profile-"));
  try {
    const main = fileURLToPath(new URL("main.ts", import.meta.url));
    const code = await new Promise<number>((resolve) => {
      const child = spawn(
        process.execPath,
        ["--conditions=@holdfast/source", "--cpu-prof", `--cpu-prof-dir=${folder}`, main, ...words],
        { stdio: "inherit" },
      );
      child.once("close", (exit) => {
        resolve(exit ?? 1);
      });
    });
    for (const file of readdirSync(folder)) {
      const profile = JSON.parse(readFileSync(join(folder, file), "utf8")) as CpuProfile;
      for (const line of summarise(profile)) console.error(line);
    }
    return code;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
