/**
 * I/O errors at a chosen call, full disks, and limits of file size, for a child process.
 *
 * {@link sweepIoErrors} moves one fault through a run: first call, second call, … until the fault is no longer
 * reached, and asks the check after each run what is wrong.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runChild, type ChildResult } from "./child.ts";
import { compilePreload, withScratch, type Available } from "./native.ts";

export type FaultFunction =
  | "pwrite64"
  | "write"
  | "fsync"
  | "ftruncate64"
  | "pread64"
  | "open"
  | "rename"
  | "unlink";

/** `SHORT`: half of the bytes are taken, the next call fails with ENOSPC. `KILL`: SIGKILL inside the call. */
export type FaultError = "EIO" | "ENOSPC" | "SHORT" | "KILL";

export interface IoFault {
  readonly function: FaultFunction;
  /** From 1; counted over the calls on files below the folder. */
  readonly nth: number;
  readonly error: FaultError;
  /** The call and all after it, or the one call only. */
  readonly sticky: boolean;
}

/** Environment that makes calls on files below `folder` fail; `hit` appears when one did. */
export function faultEnv(
  fault: IoFault,
  folder: string,
  hit: string,
): Readonly<Record<string, string>> & { readonly LD_PRELOAD: string } {
  return {
    LD_PRELOAD: compilePreload("io-errors.c"),
    HOLDFAST_FAULT: [fault.function, fault.nth, fault.error, fault.sticky ? "sticky" : "once"].join(
      ":",
    ),
    HOLDFAST_FAULT_ROOT: realpathSync(folder),
    HOLDFAST_FAULT_HIT: hit,
  };
}

export interface FaultyRun extends ChildResult {
  /** Whether the run reached the call that fails. */
  readonly reached: boolean;
  /** Complete lines of standard output. */
  readonly lines: readonly string[];
}

/** Runs a child whose files below `folder` fail as told. `hit` is a path outside of `folder` for the tool. */
export async function runWithIoFault(options: {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly fault: IoFault;
  readonly hit: string;
}): Promise<FaultyRun> {
  const { fault } = options;
  rmSync(options.hit, { force: true });
  const result = await runChild({
    argv: options.argv,
    env: { ...options.env, ...faultEnv(fault, options.folder, options.hit) },
  });
  return {
    ...result,
    reached: existsSync(options.hit),
    lines: result.stdout.split("\n").slice(0, -1),
  };
}

export interface SweepFailure extends IoFault {
  readonly problems: readonly string[];
}

export interface SweepReport {
  readonly runs: number;
  /** Runs in which the fault happened. */
  readonly reached: number;
  readonly failures: readonly SweepFailure[];
}

/**
 * One run per n = 1, 1 + step, … on a fresh folder, until the fault is not reached or `nthMax` is passed.
 * Throws when not even the first run reaches the fault: nothing would have been checked.
 */
export function sweepIoErrors(options: {
  readonly workload: (folder: string) => readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly prepare?: (folder: string) => void | Promise<void>;
  readonly fault: Omit<IoFault, "nth">;
  readonly step?: number;
  readonly nthMax?: number;
  /** What is wrong after the run, opened without faults. A throw is a problem too. */
  readonly check: (
    folder: string,
    run: FaultyRun,
  ) => readonly string[] | Promise<readonly string[]>;
}): Promise<SweepReport> {
  return withScratch("io-errors", async (scratch) => {
    const failures: SweepFailure[] = [];
    let runs = 0;
    let reached = 0;
    for (let nth = 1; nth <= (options.nthMax ?? 10_000); nth += options.step ?? 1) {
      const folder = join(scratch, `run-${nth}`);
      mkdirSync(folder);
      await options.prepare?.(folder);
      const fault: IoFault = { ...options.fault, nth };
      const run = await runWithIoFault({
        argv: options.workload(folder),
        env: options.env ?? {},
        folder,
        fault,
        hit: join(scratch, "hit"),
      });
      runs += 1;
      if (run.reached) reached += 1;
      const problems = await checked(() => options.check(folder, run));
      if (problems.length > 0) failures.push({ ...fault, problems });
      rmSync(folder, { recursive: true, force: true });
      if (!run.reached) break;
    }
    if (reached === 0) throw new Error(`the workload never calls ${options.fault.function}`);
    return { runs, reached, failures };
  });
}

async function checked(
  check: () => readonly string[] | Promise<readonly string[]>,
): Promise<readonly string[]> {
  try {
    return await check();
  } catch (error) {
    return [`the check threw ${String(error)}`];
  }
}

/** Whether {@link withSmallDisk} can mount here. */
export function smallDiskAvailable(): Available<true> {
  if (process.platform !== "linux") return { ok: false, reason: "mounting tmpfs needs Linux" };
  if (process.getuid?.() !== 0) return { ok: false, reason: "mounting tmpfs needs root" };
  const folder = mkdtempSync(join(tmpdir(), "holdfast-mount-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], { stdio: "pipe" });
    execFileSync("umount", [folder], { stdio: "pipe" });
    return { ok: true, value: true };
  } catch (error) {
    return { ok: false, reason: `mounting tmpfs is not allowed here: ${String(error)}` };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Runs with a folder on its own file system of `megabytes`. `grow` changes the size in place: space returns
 * while the store is open.
 */
export async function withSmallDisk<T>(
  megabytes: number,
  run: (folder: string, grow: (megabytes: number) => void) => T | Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder]);
  const grow = (size: number): void => {
    execFileSync("mount", ["-o", `remount,size=${size}m`, folder]);
  };
  try {
    return await run(folder, grow);
  } finally {
    execFileSync("umount", ["-l", folder]);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a child that cannot make any file longer than `kibibytes` (`ulimit -f`, which counts 512 bytes). */
export function runWithFileLimit(options: {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly kibibytes: number;
}): Promise<ChildResult> {
  const limit = `ulimit -f ${options.kibibytes * 2} && exec "$@"`;
  return runChild({ argv: options.argv, env: options.env, wrapper: ["sh", "-c", limit, "sh"] });
}
