/**
 * Mutation score of `seal`, `proof` and the header reader: `npm run mutation`.
 *
 * Stryker changes one thing at a time (a comparison, a constant, a statement left out …) and runs the tests
 * that reach it; a mutant that no test notices *survived*. Two passes, because what runs while a module
 * loads needs every test file loaded again for each mutant: first all mutants that tests reach by
 * themselves, then those of module constants. The score counts killed and timed-out mutants among all.
 *
 * Arguments limit the run to files: `npm run mutation -- packages/core/src/proof/note.ts`. The table goes to
 * the console, the survivors to reports/mutation/survivors.md, all mutants to reports/mutation/mutants.json.
 * It is a report: survivors do not fail it.
 */
import { mkdirSync, writeFileSync } from "node:fs";
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

/** The first pass with the verdicts of the second in place of its ignored mutants. */
export function merged(first: readonly Mutant[], second: readonly Mutant[]): readonly Mutant[] {
  const judged = new Map(second.map((mutant) => [keyOf(mutant), mutant]));
  return first.map((mutant) =>
    mutant.status === "Ignored" ? (judged.get(keyOf(mutant)) ?? mutant) : mutant,
  );
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

if (import.meta.main) {
  process.chdir(root);
  // The score is that of the tests in the repository, also where published vectors lie beside it.
  delete process.env["HOLDFAST_SHARED"];
  const files = process.argv.slice(2);
  const first = await run({ ignoreStatic: true, ...(files.length > 0 && { mutate: files }) });
  const constants = first.filter(({ status }) => status === "Ignored").map(rangeOf);
  const second =
    constants.length === 0
      ? []
      : await run({ ignoreStatic: false, mutate: [...new Set(constants)] });
  const mutants = merged(first, second);
  const folder = join(root, "reports/mutation");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "mutants.json"), JSON.stringify(mutants, undefined, 1), "utf8");
  const table = scoreTable(scores(mutants));
  writeFileSync(join(folder, "survivors.md"), `${table}\n${survivorList(mutants)}`, "utf8");
  console.log(`${survivorList(mutants)}\n${table}`);
}
