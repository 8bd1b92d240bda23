/** The power goes at any moment of a recorded run: nothing that was acknowledged is missing. */
import { fileURLToPath } from "node:url";
import { isHoldfastError } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { preloadAvailable } from "../faults/native.ts";
import { type PowerLossReport, runPowerLoss } from "../faults/power-loss/run.ts";
import { childSecrets, full, makeStore, markLags, problemsOf, promisesIn } from "./lab.ts";

const writer = fileURLToPath(new URL("workloads/write.ts", import.meta.url));
const available = preloadAvailable();
const timeout = 1_800_000;

function told(name: string, report: PowerLossReport): void {
  const { states, acknowledged, syncs, failures } = report;
  const figures = `${states} states of ${acknowledged} acknowledged events and ${syncs} syncs`;
  console.log(`power loss ${name}: ${figures}, ${failures.length} with problems`);
}

describe.skipIf(!available.ok)(`power loss${available.ok ? "" : `: ${available.reason}`}`, () => {
  const workload =
    (how: string, count: number) =>
    (folder: string): readonly string[] => [writer, folder, how, String(count), "1", "ack"];
  const check = (folder: string, acknowledged: readonly string[]): Promise<readonly string[]> =>
    problemsOf(folder, promisesIn(acknowledged), { tolerated: markLags });

  test.each([
    ["single", 120],
    ["concurrent", 640],
    ["batch", 600],
  ] as const)("during %s appends", { timeout }, async (how, count) => {
    const report = await runPowerLoss({
      workload: workload(how, count),
      env: childSecrets,
      prepare: makeStore,
      check,
      states: full ? 600 : 30,
    });
    told(how, report);
    expect(report.failures).toEqual([]);
    expect(report.acknowledged).toBe(count);
  });

  /** Before the first promise a store may be unfinished, if it says so. */
  const unfinished = /^(store_missing|store_database_missing|store_foreign|keyring_missing)$/;

  test("from before the store is made", { timeout }, async () => {
    const report = await runPowerLoss({
      workload: workload("init", 60),
      env: childSecrets,
      async check(folder, acknowledged) {
        try {
          return await check(folder, acknowledged);
        } catch (error) {
          const expected = isHoldfastError(error) && unfinished.test(error.code);
          if (expected && acknowledged.length === 0) return [];
          throw error;
        }
      },
      states: full ? 200 : 6,
    });
    told("init", report);
    expect(report.failures).toEqual([]);
  });

  test("synchronous=NORMAL behind the store's back is caught", { timeout }, async () => {
    const report = await runPowerLoss({
      workload: workload("normal", 120),
      env: childSecrets,
      prepare: makeStore,
      check,
      states: full ? 200 : 20,
    });
    told("with synchronous=NORMAL", report);
    expect(report.failures.length).toBeGreaterThan(report.states / 4);
  });
});
