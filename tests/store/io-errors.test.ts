/** Errors of the medium at the 1st, 2nd, … call: told with a code or harmless, never a loss or a crash. */
import { appendFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { errorCodes } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import {
  type FaultError,
  type FaultFunction,
  type FaultyRun,
  runWithIoFault,
  sweepIoErrors,
} from "../faults/io-errors.ts";
import { preloadAvailable } from "../faults/native.ts";
import { childSecrets, codesIn, full, makeStore, problemsOf, promisesIn } from "./lab.ts";

const writer = fileURLToPath(new URL("workloads/write.ts", import.meta.url));
const available = preloadAvailable();
const timeout = 1_800_000;

/** What is wrong with how a run ended, whatever was promised. */
function endOf(run: FaultyRun): readonly string[] {
  const problems: string[] = [];
  if (run.code !== 0) problems.push(`ended with ${run.code ?? run.signal}: ${run.stderr}`);
  const unknown = codesIn(run.lines).filter((code) => !(code in errorCodes));
  return [...problems, ...unknown.map((code) => `no code: ${code}`)];
}

describe.skipIf(!available.ok)(`I/O errors${available.ok ? "" : `: ${available.reason}`}`, () => {
  const cases: readonly (readonly [FaultFunction, FaultError, boolean, sample: number])[] = [
    ["pwrite64", "EIO", false, 290],
    ["pwrite64", "ENOSPC", false, 390],
    ["pwrite64", "ENOSPC", true, 590],
    ["pwrite64", "SHORT", false, 390],
    ["write", "ENOSPC", false, 3],
    ["write", "SHORT", false, 3],
    ["fsync", "EIO", false, 23],
    ["fsync", "EIO", true, 31],
    ["ftruncate64", "EIO", false, 2],
    ["pread64", "EIO", false, 47],
    ["pread64", "EIO", true, 61],
    ["pread64", "SHORT", false, 61],
    ["open", "EIO", false, 17],
    ["open", "EIO", true, 19],
    ["rename", "EIO", false, 1],
    ["unlink", "EIO", false, 1],
  ];
  test.each(cases)(
    "%s fails with %s, sticky %s",
    { timeout },
    async (name, error, sticky, sample) => {
      const told = new Map<string, number>();
      const report = await sweepIoErrors({
        workload: (folder) => [writer, folder, "single", "40", "1"],
        env: childSecrets,
        async prepare(folder) {
          await makeStore(folder);
          // A torn copy is replaced by the first write to it.
          if (name === "rename") appendFileSync(join(folder, "store", "keyring"), "torn");
        },
        fault: { function: name, error, sticky },
        step: full ? (name === "pwrite64" ? 5 : 1) : sample,
        async check(folder, run) {
          for (const code of codesIn(run.lines)) told.set(code, (told.get(code) ?? 0) + 1);
          const promises = promisesIn(run.lines);
          const goesOn = codesIn(run.lines).length + promises.length;
          const opened = run.lines.includes("open");
          return [
            ...endOf(run),
            // One error, then all is well again: the writer goes on in the same process.
            ...(opened && !sticky && promises.length < 38 ? [`only ${promises.length} of 40`] : []),
            ...(opened && goesOn < 40 ? [`${goesOn} answers to 40 calls`] : []),
            ...(await problemsOf(folder, promises)),
          ];
        },
      });
      const codes = JSON.stringify(Object.fromEntries(told));
      console.log(
        `${name} ${error} ${sticky ? "sticky" : "once"}: ${report.reached} runs, ${codes}`,
      );
      expect(report.failures).toEqual([]);
    },
  );

  /**
   * The driver answers a failed read of the WAL with whatever the buffer held (tests/faults/io-errors.test.ts):
   * while a killed process's WAL is recovered, everything from that frame on then looks torn and is left out.
   * A writer that checkpointed such a view would make the loss durable.
   */
  test.each([false, true])(
    "a read error during recovery, sticky %s: no row is lost, and the WAL goes only when its rows are in the database",
    { timeout },
    async (sticky) => {
      let before: readonly string[] = [];
      let walBytes = 0;
      const wal = (folder: string): string => join(folder, "store", "store.db-wal");
      const told = new Map<string, number>();
      let refused = 0;
      let walKept = 0;
      const report = await sweepIoErrors({
        workload: (folder) => [writer, folder, "single", "1", "5000"],
        env: childSecrets,
        async prepare(folder) {
          await makeStore(folder);
          const run = await runWithIoFault({
            argv: [writer, folder, "single", "0", "1"],
            env: childSecrets,
            folder,
            fault: { function: "fsync", nth: 25, error: "KILL", sticky: false },
            hit: `${folder}.hit`,
          });
          before = promisesIn(run.lines);
          walBytes = statSync(wal(folder)).size;
          expect(before.length).toBeGreaterThan(10);
          expect(walBytes).toBeGreaterThan(50_000);
        },
        fault: { function: "pread64", error: "EIO", sticky },
        step: full ? 9 : 113,
        async check(folder, run) {
          for (const code of codesIn(run.lines)) told.set(code, (told.get(code) ?? 0) + 1);
          const opened = run.lines.includes("open");
          const kept = statSync(wal(folder), { throwIfNoEntry: false })?.size ?? 0;
          if (!opened) refused += 1;
          if (!opened && kept === walBytes) walKept += 1;
          // A store that finds itself behind its mark must not have checkpointed that view.
          const hasty = run.lines.includes("error store_rolled_back") && kept < walBytes;
          return [
            ...endOf(run),
            ...(hasty ? [`rolled back, and ${kept} of ${walBytes} bytes of the WAL left`] : []),
            ...(await problemsOf(folder, [...before, ...promisesIn(run.lines)])),
          ];
        },
      });
      const codes = JSON.stringify(Object.fromEntries(told));
      console.log(
        `recovery, sticky ${sticky}: ${report.reached} runs, ${refused} not opened (${walKept} with the whole WAL), ${codes}`,
      );
      expect(report.failures).toEqual([]);
    },
  );
});
