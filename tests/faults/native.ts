/**
 * Compiles the LD_PRELOAD libraries on first use. The result is cached under a name that holds the hash of
 * the sources, so a changed source is never served from the cache.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const cache = join(here, "../../node_modules/.cache/holdfast-faults");

/** A tool that can be used, or the reason why the tests that need it are skipped. */
export type Available<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

/** Whether LD_PRELOAD tools can work here. */
export function preloadAvailable(): Available<true> {
  if (process.platform !== "linux") {
    return { ok: false, reason: `LD_PRELOAD tools need Linux, this is ${process.platform}` };
  }
  if (spawnSync("gcc", ["--version"]).status !== 0) {
    return { ok: false, reason: "gcc is not installed" };
  }
  return { ok: true, value: true };
}

/** Path of the shared library built from `source` (relative to this folder). Throws when it does not compile. */
export function compilePreload(source: string): string {
  const file = join(here, source);
  const hash = createHash("sha256")
    .update(process.arch)
    .update(readFileSync(join(here, "tracked.h")))
    .update(readFileSync(file))
    .digest("hex");
  const target = join(cache, `${hash.slice(0, 32)}.so`);
  if (existsSync(target)) return target;
  mkdirSync(cache, { recursive: true });
  const building = join(cache, `${hash.slice(0, 32)}.${process.pid}.tmp`);
  execFileSync(
    "gcc",
    ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", building, file, "-ldl", "-lpthread"],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  renameSync(building, target);
  return target;
}

/** Folder in memory where the platform has one: the states of a run are written thousands of times. */
export function scratchFolder(name: string): string {
  const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  return mkdtempSync(join(base, `holdfast-${name}-`));
}

/** Runs with a scratch folder that is gone afterwards, unless HOLDFAST_FAULTS_KEEP is set. */
export async function withScratch<T>(
  name: string,
  run: (folder: string) => T | Promise<T>,
): Promise<T> {
  const folder = scratchFolder(name);
  try {
    return await run(folder);
  } finally {
    if (process.env["HOLDFAST_FAULTS_KEEP"] === undefined) {
      rmSync(folder, { recursive: true, force: true });
    }
  }
}
