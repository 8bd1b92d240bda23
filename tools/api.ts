/**
 * The public surface of every package as text: each export of its entry points with its declared signature.
 * `npm run docs` rewrites docs/reference/api/<package>[-<subpath>].md; the test beside this file fails when an
 * export changes without that, or has no TSDoc.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import ts from "typescript";
import { type EntryPoint, namedEntryPoints, root } from "./project.ts";

/** One public export. */
export interface ApiEntry {
  readonly name: string;
  readonly declaration: string;
  /** First paragraph of its TSDoc; empty when there is none. */
  readonly summary: string;
}

/** Public exports of one entry file, sorted by name. */
export interface Api {
  readonly entry: string;
  readonly exports: readonly ApiEntry[];
}

function compilerOptions(): ts.CompilerOptions {
  const path = join(root, "tsconfig.base.json");
  const { config } = ts.readConfigFile(path, (file) => ts.sys.readFile(file)) as {
    readonly config: { readonly compilerOptions: object };
  };
  const parsed = ts.convertCompilerOptionsFromJson(config.compilerOptions, root).options;
  return {
    ...parsed,
    types: ["node"],
    noEmit: false,
    declaration: true,
    emitDeclarationOnly: true,
    removeComments: true,
    sourceMap: false,
  };
}

const printer = ts.createPrinter({ removeComments: true });

function namesDeclared(statement: ts.Statement): readonly string[] {
  if (ts.isVariableStatement(statement))
    return statement.declarationList.declarations.map(({ name }) => name.getText());
  const { name } = statement as ts.Statement & { readonly name?: ts.Node };
  return name === undefined ? [] : [name.getText()];
}

/** Statements of the declaration files that the program emits, by source file and name. */
function emitDeclarations(program: ts.Program, file: ts.SourceFile): ReadonlyMap<string, string> {
  let text = "";
  program.emit(file, (_name, content) => {
    text += content;
  });
  const tree = ts.createSourceFile("api.d.ts", text, ts.ScriptTarget.ES2024, true);
  const found = new Map<string, string>();
  for (const statement of tree.statements)
    for (const name of namesDeclared(statement)) {
      const printed = printer
        .printNode(ts.EmitHint.Unspecified, statement, tree)
        .replace(/^export declare |^export /, "");
      const before = found.get(name);
      found.set(name, before === undefined ? printed : `${before}\n${printed}`);
    }
  return found;
}

function summaryOf(symbol: ts.Symbol, checker: ts.TypeChecker): string {
  const text = ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim();
  return (text.split(/\n\s*\n/)[0] ?? "").replace(/\s+/g, " ");
}

/**
 * Public exports of entry files (absolute paths). `host` reads the files; the default reads the disk.
 */
export function readApi(entries: readonly string[], host?: ts.CompilerHost): readonly Api[] {
  const options = compilerOptions();
  const program = ts.createProgram({ rootNames: entries, options, ...(host ? { host } : {}) });
  const checker = program.getTypeChecker();
  const emitted = new Map<ts.SourceFile, ReadonlyMap<string, string>>();
  const declarationOf = (symbol: ts.Symbol): string => {
    const file = symbol.declarations?.[0]?.getSourceFile();
    if (file === undefined) return "unresolved";
    if (program.isSourceFileFromExternalLibrary(file) || file.isDeclarationFile)
      return `from ${relative(root, file.fileName).split(sep).join("/")}`;
    const found = emitted.get(file) ?? emitDeclarations(program, file);
    emitted.set(file, found);
    return found.get(symbol.name) ?? "unresolved";
  };
  return entries.map((entry) => {
    const file = program.getSourceFile(entry);
    const module = file === undefined ? undefined : checker.getSymbolAtLocation(file);
    const symbols = module === undefined ? [] : checker.getExportsOfModule(module);
    const exports = symbols.map((symbol) => {
      const isAlias = (symbol.flags & ts.SymbolFlags.Alias) !== 0;
      const target = isAlias ? checker.getAliasedSymbol(symbol) : symbol;
      return {
        name: symbol.name,
        declaration: declarationOf(target),
        summary: summaryOf(target, checker) || summaryOf(symbol, checker),
      };
    });
    const byName = (a: ApiEntry, b: ApiEntry) => (a.name < b.name ? -1 : 1);
    return { entry, exports: exports.toSorted(byName) };
  });
}

/** Exports that say nothing about themselves, or whose declaration cannot be printed. */
export function checkApi({ exports }: Api): readonly string[] {
  return exports.flatMap(({ name, summary, declaration }) => [
    ...(summary === "" ? [`${name}: write TSDoc (purpose, shapes and units, error codes)`] : []),
    ...(declaration === "unresolved" ? [`${name}: its declaration cannot be found`] : []),
  ]);
}

/** Text of one page; `source` is the entry file from the package's folder. */
export function renderApi(name: string, { exports }: Api, source = "src/index.ts"): string {
  const parts = exports.map(
    ({ name, declaration, summary }) =>
      `## ${name}\n\n${summary}\n\n\`\`\`text\n${declaration.trim()}\n\`\`\`\n`,
  );
  const head = [
    `# ${name}`,
    "",
    `Written by \`npm run docs\` from the exports of \`${source}\`; a test fails when they differ.`,
    "",
  ].join("\n");
  return [head, ...(parts.length === 0 ? ["No exports.\n"] : parts)].join("\n");
}

/** One page of the reference. */
export interface ApiPage {
  readonly path: string;
  readonly text: string;
  readonly problems: readonly string[];
}

/** The pages of all entry points, and what is wrong with their exports. */
export function apiPages(): readonly ApiPage[] {
  const entries = namedEntryPoints();
  const apis = readApi(entries.map(({ path }) => join(root, path)));
  return apis.map((api, index) => {
    const { folder, name, path } = entries[index] as EntryPoint;
    const [, , subpath] = name.split("/");
    return {
      path: `docs/reference/api/${folder}${subpath === undefined ? "" : `-${subpath}`}.md`,
      text: renderApi(name, api, path.slice(`packages/${folder}/`.length)),
      problems: checkApi(api).map((problem) => `${name}: ${problem}`),
    };
  });
}

if (import.meta.main)
  for (const { path, text } of apiPages()) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text, "utf8");
  }
