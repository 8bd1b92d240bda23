/**
 * What the repository checks look at: the root, the packages, and the text of every file that people keep.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** Absolute path of the repository, without a slash at the end. */
export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");

/** One file: its path from the root with forward slashes, and its text. */
export interface SourceText {
  readonly path: string;
  readonly text: string;
}

/** One thing that a check found. `text` names the replacement. */
export interface Finding {
  readonly check: string;
  readonly path: string;
  readonly line: number;
  readonly text: string;
}

/** The parts of a package.json that the checks read. */
export interface PackageManifest {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly private?: boolean;
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
  readonly allowScripts?: Readonly<Record<string, boolean>>;
  readonly scripts?: Readonly<Record<string, string>>;
}

const skippedFolders = new Set(["node_modules", "dist", "coverage", "reports", ".git"]);

/** Paths of all files below a folder of the repository, sorted; what is built or installed is left out. */
export function listFiles(folder = "."): readonly string[] {
  const paths: string[] = [];
  const walk = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (skippedFolders.has(entry.name)) continue;
      const path = join(directory, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile()) paths.push(relative(root, path).split(sep).join("/"));
    }
  };
  walk(join(root, folder));
  return paths.toSorted();
}

/** Text of one file of the repository. */
export function readText(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** A package.json of the repository. */
export function readManifest(path: string): PackageManifest {
  return JSON.parse(readText(path)) as PackageManifest;
}

/** Names of the folders below packages/, sorted. */
export function packageFolders(): readonly string[] {
  return readdirSync(join(root, "packages"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .toSorted();
}

/** What applications import by name, and the source behind it. */
export interface EntryPoint {
  /** Folder below packages/. */
  readonly folder: string;
  /** As in an import: the package's name, or that and a subpath. */
  readonly name: string;
  /** From the root. */
  readonly path: string;
}

/** Entry points that package.json files name under the condition `@holdfast/source`. */
export function namedEntryPoints(): readonly EntryPoint[] {
  return packageFolders().flatMap((folder) => {
    const { name, exports = {} } = readManifest(`packages/${folder}/package.json`);
    return Object.entries(exports).flatMap(([subpath, target]) => {
      const source = typeof target === "string" ? undefined : target["@holdfast/source"];
      if (source === undefined) return [];
      const path = `packages/${folder}/${source.replace(/^\.\//, "")}`;
      return [{ folder, name: name + subpath.slice(1), path }];
    });
  });
}

/** Paths of {@link namedEntryPoints}. */
export function entryPoints(): readonly string[] {
  return namedEntryPoints().map(({ path }) => path);
}

/** Is this a file of TypeScript or JavaScript code? */
export function isCode(path: string): boolean {
  return /\.(ts|tsx|mts|mjs|js)$/.test(path);
}

/** Does this file hold tests only? */
export function isTest(path: string): boolean {
  return /\.(test|suite)\.tsx?$/.test(path);
}
