/**
 * What the compiler and the linter do not check: who imports whom, purity of core, sizes, names, left-overs.
 * `node tools/tidy.ts` prints each finding with its replacement and exits 1 when there is one; the test
 * beside this file runs the same and shows that every check can fail.
 */
import type { Finding, SourceText } from "./project.ts";
import { entryPoints, isCode, listFiles, readText } from "./project.ts";
import {
  checkBarrels,
  checkCoreOrder,
  checkCycles,
  checkPackages,
  checkPurity,
  checkVerifier,
} from "./tidy/imports.ts";
import {
  checkDefaultExports,
  checkFileSizes,
  checkFunctionSizes,
  checkNames,
  checkSyntax,
} from "./tidy/shape.ts";
import { checkText } from "./tidy/text.ts";

const textExtensions =
  /\.(ts|tsx|mts|mjs|js|json|md|yml|yaml|sh|sql|css|html|toml)$|^\.ci\/run$|^\.npmrc$/;

/** Every kept text file of the repository. */
export function readFiles(): readonly SourceText[] {
  return listFiles()
    .filter((path) => textExtensions.test(path))
    .map((path) => ({ path, text: readText(path) }));
}

/** All checks over all files. */
export function runTidy(
  files: readonly SourceText[],
  entries: ReadonlySet<string>,
): readonly Finding[] {
  const code = files.filter(({ path }) => isCode(path));
  return [
    ...checkCoreOrder(code),
    ...checkPackages(code),
    ...checkPurity(code),
    ...checkBarrels(code, entries),
    ...checkCycles(code),
    ...checkVerifier(code),
    ...checkFileSizes(code),
    ...checkFunctionSizes(code),
    ...checkDefaultExports(code),
    ...checkSyntax(code),
    ...checkNames(code),
    ...checkText(files),
  ];
}

/** One line for people. */
export function formatFinding({ check, path, line, text }: Finding): string {
  return `${path}:${line} [${check}] ${text}`;
}

if (import.meta.main) {
  const files = readFiles();
  const findings = runTidy(files, new Set(entryPoints()));
  for (const finding of findings) console.error(formatFinding(finding));
  console.log(`tidy: ${files.length} files, ${findings.length} findings`);
  process.exitCode = findings.length === 0 ? 0 : 1;
}
