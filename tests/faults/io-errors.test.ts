/** Faults reach a plain SQLite appender, and what it promised in spite of them is there. */
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { runChild } from "./child.ts";
import {
  runWithFileLimit,
  runWithIoFault,
  smallDiskAvailable,
  sweepIoErrors,
  withSmallDisk,
  type FaultError,
  type FaultFunction,
  type FaultyRun,
} from "./io-errors.ts";
import { preloadAvailable, withScratch } from "./native.ts";
import { checkRows } from "./workloads/check-rows.ts";

const appender = fileURLToPath(new URL("workloads/sqlite-append.ts", import.meta.url));
const full = process.env["HOLDFAST_FULL"] === "1";
const available = preloadAvailable();
const smallDisk = smallDiskAvailable();

const promised = (lines: readonly string[]): readonly string[] =>
  lines.filter((l) => /^\d+$/.test(l));
const errors = (lines: readonly string[]): readonly string[] =>
  lines.filter((l) => l.startsWith("error "));
const linesOf = (stdout: string): readonly string[] => stdout.split("\n").slice(0, -1);

describe.skipIf(!available.ok)(`I/O errors${available.ok ? "" : `: ${available.reason}`}`, () => {
  const cases: readonly (readonly [FaultFunction, FaultError, boolean])[] = [
    ["pwrite64", "EIO", false],
    ["pwrite64", "ENOSPC", true],
    ["pwrite64", "SHORT", false],
    ["fsync", "EIO", false],
    ["fsync", "EIO", true],
    ["fsync", "KILL", false],
    ["ftruncate64", "EIO", true],
    ["open", "EIO", false],
    ["unlink", "EIO", false],
  ];
  test.each(cases)(
    "%s fails with %s, sticky %s",
    { timeout: 600_000 },
    async (name, error, sticky) => {
      const told: string[] = [];
      const report = await sweepIoErrors({
        workload: (folder) => [appender, folder, "FULL", "30", "stdout"],
        fault: { function: name, error, sticky },
        step: full ? 1 : name === "pwrite64" || name === "fsync" ? 17 : 2,
        check(folder, run: FaultyRun) {
          told.push(...errors(run.lines));
          const ended = error === "KILL" && run.reached ? run.signal === "SIGKILL" : run.code === 0;
          return [
            ...(ended ? [] : [`ended with ${run.code}`]),
            ...checkRows(folder, promised(run.lines)),
          ];
        },
      });
      expect(report.failures).toEqual([]);
      expect(report.reached).toBeGreaterThan(0);
      // SQLite ignores failures to shorten or delete at the end; the others must have been noticed.
      const silent = error === "KILL" || name === "ftruncate64" || name === "unlink";
      expect(told.length > 0 || silent).toBe(true);
    },
  );

  /**
   * SQLite3 Multiple Ciphers 2.4.0 drops the error of a read (`mcIoRead` overwrites the result of the real
   * read unless it is SHORT_READ); SQLite by itself answers SQLITE_IOERR. While the WAL is recovered the
   * frame then looks torn, and all from there on is cut off: with a cipher too. A store on this driver must
   * compare what it recovered with what it knows before it checkpoints or answers. When this test fails
   * because nothing is lost any more, the driver has been mended: turn the expectation round.
   */
  test("one read error during recovery: the driver loses rows in silence, the sweep sees it", async () => {
    let before: readonly string[] = [];
    const report = await sweepIoErrors({
      workload: (folder) => [appender, folder, "FULL", "1", "stdout", "aegis"],
      async prepare(folder) {
        const fault = { function: "fsync", nth: 20, error: "KILL", sticky: false } as const;
        const argv = [appender, folder, "FULL", "30", "stdout", "aegis"];
        const run = await runWithIoFault({ argv, folder, fault, hit: `${folder}.hit` });
        before = promised(run.lines);
        expect(before.length).toBeGreaterThan(10);
      },
      fault: { function: "pread64", error: "EIO", sticky: false },
      step: 2,
      nthMax: 15,
      check: (folder, run) => (errors(run.lines).length > 0 ? [] : checkRows(folder, before, true)),
    });
    const problems = report.failures.flatMap((failure) => failure.problems);
    expect(problems.some((problem) => problem.startsWith("lost "))).toBe(true);
  });

  test("a workload that never makes the call is refused", async () => {
    const argv = ["-e", "0"];
    const fault = { function: "fsync", error: "EIO", sticky: false } as const;
    await expect(sweepIoErrors({ workload: () => argv, fault, check: () => [] })).rejects.toThrow(
      "never calls fsync",
    );
  });
});

test.skipIf(!smallDisk.ok)(
  `a full disk keeps what was promised, and writing resumes when space returns${smallDisk.ok ? "" : `: ${smallDisk.reason}`}`,
  async () => {
    await withSmallDisk(2, async (folder, grow) => {
      writeFileSync(join(folder, "ballast"), Buffer.alloc(1_500_000));
      const argv = [appender, folder, "FULL", "2000", "stdout"];
      const first = linesOf((await runChild({ argv })).stdout);
      expect(errors(first)).toContain("error SQLITE_FULL");
      expect(checkRows(folder, promised(first))).toEqual([]);
      grow(16);
      const second = linesOf((await runChild({ argv })).stdout);
      expect(errors(second)).toEqual([]);
      expect(promised(second)).toHaveLength(2_000);
      expect(checkRows(folder, [...promised(first), ...promised(second)])).toEqual([]);
    });
  },
);

test.skipIf(process.platform === "win32")(
  "a limit of file size keeps what was promised",
  async () => {
    await withScratch("file-limit", async (folder) => {
      const argv = [appender, folder, "FULL", "1500", "stdout"];
      const run = await runWithFileLimit({ argv, kibibytes: 256 });
      const lines = linesOf(run.stdout);
      expect(errors(lines).length).toBeGreaterThan(0);
      expect(statSync(join(folder, "rows.db")).size).toBeLessThanOrEqual(256 * 1024);
      expect(checkRows(folder, promised(lines))).toEqual([]);
    });
  },
);
