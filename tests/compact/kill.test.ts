/** SIGKILL at any moment of compacting: nothing of the log is touched, and the next run goes on. */
import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { lifeOf } from "@holdfast/core";
import { compactStore } from "@holdfast/node";
import { expect, test } from "vitest";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import { childSecrets, full, open, placeIn, problemsOf } from "../store/lab.ts";
import { changedRows, crowd, crowdedStore, logRows } from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));
const runs = full ? 100 : 3;
const timeout = 1_800_000;

test.for(["compact", "rewrite"])("kill -9 during %s", { timeout }, async (act) => {
  await withScratch("compact-kill", async (folder) => {
    const promises = await crowdedStore(folder, 400);
    if (act === "rewrite") {
      const store = await open(folder);
      lifeOf(store).current().driver.exec("PRAGMA auto_vacuum = NONE; VACUUM;");
      await store.close();
    }
    const parts = ["store", "state"] as const;
    // Put back in place, so that it is the same folder and the same file.
    for (const part of parts)
      cpSync(join(folder, part), join(folder, `${part}-kept`), { recursive: true });
    let within = 0;
    let struck = 0;
    for (let run = -1; run < runs; run++) {
      for (const part of parts) {
        for (const name of run < 0 ? [] : ["store.db", "store.db-wal", "store.db-shm", "keyring"]) {
          rmSync(join(folder, part, name), { force: true });
        }
        cpSync(join(folder, `${part}-kept`), join(folder, part), { recursive: true });
      }
      const before = await logRows(folder);
      let began = 0;
      let took = 0;
      const killed = await runKilled({
        argv: [child, act, folder],
        env: childSecrets,
        // One kill in each part of the work, so that a few runs are spread over all of it.
        killAfterMs: {
          from: (within * Math.max(0, run)) / runs,
          to: run < 0 ? 1 : (within * (run + 1)) / runs,
          chance: createChance(run + 1),
        },
        armOn: (line) => run >= 0 && line === "began",
        onLine(line) {
          if (line === "began") began = performance.now();
          else took = performance.now() - began;
        },
      });
      expect(killed.stderr).toBe("");
      // How long it works when nothing disturbs it.
      if (run < 0) within = took;
      else if (!killed.lines.includes("done")) struck += 1;
      expect(changedRows(before, await logRows(folder))).toEqual([]);
      const store = await open(folder);
      const { directory } = placeIn(folder);
      const asked = { snapshotsKept: 1, rewrite: act === "rewrite" };
      expect((await compactStore(store, directory, asked)).freeBytes).toBe(0);
      expect(store.audit.read({ kinds: ["StoreCompacted"] }).length).toBeLessThanOrEqual(2);
      await store.close();
      expect(changedRows(before, await logRows(folder))).toEqual([]);
      expect(await crowd(folder)).toMatchObject({ builds: 0, tables: 0 });
      expect(await problemsOf(folder, promises)).toEqual([]);
    }
    expect(struck).toBeGreaterThanOrEqual(full ? runs / 3 : 1);
    console.log(`kill -9 ${act}: ${runs} runs, ${struck} struck before the end`);
  });
});
