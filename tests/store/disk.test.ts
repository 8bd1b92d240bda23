/** Media that are full, bounded or protected: a code each, nothing lost, and writing resumes by itself. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Holdfast, isHoldfastError } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { runWithFileLimit, smallDiskAvailable, withSmallDisk } from "../faults/io-errors.ts";
import { withScratch } from "../faults/native.ts";
import {
  broken,
  childSecrets,
  codesIn,
  draftOf,
  makeStore,
  open,
  problemsOf,
  promiseOf,
  promisesIn,
} from "./lab.ts";

const writer = fileURLToPath(new URL("workloads/write.ts", import.meta.url));
const smallDisk = smallDiskAvailable();
const reason = smallDisk.ok ? "" : `: ${smallDisk.reason}`;

/** One append: its promise, or the code of the refusal. */
async function tryAppend(store: Holdfast, n: number): Promise<string> {
  try {
    const result = await store.append(draftOf(n));
    return result.status === "appended" ? promiseOf(result.events[0]?.id ?? "", n) : result.status;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return error.code;
  }
}

describe.skipIf(!smallDisk.ok)(`a disk of its own${reason}`, () => {
  test("full: store_full, all is readable, and writing resumes in the same process", async () => {
    await withSmallDisk(4, async (folder, grow) => {
      await makeStore(folder);
      const store = await open(folder);
      writeFileSync(join(folder, "ballast"), Buffer.alloc(1_500_000));
      const answers: string[] = [];
      for (let n = 1; n <= 3_000; n++) {
        answers.push(await tryAppend(store, n));
        if (answers.slice(-20).filter((answer) => answer === "store_full").length === 20) break;
      }
      const promised = [...promisesIn(answers)];
      const refused = answers.filter((answer) => !promised.includes(answer));
      expect(new Set(refused)).toEqual(new Set(["store_full"]));
      expect(promised.length).toBeGreaterThan(20);
      expect(broken(store, promised)).toEqual([]);
      expect(store.count("notes")).toBeGreaterThan(0);
      expect(store.verify().problems.filter(({ code }) => !code.startsWith("keyring_"))).toEqual(
        [],
      );
      grow(32);
      for (let n = 10_001; n <= 10_060; n++) promised.push(await tryAppend(store, n));
      expect(promised.filter((answer) => promisesIn([answer]).length === 0)).toEqual([]);
      expect(broken(store, promised)).toEqual([]);
      expect(store.verify().problems.filter(({ code }) => !code.startsWith("keyring_"))).toEqual(
        [],
      );
      await store.close();
      expect(await problemsOf(folder, promised)).toEqual([]);
    });
  });

  test("read-only: reading works or says what to do, appends are refused, nothing changes", async () => {
    await withSmallDisk(16, async (folder) => {
      await makeStore(folder);
      const store = await open(folder);
      const promised: string[] = [];
      for (let n = 1; n <= 40; n++) promised.push(await tryAppend(store, n));
      await store.close();
      execFileSync("mount", ["-o", "remount,ro", folder]);
      const outcomes: string[] = [];
      for (const readOnly of [true, false]) {
        try {
          const reader = await open(folder, "store", readOnly);
          expect(broken(reader, promised)).toEqual([]);
          expect(await tryAppend(reader, 99)).toBe("store_read_only");
          outcomes.push("read");
          await reader.close();
        } catch (error) {
          if (!isHoldfastError(error)) throw error;
          outcomes.push(error.code);
        }
      }
      console.log(`read-only medium: for reading ${outcomes[0]}, for writing ${outcomes[1]}`);
      expect(outcomes.every((outcome) => /^(read|store_read_only)$/.test(outcome))).toBe(true);
      execFileSync("mount", ["-o", "remount,rw", folder]);
      expect(await problemsOf(folder, promised)).toEqual([]);
    });
  });
});

test.skipIf(process.platform === "win32")(
  "a limit of file size: refused with a code, what was promised is there",
  async () => {
    await withScratch("store-limit", async (folder) => {
      await makeStore(folder);
      // A WAL at its limit is checkpointed and writing goes on; the database itself then meets the limit.
      const argv = [writer, folder, "batch", "2000", "1"];
      const run = await runWithFileLimit({ argv, env: childSecrets, kibibytes: 1_024 });
      expect(run).toMatchObject({ code: 0, stderr: "" });
      const lines = run.stdout.split("\n");
      const codes = new Set(codesIn(lines));
      expect([...codes].filter((code) => !/^store_(full|io_error)$/.test(code))).toEqual([]);
      expect(codes.size).toBeGreaterThan(0);
      expect(await problemsOf(folder, promisesIn(lines))).toEqual([]);
    });
  },
);
