/** SIGKILL at any moment of an erase: the store as it was, or an erase that the next run finishes. */
import { existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { resumeErase, unfinishedErase } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import { childSecrets, full, open, problemsOf } from "../store/lab.ts";
import { bundleAnew, eraseProblems, type EraseGround, groundIn } from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));
const runs = full ? 50 : 5;
const timeout = 1_800_000;

/** Is what a kill left one of the states that there may be? Then brings the erase to its end. */
async function finish(ground: EraseGround): Promise<"before" | "between" | "after"> {
  const { options, folder, promises } = ground;
  if (unfinishedErase(options) !== undefined) {
    await expect(open(folder)).rejects.toThrow("erase_unfinished");
    await resumeErase(options);
    return "between";
  }
  if (existsSync(options.certificateFile)) return "after";
  expect(await problemsOf(folder, promises)).toEqual([]);
  return "before";
}

describe("kill -9", () => {
  test("during erases: the next run finishes", { timeout }, async () => {
    const seen = { before: 0, between: 0, after: 0 };
    let within = 0;
    for (let run = -1; run < runs; run++) {
      await withScratch("erase-kill", async (folder) => {
        const ground = await groundIn(folder, 40);
        let began = 0;
        let took = 0;
        const killed = await runKilled({
          argv: [child, "erase", folder, ground.keys.identity],
          env: childSecrets,
          killAfterMs: { from: 0, to: run < 0 ? 1 : within, chance: createChance(run + 1) },
          armOn: (line) => run >= 0 && line === "began",
          onLine(line) {
            if (line === "began") began = performance.now();
            else took = performance.now() - began;
          },
        });
        expect(killed.stderr).toBe("");
        // How long it works when nothing disturbs it, with a margin: then some kills come too late.
        if (run < 0) within = took * 1.1;
        const state = await finish(ground);
        if (run < 0) expect(state).toBe("after");
        else seen[state] += 1;
        if (state === "before") {
          await bundleAnew(ground);
          await ground.erase();
        }
        expect(eraseProblems(ground)).toEqual([]);
      });
    }
    // Of a few, most may come too late.
    expect(seen.before + seen.between).toBeGreaterThanOrEqual(full ? runs / 2 : 1);
    console.log(
      `kill -9 erase: ${runs} runs, ${seen.before} left the store, ${seen.between} were finished by the next run`,
    );
  });

  test("twice in one erase, with most of what it needs gone", { timeout }, async () => {
    for (const phase of [
      "planned",
      "audited",
      "exported",
      "destroying",
      "keys-destroyed",
      "files-removed",
      "scanned",
    ]) {
      await withScratch("erase-phase", async (folder) => {
        const ground = await groundIn(folder, 20);
        const killed = await runKilled({
          argv: [child, "erase-until", folder, ground.keys.identity],
          env: { ...childSecrets, HOLDFAST_TEST_PHASE: phase },
          killAfterMs: { from: 0, to: 1, chance: createChance(0) },
          armOn: () => false,
        });
        expect(killed.killed, phase).toBe(true);
        const { phase: reached, destroying } = unfinishedErase(ground.options) ?? {};
        expect(reached).toBe(phase);
        if (destroying === true) rmSync(ground.options.directory, { recursive: true, force: true });
        await runKilled({
          argv: [child, "resume", folder],
          env: childSecrets,
          killAfterMs: { from: 0, to: 40, chance: createChance(phase.length) },
          armOn: (line) => line === "began",
        });
        if (unfinishedErase(ground.options) !== undefined) await resumeErase(ground.options);
        expect(eraseProblems(ground), phase).toEqual([]);
      });
    }
  });
});
