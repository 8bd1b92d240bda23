/** SIGKILL at any moment of a salvage, and errors of the medium in it: the damaged store or the new one, never between. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { runWithIoFault } from "../faults/io-errors.ts";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import { filledStore, leftovers } from "../backup/lab.ts";
import { broken, childSecrets, full, open, placeIn } from "../store/lab.ts";
import { databaseOf, flipPage, pagesOf, salvage, keeper } from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));
const runs = full ? 200 : 4;
const timeout = 1_800_000;
const events = 200;

async function run(folder: string, killAfterMs: number | undefined) {
  let began = 0;
  let took = 0;
  const from = killAfterMs ?? 60_000;
  const ran = await runKilled({
    argv: [child, folder],
    env: childSecrets,
    killAfterMs: { from, to: from + 1, chance: createChance(0) },
    armOn: (line) => killAfterMs !== undefined && line === "began",
    onLine(line) {
      if (line === "began") began = performance.now();
      else took = performance.now() - began;
    },
  });
  expect(ran.stderr).toBe("");
  return { struck: ran.lines.length < 2, took };
}

describe("kill -9", () => {
  test("during salvage: the damaged store as it was, or the new one", { timeout }, async () => {
    await withScratch("salvage-kill", async (folder) => {
      const promises = await filledStore(folder, events);
      const pages = (await pagesOf(folder)).get("events")?.filter(({ leaf }) => leaf) ?? [];
      flipPage(databaseOf(folder), pages[3]?.page ?? 0);
      const damaged = readFileSync(databaseOf(folder));
      const reset = keeper(folder);
      const within = (await run(folder, undefined)).took * 1.1;
      const salvaged = await open(folder);
      const lost = broken(salvaged, promises).length;
      await salvaged.close();
      const chance = createChance(11);
      let struck = 0;
      let old = 0;
      for (let at = 0; at < runs; at++) {
        reset();
        if ((await run(folder, chance.below(Math.ceil(within)))).struck) struck += 1;
        const isDecided = existsSync(`${databaseOf(folder)}.salvaged`);
        const isOld = !isDecided && readFileSync(databaseOf(folder)).equals(damaged);
        // Nobody has to know: whoever opens it, or salvages, finishes what was decided.
        if (isOld) {
          old += 1;
          expect((await salvage(folder)).status).toBe("salvaged");
        }
        const store = await open(folder);
        expect(broken(store, promises)).toHaveLength(lost);
        expect(store.verify().ok).toBe(true);
        await store.close();
        // What a killed process left beside goes with the next one.
        expect(await salvage(folder)).toEqual({ status: "healthy" });
        expect(leftovers(folder)).toEqual([]);
        const left = readdirSync(placeIn(folder).directory).filter((name) =>
          /surviv|salvag/.test(name),
        );
        expect(left).toEqual([]);
      }
      expect(lost).toBeGreaterThan(0);
      expect(lost).toBeLessThan(20);
      expect(struck).toBeGreaterThanOrEqual(runs / 2);
      console.log(`kill -9 salvage: ${runs} runs, ${struck} struck, ${old} left the damaged store`);
    });
  });
});

describe("one error of the medium", () => {
  test("on a read leaves a healthy store alone", { timeout }, async () => {
    await withScratch("salvage-eio", async (folder) => {
      const promises = await filledStore(folder, 60);
      const place = join(folder, "store");
      const before = readFileSync(databaseOf(folder));
      let reached = 0;
      const step = full ? 1 : 37;
      for (let nth = 1; ; nth += step) {
        const ran = await runWithIoFault({
          argv: [child, folder],
          env: childSecrets,
          folder,
          fault: { function: "pread64", nth, error: "EIO", sticky: false },
          hit: `${folder}.hit`,
        });
        expect(readFileSync(databaseOf(folder)).equals(before)).toBe(true);
        expect(readdirSync(place).toSorted()).toEqual(["keyring", "store.db"]);
        expect(readdirSync(folder).filter((name) => name.includes("quarantine"))).toEqual([]);
        expect(ran.lines.at(-1)).toMatch(/^(done healthy|error )/);
        if (!ran.reached) break;
        reached += 1;
      }
      rmSync(`${folder}.hit`, { force: true });
      expect(reached).toBeGreaterThan(0);
      const store = await open(folder);
      expect(broken(store, promises)).toEqual([]);
      await store.close();
      console.log(`EIO on a read: ${reached} reads failed, the healthy store stayed`);
    });
  });
});
