/** SIGKILL at any moment of a backup or a restore: the old state or the new one, and the next one needs nobody. */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { backUp, drillRestore, rescue, restoreStore } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import { broken, childSecrets, full, open, passphrase, placeIn, problemsOf } from "../store/lab.ts";
import { type AgeKeys, ageKeys, fill, filledStore, leftovers } from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));
const runs = full ? 70 : 2;
const timeout = 1_800_000;
const events = 400;

interface Ground {
  readonly folder: string;
  readonly keys: AgeKeys;
  readonly promises: readonly string[];
  readonly file: string;
}

async function onGround(use: (ground: Ground) => Promise<void>): Promise<void> {
  await withScratch("backup-kill", async (folder) => {
    const keys = await ageKeys();
    const promises = await filledStore(folder, events);
    const file = join(folder, "backup.age");
    await use({ folder, keys, promises, file });
  });
}

/** Runs the child and kills it at a moment below `within`; was it before its end? */
async function killed(words: readonly string[], within: number, seed: number): Promise<boolean> {
  const run = await runKilled({
    argv: [child, ...words],
    env: childSecrets,
    killAfterMs: { from: 0, to: within, chance: createChance(seed) },
    armOn: (line) => line === "began",
  });
  expect(run.stderr).toBe("");
  return !run.lines.includes("done");
}

/** How long the child works when nothing disturbs it, with a margin: then some kills come too late. */
async function undisturbed(words: readonly string[]): Promise<number> {
  let began = 0;
  let took = 0;
  const run = await runKilled({
    argv: [child, ...words],
    env: childSecrets,
    killAfterMs: { from: 60_000, to: 60_001, chance: createChance(0) },
    armOn: () => false,
    onLine(line) {
      if (line === "began") began = performance.now();
      else took = performance.now() - began;
    },
  });
  expect(run).toMatchObject({ killed: false, code: 0, stderr: "" });
  return took * 1.1;
}

describe("kill -9", () => {
  test("during backups: a file under that name is whole", { timeout }, async () => {
    await onGround(async (ground) => {
      const { folder, keys, file, promises } = ground;
      const place = { ...placeIn(folder), passphrase };
      const to = { recipients: [keys.recipient] };
      const by = { identities: [keys.identity] };
      const words = ["backup", folder, "store", file, keys.recipient];
      const within = await undisturbed(words);
      let struck = 0;
      for (let run = 0; run < runs; run++) {
        rmSync(file, { force: true });
        if (await killed(words, within, run)) struck += 1;
        if (!existsSync(file)) await backUp({ ...place, out: file, to });
        const drill = { ...placeIn(folder, "drill"), passphrase, file, by };
        expect((await drillRestore(drill)).events).toBeGreaterThan(events);
        expect(leftovers(folder)).toEqual([]);
      }
      expect(await problemsOf(folder, promises)).toEqual([]);
      expect(struck).toBeGreaterThanOrEqual(runs / 2);
      console.log(`kill -9 backup: ${runs} runs, ${struck} struck before the end`);
    });
  });

  test("during restores: no folder, or the whole store", { timeout }, async () => {
    await onGround(async (ground) => {
      const { folder, keys, file, promises } = ground;
      const by = { identities: [keys.identity] };
      await backUp({
        ...placeIn(folder),
        passphrase,
        out: file,
        to: { recipients: [keys.recipient] },
      });
      const restore = (name: string) =>
        restoreStore({ ...placeIn(folder, name), passphrase, file, by });
      const wordsFor = (name: string) => ["restore", folder, name, file, keys.identity];
      const within = await undisturbed(wordsFor("first"));
      let struck = 0;
      for (let run = 0; run < runs; run++) {
        const name = `store-${run}`;
        if (await killed(wordsFor(name), within, 100 + run)) struck += 1;
        if (!existsSync(join(folder, name))) await restore(name);
        expect(await problemsOf(folder, promises, { name })).toEqual([]);
        expect(leftovers(folder).filter((left) => left.includes(name))).toEqual([]);
        rmSync(join(folder, name), { recursive: true });
      }
      expect(struck).toBeGreaterThanOrEqual(runs / 2);
      console.log(`kill -9 restore: ${runs} runs, ${struck} struck before the end`);
    });
  });

  test("during restores over a store: the old one or the new one", { timeout }, async () => {
    await onGround(async (ground) => {
      const { folder, keys, file, promises } = ground;
      const place = { ...placeIn(folder), passphrase };
      const by = { identities: [keys.identity] };
      const to = { recipients: [keys.recipient] };
      await backUp({ ...place, out: file, to });
      const words = ["over", folder, "store", file, keys.identity];
      let within = 0;
      let old = 0;
      let struck = 0;
      for (let run = -1; run < runs; run++) {
        const later = await fill(folder, 10_000 * (run + 2), 10);
        const bundle = { file: `${file}.rescue`, by };
        rmSync(bundle.file, { force: true });
        await rescue({ ...place, out: bundle.file, to });
        if (run < 0) {
          within = await undisturbed(words);
          continue;
        }
        if (await killed(words, within, 200 + run)) struck += 1;
        const store = await open(folder, "store", true);
        const lost = broken(store, later).length;
        await store.close();
        // All of what came after the backup, or nothing of it.
        if (lost === 0) old += 1;
        else expect(lost).toBe(Math.min(6, later.length));
        expect(await problemsOf(folder, lost === 0 ? [...promises, ...later] : promises)).toEqual(
          [],
        );
      }
      expect(struck).toBeGreaterThanOrEqual(runs / 2);
      console.log(
        `kill -9 restore over: ${runs} runs, ${struck} struck before the end, ${old} left the old store`,
      );
    });
  });
});
