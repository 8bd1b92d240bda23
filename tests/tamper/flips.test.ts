/** Single-byte flips: 300 here, 20,000 with HOLDFAST_FULL=1. */
import { expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import { chooseFlip, makeVictim, type Outcome, tryFlip } from "./flips.ts";
import { kindOf, open, placeIn, putImage } from "./world.ts";

const full = process.env["HOLDFAST_FULL"] === "1";
const flips = full ? 20_000 : 300;
const seed = Number(process.env["HOLDFAST_SEED"] ?? 20_261_120);

async function run(): Promise<readonly Outcome[]> {
  return withScratch("tamper-flips", async (folder) => {
    const victim = await makeVictim(folder, placeIn(folder), 60);
    const chance = createChance(seed);
    const outcomes: Outcome[] = [];
    for (let at = 0; at < flips; at++) {
      const flip = chooseFlip(victim, chance);
      const outcome = await tryFlip(victim, flip, at % 3 === 0);
      outcomes.push({ ...outcome, flip: `${kindOf(flip.files[0] as string)}: ${outcome.flip}` });
    }
    return outcomes;
  });
}

test(
  `${flips} byte flips are found or harmless (seed ${seed})`,
  { timeout: 40 * 60_000 },
  async () => {
    const outcomes = await run();
    expect(outcomes.filter(({ result }) => result === "bad").slice(0, 5)).toEqual([]);
    expect(outcomes.length).toBe(flips);
    // A run in which one kind of file was never hurt, or nothing was ever found, has shown nothing.
    for (const kind of ["database", "wal", "keyring", "mark"]) {
      const ofKind = outcomes.filter(({ flip }) => flip.startsWith(kind));
      expect({ kind, enough: ofKind.length > flips / 50 }).toEqual({ kind, enough: true });
      if (kind === "database" || kind === "wal") {
        const found = ofKind.some(({ result }) => result !== "harmless");
        expect({ kind, found }).toEqual({ kind, found: true });
      }
    }
  },
);

test("the unhurt images open, and answer as recorded, with nothing to say", async () => {
  await withScratch("tamper-flips", async (folder) => {
    const victim = await makeVictim(folder, placeIn(folder), 20);
    for (const image of ["closed", "killed"] as const) {
      putImage(folder, victim.images[image]);
      const store = await open(victim.place);
      expect(store.verify().problems).toEqual([]);
      expect(store.status().findings).toEqual([]);
      expect(store.read({ limit: 100 })).toEqual(victim.answers.events);
      await store.close();
    }
  });
});
