/**
 * Mutation score of `seal`, `proof` and the header reader: `npm run mutation`.
 *
 * Stryker changes one thing at a time (a comparison, a constant, a statement left out …) and runs the tests
 * that reach it; a mutant that no test notices *survived*. Two passes, because what runs while a module
 * loads needs every test file loaded again for each mutant: first all mutants that tests reach by
 * themselves, then those of module constants. The score counts killed and timed-out mutants among all.
 *
 * `npm run mutation -- packages/core/src/proof/note.ts …` limits the run to files; `-- --survivors` judges
 * again what the last run left alive, for whoever adds tests. The table goes to the console, the survivors to
 * reports/mutation/survivors.md, all mutants to reports/mutation/mutants.json. It is a report: survivors do
 * not fail it.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { Stryker } from "@stryker-mutator/core";
import { root } from "./project.ts";

/** What became of one mutant. */
export interface Mutant {
  readonly fileName: string;
  readonly mutatorName: string;
  readonly replacement: string;
  readonly status: string;
  readonly location: {
    readonly start: { readonly line: number; readonly column: number };
    readonly end: { readonly line: number; readonly column: number };
  };
}

/** Mutants of one file, counted. */
export interface FileScore {
  readonly file: string;
  readonly killed: number;
  readonly timedOut: number;
  readonly survived: number;
  /** Percent, one decimal. */
  readonly score: number;
}

const unnoticed: ReadonlySet<string> = new Set(["Survived", "NoCoverage"]);
// Stryker's ranges count columns from 0, its results from 1.
const rangeOf = ({ fileName, location: { start, end } }: Mutant): string =>
  `${fileName}:${start.line}:${start.column - 1}-${end.line}:${end.column - 1}`;
const keyOf = (mutant: Mutant): string =>
  `${rangeOf(mutant)} ${mutant.mutatorName} ${mutant.replacement}`;

/** Earlier verdicts with later ones in their place. */
export function merged(earlier: readonly Mutant[], later: readonly Mutant[]): readonly Mutant[] {
  const judged = new Map(later.map((mutant) => [keyOf(mutant), mutant]));
  return earlier.map((mutant) => {
    const again = judged.get(keyOf(mutant));
    return again === undefined || again.status === "Ignored" ? mutant : again;
  });
}

function scoreOf(file: string, mutants: readonly Mutant[]): FileScore {
  const count = (status: string): number =>
    mutants.filter((mutant) => mutant.status === status).length;
  const [killed, timedOut] = [count("Killed"), count("Timeout")];
  const survived = mutants.filter(({ status }) => unnoticed.has(status)).length;
  const all = killed + timedOut + survived;
  const score = all === 0 ? 100 : Math.round((1000 * (killed + timedOut)) / all) / 10;
  return { file, killed, timedOut, survived, score };
}

/** One row for each file, by name, and the sum. */
export function scores(mutants: readonly Mutant[]): readonly FileScore[] {
  const byFile = Map.groupBy(mutants, ({ fileName }) => fileName);
  const rows = [...byFile].map(([file, own]) => scoreOf(file, own));
  return [...rows.toSorted((a, b) => (a.file < b.file ? -1 : 1)), scoreOf("all", mutants)];
}

/** The rows as a table in Markdown. */
export function scoreTable(rows: readonly FileScore[]): string {
  return [
    "| File | Killed | Timed out | Survived | Score |",
    "| --- | ---: | ---: | ---: | ---: |",
    ...rows.map(
      ({ file, killed, timedOut, survived, score }) =>
        `| ${file.replace("packages/core/src/", "")} | ${killed} | ${timedOut} | ${survived} | ${score.toFixed(1)} % |`,
    ),
    "",
  ].join("\n");
}

/** The mutants that no test notices, one line each. */
export function survivorList(mutants: readonly Mutant[]): string {
  return mutants
    .filter(({ status }) => unnoticed.has(status))
    .map(({ fileName, location, mutatorName, replacement, status }) => {
      const place = `${fileName}:${location.start.line}:${location.start.column}`;
      const reached = status === "NoCoverage" ? " (no test reaches it)" : "";
      return `- ${place} ${mutatorName}${reached}: \`${replacement.replaceAll(/\s+/g, " ")}\`\n`;
    })
    .join("");
}

async function run(options: {
  readonly ignoreStatic: boolean;
  readonly mutate?: string[];
}): Promise<readonly Mutant[]> {
  const results = await new Stryker(options).runMutationTest();
  return results.map(({ fileName, mutatorName, replacement, status, location }) => ({
    fileName: relative(root, fileName),
    mutatorName,
    replacement,
    status,
    location,
  }));
}

const folder = join(root, "reports/mutation");
const record = join(folder, "mutants.json");

function keep(mutants: readonly Mutant[]): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(record, JSON.stringify(mutants, undefined, 1), "utf8");
  const table = scoreTable(scores(mutants));
  writeFileSync(join(folder, "survivors.md"), `${table}\n${survivorList(mutants)}`, "utf8");
}

/** First what tests reach by themselves, then, of what is left, what runs while modules load. */
async function judge(earlier: readonly Mutant[], files: readonly string[]): Promise<void> {
  const first = await run({ ignoreStatic: true, ...(files.length > 0 && { mutate: [...files] }) });
  const known = earlier.length === 0 ? first : merged(earlier, first);
  keep(known);
  const constants = known.filter(({ status }) => status === "Ignored").map(rangeOf);
  if (constants.length === 0) return;
  keep(merged(known, await run({ ignoreStatic: false, mutate: [...new Set(constants)] })));
}

if (import.meta.main) {
  process.chdir(root);
  // The score is that of the tests in the repository, also where published vectors lie beside it.
  delete process.env["HOLDFAST_SHARED"];
  const words = process.argv.slice(2);
  if (words[0] === "--survivors") {
    const earlier = JSON.parse(readFileSync(record, "utf8")) as readonly Mutant[];
    const alive = earlier.filter(({ status }) => unnoticed.has(status));
    await judge(earlier, [...new Set(alive.map(rangeOf))]);
  } else await judge([], words);
  console.log(readFileSync(join(folder, "survivors.md"), "utf8"));
}
