/** SIGKILL at any moment of a store's life: nothing that was acknowledged is missing, writing goes on. */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { isHoldfastError } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { runKilled, type KilledRun } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { type Chance, createChance } from "../faults/random.ts";
import {
  childSecrets,
  draftOf,
  full,
  incarnationsOf,
  makeStore,
  open,
  passphrase,
  placeIn,
  problemsOf,
  promisesIn,
} from "./lab.ts";
import { initStore } from "@holdfast/node";

const writer = fileURLToPath(new URL("workloads/write.ts", import.meta.url));
const times = (sample: number, all: number): number => (full ? all : sample);
const timeout = 1_800_000;
/** A store is killed this often; then the next one begins, because all promises are asked for after each kill. */
const runsOfOneStore = 5;

function kill(
  folder: string,
  how: string,
  from: number,
  chance: Chance,
  options: {
    readonly within: number;
    /** Line from which on the kill strikes; `promise`: the first acknowledgement. */
    readonly armOn: string;
    readonly name?: string;
  },
): Promise<KilledRun> {
  return runKilled({
    argv: [writer, folder, how, "0", String(from), "stdout", options.name ?? "store"],
    env: childSecrets,
    killAfterMs: { from: 0, to: options.within, chance },
    armOn: (line) =>
      options.armOn === "promise" ? promisesIn([line]).length > 0 : line === options.armOn,
  });
}

async function incarnations(folder: string, name = "store"): Promise<number> {
  const store = await open(folder, name, true);
  const count = incarnationsOf(store);
  await store.close();
  return count;
}

describe("kill -9", () => {
  test.each(["single", "concurrent", "batch", "import"])(
    "during %s appends",
    { timeout },
    async (how) => {
      const chance = createChance(how.length);
      const runs = times(2, 50);
      let acknowledged = 0;
      for (let run = 0; run < runs; run += runsOfOneStore) {
        await withScratch("store-kill", async (folder) => {
          await makeStore(folder);
          const promised: string[] = [];
          for (let more = 0; more < Math.min(runsOfOneStore, runs - run); more++) {
            const from = 1 + more * 1_000_000;
            // Every other kill may come before anything was acknowledged, however slow the machine is.
            const armOn = more % 2 === 0 ? "promise" : "open";
            const killed = await kill(folder, how, from, chance, { within: 150, armOn });
            expect(killed).toMatchObject({ killed: true, stderr: "" });
            promised.push(...promisesIn(killed.lines));
            expect(await problemsOf(folder, promised)).toEqual([]);
          }
          expect(await incarnations(folder)).toBe(1);
          acknowledged += promised.length;
        });
      }
      expect(acknowledged).toBeGreaterThanOrEqual(runs / 2);
      console.log(`kill -9 ${how}: ${runs} runs, ${acknowledged} acknowledged, 0 lost`);
    },
  );

  test("during rebuilds of a read model", { timeout }, async () => {
    const chance = createChance(7);
    const runs = times(1, 40);
    await withScratch("store-kill", async (folder) => {
      await makeStore(folder);
      const store = await open(folder);
      await store.append(Array.from({ length: 2_000 }, (_, at) => draftOf(at)));
      await store.close();
      const promised: string[] = [];
      for (let run = 0; run < runs; run++) {
        const options = { within: 200, armOn: "rebuild" };
        const killed = await kill(folder, "rebuild", 10_000 + run * 1_000, chance, options);
        expect(killed).toMatchObject({ killed: true, stderr: "" });
        promised.push(...promisesIn(killed.lines));
        expect(await problemsOf(folder, promised)).toEqual([]);
      }
      expect(await incarnations(folder)).toBe(1);
      console.log(`kill -9 rebuild: ${runs} runs, ${promised.length} acknowledged, 0 lost`);
    });
  });

  test("while a moved store opens a new incarnation", { timeout }, async () => {
    const chance = createChance(9);
    const runs = times(2, 40);
    await withScratch("store-kill", async (folder) => {
      await makeStore(folder);
      const promised: string[] = [];
      let before = "store";
      for (let run = 1; run <= runs; run++) {
        const name = `store-${run}`;
        renameSync(join(folder, before), join(folder, name));
        before = name;
        const options = { within: 25, armOn: "open", name };
        const killed = await kill(folder, "single", run * 1_000_000, chance, options);
        expect(killed).toMatchObject({ killed: true, stderr: "" });
        promised.push(...promisesIn(killed.lines));
        const tolerated = new Set([
          "store_moved",
          "mark_missing",
          "keyring_line_missing",
          "keyring_line_torn",
        ]);
        expect(await problemsOf(folder, promised, { name, tolerated })).toEqual([]);
        // One for each place, never a second one because the first was interrupted.
        expect(await incarnations(folder, name)).toBe(run + 1);
      }
      console.log(`kill -9 moved: ${runs} runs, ${promised.length} acknowledged, 0 lost`);
    });
  });

  test(
    "during init: a store, or a folder that says what it is and can be made anew",
    { timeout },
    async () => {
      const chance = createChance(11);
      const runs = times(3, 60);
      const codes = new Map<string, number>();
      for (let run = 0; run < runs; run++) {
        await withScratch("store-kill", async (folder) => {
          mkdirSync(join(folder, "state"));
          const killed = await runKilled({
            argv: [writer, folder, "init", "0", "1"],
            env: childSecrets,
            killAfterMs: { from: 150, to: 500, chance },
          });
          expect(killed).toMatchObject({ killed: true, stderr: "" });
          const promised = promisesIn(killed.lines);
          let code = "opened";
          try {
            expect(await problemsOf(folder, promised)).toEqual([]);
          } catch (error) {
            if (!isHoldfastError(error)) throw error;
            expect(killed.lines).not.toContain("made");
            code = error.code;
            expect(code).toMatch(
              /^(store_missing|store_database_missing|store_foreign|keyring_missing)$/,
            );
            rmSync(join(folder, "store"), { recursive: true, force: true });
            await initStore({ ...placeIn(folder), passphrase, tenant: "Ward 3" });
            expect(await problemsOf(folder, [])).toEqual([]);
          }
          codes.set(code, (codes.get(code) ?? 0) + 1);
        });
      }
      console.log(`kill -9 init: ${runs} runs, ${JSON.stringify(Object.fromEntries(codes))}`);
    },
  );
});
