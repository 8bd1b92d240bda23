/**
 * SIGKILL at any moment of a rotation, while events are recorded: nothing acknowledged is missing, every key is in
 * its old or in its new state, and the next opening brings the rotation to its end without anybody's help.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createKeyDesk, isHoldfastError, lifeOf } from "@holdfast/core";
import { afterEach, describe, expect, test } from "vitest";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { type Chance, createChance } from "../faults/random.ts";
import {
  draftOf,
  full,
  makeStore,
  open,
  passphrase,
  problemsOf,
  promisesIn,
  secret,
} from "./lab.ts";

const workload = fileURLToPath(new URL("workloads/rotate.ts", import.meta.url));
const timeout = 1_800_000;
const runsOf = (sample: number, all: number): number => (full ? all : sample);

afterEach(() => {
  secret.passphrase = passphrase;
});

/** Every file below a folder. */
function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

function wrapsIn(folder: string): readonly string[] {
  const text = readFileSync(join(folder, "store", "keyring"), "utf8");
  return [...text.matchAll(/"wrapped":"([^"]+)"/g)].map(([, wrap]) => wrap ?? "");
}

/** Do the bytes of any of those wraps stand in a file, as text or raw? */
function findWraps(folder: string, wraps: readonly string[]): readonly string[] {
  const found: string[] = [];
  for (const path of filesIn(folder)) {
    const bytes = readFileSync(path);
    for (const wrap of wraps) {
      const raw = Buffer.from(wrap, "base64url");
      if (bytes.includes(wrap) || bytes.includes(raw)) found.push(`${path}: ${wrap.slice(0, 12)}`);
    }
  }
  return found;
}

async function opens(folder: string, words: string): Promise<string> {
  secret.passphrase = words;
  try {
    await (await open(folder, "store", true)).close();
    return "opens";
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return error.code;
  }
}

/** Fills a store, so that a rotation has several chunks. */
async function filled(folder: string, subjects: number): Promise<void> {
  await makeStore(folder);
  const store = await open(folder);
  await store.append(Array.from({ length: subjects }, (_, at) => draftOf(at * 25)));
  await store.close();
}

function kill(
  folder: string,
  kind: string,
  from: number,
  chance: Chance,
  within: number,
  next = "",
) {
  return runKilled({
    argv: [workload, folder, kind, String(from)],
    env: { HOLDFAST_PASSPHRASE: secret.passphrase, HOLDFAST_NEW_PASSPHRASE: next },
    killAfterMs: { from: 0, to: within, chance },
    armOn: (line) => line === "rotate",
  });
}

describe("kill -9 during a rotation", () => {
  test.each([
    ["epoch", 600, 400],
    ["data", 300, 900],
  ])("of %s keys", { timeout }, async (kind, subjects, within) => {
    const chance = createChance(kind.length + 40);
    const runs = runsOf(2, 80);
    await withScratch("rotation-kill", async (folder) => {
      await filled(folder, subjects);
      const promised: string[] = [];
      const stood = new Map<string, number>();
      let wraps = wrapsIn(folder);
      let last: string | undefined;
      for (let run = 1; run <= runs; run++) {
        const killed = await kill(folder, kind, run * 1_000_000, chance, within);
        expect(killed).toMatchObject({ killed: true, stderr: "" });
        promised.push(...promisesIn(killed.lines));
        const reader = await open(folder, "store", true);
        const before = createKeyDesk(reader).rotations();
        await reader.close();
        const state = kind === "epoch" ? before.keyring : before.data;
        // Killed before it began: what stands there is the rotation of an earlier run.
        const phase = state === undefined || state.id === last ? "none" : state.phase;
        stood.set(phase, (stood.get(phase) ?? 0) + 1);
        expect(await problemsOf(folder, promised)).toEqual([]);
        const store = await open(folder);
        await lifeOf(store).rotate(() => Promise.resolve());
        const { keyring, data } = createKeyDesk(store).rotations();
        const ended = kind === "epoch" ? keyring : data;
        expect([undefined, "old-key-destroyed"]).toContain(ended?.phase);
        last = ended?.id;
        expect(store.status().findings).toEqual([]);
        await store.close();
        if (kind === "epoch" && phase !== "none") {
          expect(findWraps(folder, wraps)).toEqual([]);
          wraps = wrapsIn(folder);
        }
      }
      expect(promised.length).toBeGreaterThan(0);
      console.log(
        `kill -9 ${kind}: ${runs} runs, ${promised.length} acknowledged, 0 lost, ${JSON.stringify(Object.fromEntries(stood))}`,
      );
    });
  });

  test(
    "of a provider key: the old passphrase opens or the new one, never none, never both",
    { timeout },
    async () => {
      const chance = createChance(77);
      const runs = runsOf(3, 60);
      await withScratch("rotation-kill", async (folder) => {
        await filled(folder, 10);
        const promised: string[] = [];
        const outcome = { old: 0, new: 0 };
        let current = passphrase;
        for (let run = 1; run <= runs; run++) {
          secret.passphrase = current;
          const next = `passphrase number ${run}`;
          const killed = await kill(folder, "provider", run * 1_000_000, chance, 300, next);
          expect(killed.stderr).toBe("");
          promised.push(...promisesIn(killed.lines));
          const old = current;
          current = (await opens(folder, old)) === "opens" ? old : next;
          outcome[current === old ? "old" : "new"] += 1;
          secret.passphrase = current;
          expect(await problemsOf(folder, promised)).toEqual([]);
          expect(await opens(folder, current)).toBe("opens");
          expect(await opens(folder, current === old ? next : old)).toBe("key_wrong");
        }
        console.log(`kill -9 provider: ${runs} runs, 0 lost, ${JSON.stringify(outcome)}`);
      });
    },
  );
});
