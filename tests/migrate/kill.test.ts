/** SIGKILL at any moment of a migration or of its way back: the old format or the new one, and the next one needs nobody. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { applyMigration, checkStart, migrationStatus, rollBackMigration } from "@holdfast/node";
import { createRegistry, storeFormat } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import { childSecrets, full, passphrase, placeIn, problemsOf } from "../store/lab.ts";
import { formatIn, logIn, storeOfFormat1 } from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));
const runs = full ? 200 : 4;
const timeout = 1_800_000;
const events = 300;

async function run(act: string, folder: string, killAfterMs: number | undefined) {
  let began = 0;
  let took = 0;
  const armed = killAfterMs !== undefined;
  const from = killAfterMs ?? 60_000;
  const ran = await runKilled({
    argv: [child, act, folder],
    env: childSecrets,
    killAfterMs: { from, to: from + 1, chance: createChance(0) },
    armOn: (line) => armed && line === "began",
    onLine(line) {
      if (line === "began") began = performance.now();
      else took = performance.now() - began;
    },
  });
  expect(ran.stderr).toBe("");
  return { struck: !ran.lines.includes("done"), took };
}

/** Files that no finished migration leaves. */
function leftovers(folder: string): readonly string[] {
  const names = readdirSync(placeIn(folder).directory);
  return names.filter((name) => !/^(keyring|store\.db(-wal|-shm)?)$/.test(name));
}

describe("kill -9", () => {
  test("during migrations and their way back", { timeout }, async () => {
    await withScratch("migrate-kill", async (folder) => {
      const promises = await storeOfFormat1(folder, events);
      const before = await logIn(folder);
      const place = { ...placeIn(folder), passphrase };
      const within = {
        apply: (await run("apply", folder, undefined)).took * 1.1,
        rollback: (await run("rollback", folder, undefined)).took * 1.1,
      };
      const chance = createChance(7);
      let struck = 0;
      let interrupted = 0;
      for (let at = 0; at < runs; at++) {
        const act = at % 2 === 0 ? "apply" : "rollback";
        const killed = await run(act, folder, chance.below(Math.ceil(within[act])));
        if (killed.struck) struck += 1;
        // One of the two, with everything in it.
        expect([1, storeFormat]).toContain(await formatIn(folder));
        expect(await logIn(folder)).toEqual(before);
        const { interrupted: open } = await migrationStatus(place);
        if (open) {
          interrupted += 1;
          const report = await checkStart({ ...place, registry: createRegistry([]) });
          expect(report.findings.map(({ code }) => code)).toContain("migration_interrupted");
        }
        // Nobody has to know which: the next run of either kind comes to its end.
        if (act === "apply") await applyMigration(place);
        else if (open || (await formatIn(folder)) !== 1) await rollBackMigration(place);
        expect(await formatIn(folder)).toBe(act === "apply" ? storeFormat : 1);
        expect(await logIn(folder)).toEqual(before);
        expect(leftovers(folder)).toEqual([]);
      }
      expect(struck).toBeGreaterThanOrEqual(runs / 2);
      expect(await problemsOf(folder, promises)).toEqual([]);
      console.log(`kill -9 migrate: ${runs} runs, ${struck} struck, ${interrupted} left open`);
    });
  });
});
