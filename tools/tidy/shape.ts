/** Sizes and forms of code: lengths, default exports, syntax that Node cannot erase, names. */
import ts from "typescript";
import type { Finding, SourceText } from "../project.ts";
import { isTest } from "../project.ts";
import { endLineOf, findingAt, lineOf, nodesOf, parse } from "./syntax.ts";

/** Bounds of size, in lines. `functionLinesMax` leaves out functions nested in the function. */
export const sizes = { fileLinesMax: 500, functionLinesMax: 70, functionWithNestedLinesMax: 200 };

/** Files and functions (`path` or `path#name`) that may be longer, each with its reason. */
export const longerWithReason: Readonly<Record<string, string>> = {};

/** Files stay at or below the bound. */
export function checkFileSizes(sources: readonly SourceText[]): readonly Finding[] {
  return sources.flatMap(({ path, text }) => {
    const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
    if (lines <= sizes.fileLinesMax || Object.hasOwn(longerWithReason, path)) return [];
    const advice = `has ${lines} lines; split it by meaning, at most ${sizes.fileLinesMax}`;
    return [{ check: "file-size", path, line: 1, text: advice }];
  });
}

type FunctionNode = ts.FunctionLikeDeclaration & { readonly body: ts.Node };

function isFunctionWithBody(node: ts.Node): node is FunctionNode {
  return ts.isFunctionLike(node) && "body" in node && node.body !== undefined;
}

/** `describe` only groups tests: the tests inside are measured one by one. */
function isTestGroup(node: ts.Node): boolean {
  const { parent } = node;
  if (!ts.isCallExpression(parent)) return false;
  return /^(describe|suite)\b/.test(parent.expression.getText());
}

function outermostNested(node: ts.Node): readonly FunctionNode[] {
  const found: FunctionNode[] = [];
  const walk = (child: ts.Node): void => {
    if (isFunctionWithBody(child)) found.push(child);
    else ts.forEachChild(child, walk);
  };
  ts.forEachChild(node, walk);
  return found;
}

function lengthOf(tree: ts.SourceFile, node: ts.Node): number {
  return endLineOf(tree, node) - lineOf(tree, node) + 1;
}

function nameOf(node: FunctionNode): string {
  if (node.name !== undefined) return node.name.getText();
  const { parent } = node;
  return ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)
    ? parent.name.getText()
    : "(arrow)";
}

/** Functions fit a screen. */
export function checkFunctionSizes(sources: readonly SourceText[]): readonly Finding[] {
  const findings: Finding[] = [];
  for (const source of sources) {
    const tree = parse(source);
    for (const node of nodesOf(tree)) {
      if (!isFunctionWithBody(node) || (isTest(source.path) && isTestGroup(node))) continue;
      const whole = lengthOf(tree, node);
      const nested = outermostNested(node).map((inner) => lengthOf(tree, inner) - 1);
      const own = nested.reduce((left, lines) => left - lines, whole);
      const name = nameOf(node);
      if (Object.hasOwn(longerWithReason, `${source.path}#${name}`)) continue;
      const tooLong =
        own > sizes.functionLinesMax
          ? `${own} lines of its own, at most ${sizes.functionLinesMax}`
          : whole > sizes.functionWithNestedLinesMax
            ? `${whole} lines with nested functions, at most ${sizes.functionWithNestedLinesMax}`
            : undefined;
      if (tooLong === undefined) continue;
      const text = `${name} has ${tooLong}; move steps into functions named after them`;
      findings.push(findingAt("function-size", source, node, text));
    }
  }
  return findings;
}

function isDefaultExport(node: ts.Node): boolean {
  if (ts.isExportAssignment(node)) return true;
  if (ts.isExportSpecifier(node)) return node.name.text === "default";
  if (!ts.canHaveModifiers(node)) return false;
  return ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.DefaultKeyword) ?? false;
}

/** Exports are named; tools that demand a default export get it in a *.config.ts file. */
export function checkDefaultExports(sources: readonly SourceText[]): readonly Finding[] {
  return sources.flatMap((source) => {
    if (/\.config\.m?ts$/.test(source.path)) return [];
    return [...nodesOf(parse(source))]
      .filter(isDefaultExport)
      .map((node) =>
        findingAt("default-export", source, node, "default export; export it by name"),
      );
  });
}

function bannedSyntax(node: ts.Node): string | undefined {
  if (node.kind === ts.SyntaxKind.AnyKeyword) return "any; use unknown and narrow it";
  if (ts.isEnumDeclaration(node)) return "enum; use a union of string literals";
  if (ts.isModuleDeclaration(node) && ts.isIdentifier(node.name) && node.name.text !== "global")
    return "namespace; a module is one already";
  if (ts.isParameter(node) && ts.isParameterPropertyDeclaration(node, node.parent))
    return "parameter property; declare the field and assign it";
  return undefined;
}

/** Types stay closed and sources erasable. */
export function checkSyntax(sources: readonly SourceText[]): readonly Finding[] {
  return sources.flatMap((source) =>
    [...nodesOf(parse(source))].flatMap((node) => {
      const text = bannedSyntax(node);
      return text === undefined ? [] : [findingAt("syntax", source, node, text)];
    }),
  );
}

const emptyWords = new Set([
  "manager",
  "service",
  "helper",
  "util",
  "utility",
  "wrapper",
  "handler",
  "processor",
  "data",
  "info",
  "base",
  "impl",
  "common",
  "misc",
]);

/** Words of a name; a term of the vocabulary that contains an empty word is taken out whole. */
function wordsOf(name: string): readonly string[] {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .join(" ")
    .replace(/\bdata keys?\b/g, "")
    .split(" ")
    .filter((word) => word !== "");
}

function emptyWordIn(name: string): string | undefined {
  return wordsOf(name).find((word) => {
    const singular = word === "utilities" ? "utility" : word.replace(/s$/, "");
    return emptyWords.has(word) || emptyWords.has(singular);
  });
}

function exportedNames(statement: ts.Statement): readonly ts.Node[] {
  if (ts.isExportDeclaration(statement) && statement.exportClause !== undefined)
    return ts.isNamedExports(statement.exportClause)
      ? statement.exportClause.elements.map((element) => element.name)
      : [statement.exportClause.name];
  if (!ts.canHaveModifiers(statement)) return [];
  const modifiers = ts.getModifiers(statement) ?? [];
  if (!modifiers.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return [];
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.map((declaration) => declaration.name);
  const { name } = statement as ts.Statement & { readonly name?: ts.Node };
  return name === undefined ? [] : [name];
}

const adviceOnNames = "name it after what it does or holds (docs/VOCABULARY.md)";

/** Files and exported names carry no word that says nothing. */
export function checkNames(sources: readonly SourceText[]): readonly Finding[] {
  return sources.flatMap((source) => {
    const inPath = emptyWordIn(source.path.replace(/\.[a-z.]+$/, ""));
    const findings: Finding[] =
      inPath === undefined
        ? []
        : [
            {
              check: "names",
              path: source.path,
              line: 1,
              text: `"${inPath}" in the path; ${adviceOnNames}`,
            },
          ];
    for (const statement of parse(source).statements)
      for (const name of exportedNames(statement)) {
        const word = emptyWordIn(name.getText());
        if (word !== undefined)
          findings.push(
            findingAt("names", source, name, `"${word}" in ${name.getText()}; ${adviceOnNames}`),
          );
      }
    return findings;
  });
}
