/**
 * SIGKILL at any moment of a shred: before it is in force everything is there, afterwards the next opening brings it to
 * its end without anybody's help; and an old backup, restored with the keyring as it then is, brings nothing back.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createShredDesk, lifeOf } from "@holdfast/core";
import { backUp, restoreStore } from "@holdfast/node";
import { textOfTables } from "@holdfast/testkit";
import { expect, test } from "vitest";
import { ageKeys } from "../backup/lab.ts";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import {
  broken,
  childSecrets,
  full,
  makeStore,
  open,
  passphrase,
  placeIn,
  promisesIn,
} from "../store/lab.ts";

const child = fileURLToPath(new URL("shred.child.ts", import.meta.url));
const runs = full ? 200 : 6;

const wordsOf = (folder: string, run: number): readonly string[] => [
  child,
  folder,
  String(run * 25),
];

/** How long a shred takes when nothing disturbs it, with a margin: then some kills come too late. */
async function undisturbed(folder: string): Promise<number> {
  let began = 0;
  let took = 0;
  const run = await runKilled({
    argv: wordsOf(folder, 0),
    env: childSecrets,
    killAfterMs: { from: 60_000, to: 60_001, chance: createChance(0) },
    armOn: () => false,
    onLine(line) {
      if (line === "shred") began = performance.now();
      if (line === "shredded") took = performance.now() - began;
    },
  });
  expect(run).toMatchObject({ killed: false, code: 0, stderr: "" });
  return took * 1.1;
}

/** Many kills strike before the shred is in force, and others after, while keys, rows and files still are to go. */
function checkMoments(struck: number, stood: ReadonlyMap<string, number>): void {
  // A few may all come too late on a busy machine.
  if (!full) return;
  expect(struck).toBeGreaterThanOrEqual(runs / 4);
  expect(stood.get("not in force") ?? 0).toBeGreaterThan(0);
  const between = [...stood.keys()].filter((at) => !["not in force", "acknowledged"].includes(at));
  expect(between).not.toEqual([]);
}

test(`kill -9 of ${runs} shreds`, { timeout: 3_600_000 }, async () => {
  const chance = createChance(828);
  await withScratch("shred-kill", async (folder) => {
    await makeStore(folder);
    const keys = await ageKeys();
    const [to, by] = [{ recipients: [keys.recipient] }, { identities: [keys.identity] }];
    const place = { ...placeIn(folder), passphrase };
    const stood = new Map<string, number>();
    const kept: string[] = [];
    let struck = 0;
    let within = await undisturbed(folder);
    for (let run = 1; run <= runs; run++) {
      const killed = await runKilled({
        argv: wordsOf(folder, run),
        env: childSecrets,
        killAfterMs: { from: 0, to: within, chance },
        armOn: (line) => line === "shred",
      });
      expect(killed.stderr).toBe("");
      const inTime = !killed.lines.includes("shredded");
      if (inTime) struck += 1;
      // The window follows the machine, or its later half would never be met where it was slower at first.
      within *= inTime ? 1.1 : 0.9;
      const promised = promisesIn(killed.lines);
      expect(promised).toHaveLength(20);
      const said = promised.map((promise) => `record ${promise.split(" ")[1]} `);
      const reader = await open(folder, "store", true);
      const scope = reader.read({ type: "NoteRecorded", limit: 1_000_000 }).at(-1)?.scope ?? "";
      const row = lifeOf(reader)
        .current()
        .log.shreds.rows()
        .find((one) => one.scope === scope);
      const state = row?.state ?? "not in force";
      stood.set(state, (stood.get(state) ?? 0) + 1);
      await reader.close();
      const store = await open(folder);
      await createShredDesk(store).goOn();
      expect(store.status().findings).toEqual([]);
      expect(store.verify({ allNotes: true }).problems).toEqual([]);
      expect(broken(store, kept)).toEqual([]);
      const { keyring } = lifeOf(store).deps;
      if (row === undefined) {
        expect(broken(store, promised)).toEqual([]);
        kept.push(...promised);
      } else {
        expect(lifeOf(store).current().log.shreds.open()).toEqual([]);
        expect(keyring.dataKeys().filter((key) => key.scope === scope)).toEqual([]);
        expect(keyring.hasFormerHpkeKeys).toBe(false);
        expect(keyring.shreds.list().every(({ isEpochClosed }) => isEpochClosed)).toBe(true);
        const tables = textOfTables(lifeOf(store).current().driver);
        expect(said.filter((text) => tables.includes(text))).toEqual([]);
        const events = store.read({ type: "NoteRecorded", limit: 1_000_000 });
        const gone = events.filter((event) => event.scope === scope);
        expect(gone.map(({ content }) => content)).toEqual(said.map(() => "shredded"));
      }
      await store.close();
    }
    // A store of which some was shredded is backed up and restored as any other.
    const file = join(folder, "backup");
    await backUp({ ...place, out: file, to });
    await restoreStore({ ...place, ...placeIn(folder, "restored"), file, by });
    const restored = await open(folder, "restored");
    expect(restored.verify().problems).toEqual([]);
    expect(broken(restored, kept)).toEqual([]);
    await restored.close();
    checkMoments(struck, stood);
    console.log(
      `kill -9 shred: ${runs} runs, ${struck} before the end, ${JSON.stringify(Object.fromEntries(stood))}`,
    );
  });
});
