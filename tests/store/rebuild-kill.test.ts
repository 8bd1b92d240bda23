/**
 * SIGKILL while a read model is built, swapped in or given a snapshot: it answers as the old version or as the
 * new one, never between; the build goes on where it was.
 */
import { fileURLToPath } from "node:url";
import { type Holdfast, limits, type SqliteDriver } from "@holdfast/core";
import { expect, test } from "vitest";
import { runKilled } from "../faults/kill.ts";
import { withScratch } from "../faults/native.ts";
import { type Chance, createChance } from "../faults/random.ts";
import {
  broken,
  childSecrets,
  full,
  ownRecordsOf,
  makeStore,
  openWith,
  promisesIn,
} from "./lab.ts";
import { spreadDraft, type Versioned, versioned } from "./versions.ts";

const workload = fileURLToPath(new URL("workloads/rebuild.ts", import.meta.url));
const runs = full ? 100 : 6;
/** Then a new store begins, so that none grows long. */
const runsOfOneStore = 20;
const streams = 1_001;

interface BuildRow {
  readonly build: number;
  readonly version: number;
  readonly state: string;
  readonly cursor: string;
}

/** The builds as the medium has them when the store is opened. */
function buildsAtOpen(found: BuildRow[]): (driver: SqliteDriver) => SqliteDriver {
  return (driver) => {
    found.splice(0);
    found.push(
      ...driver
        .prepare("SELECT build, version, state, cursor FROM projections WHERE name = 'versioned'")
        .all<BuildRow>(),
    );
    return driver;
  };
}

/** The version that all rows show, and the events that they count. */
function shown(store: Holdfast): { readonly versions: readonly number[]; readonly events: number } {
  const rows = store.query<Versioned>("versioned", { limit: 1_000_000 });
  expect(rows).toHaveLength(streams);
  for (const { columns, state } of rows) expect(columns).toEqual({ ...state });
  return {
    versions: [...new Set(rows.map(({ state }) => state.version))],
    events: rows.reduce((sum, { state }) => sum + state.count, 0),
  };
}

/** What a run is killed at: twice in the middle of a build, then at a swap, then at a snapshot. */
const aims = ["step", "step", "swap", "snapshot"];

function killBuilding(folder: string, version: number, from: number, chance: Chance) {
  const aim = aims[version % aims.length];
  let left = aim === "step" ? 2 + chance.below(4) : 1 + chance.below(2);
  return runKilled({
    argv: [workload, folder, String(version), String(from)],
    env: childSecrets,
    killAfterMs: { from: 0, to: 8, chance },
    armOn: (line) => line === aim && --left === 0,
  });
}

async function checkAfterKill(folder: string, before: number, version: number): Promise<string> {
  const reader = await openWith(folder, { readOnly: true, projections: [versioned(version)] });
  const events = reader.status().events - ownRecordsOf(reader);
  const answer = shown(reader);
  expect([[before], [version]]).toContainEqual(answer.versions);
  expect(answer.events).toBe(events);
  await reader.close();

  const builds: BuildRow[] = [];
  const folded = new Set<string>();
  const projection = versioned(version, (stream) => folded.add(stream));
  const store = await openWith(folder, {
    driver: buildsAtOpen(builds),
    projections: [projection],
  });
  const begun = builds.find((build) => build.state === "building" && build.version === version);
  expect(shown(store)).toEqual({ versions: [version], events });
  expect(store.status().projections).toEqual([{ name: "versioned", version, state: "current" }]);
  expect(store.verify().problems.filter(({ code }) => !code.startsWith("keyring_"))).toEqual([]);
  await store.close();
  const after: BuildRow[] = [];
  const reopened = await openWith(folder, {
    driver: buildsAtOpen(after),
    projections: [projection],
  });
  await reopened.close();
  expect(after).toHaveLength(1);
  if (begun === undefined) return answer.versions[0] === version ? "swapped" : "not begun";
  // The same build, not another one from the beginning.
  expect(after[0]?.build).toBe(begun.build);
  if (begun.cursor === "") return "begun";
  const again = [...folded].filter((stream) => stream <= begun.cursor);
  expect(again.length).toBeLessThanOrEqual(limits.rebuildSampleMax);
  return "resumed";
}

test(`kill -9 while a read model is built, ${runs} times`, { timeout: 3_600_000 }, async () => {
  const chance = createChance(5);
  const tally: Record<string, number> = {};
  for (let done = 0; done < runs; done += runsOfOneStore) {
    await withScratch("rebuild-kill", async (folder) => {
      await makeStore(folder);
      let from = 0;
      const store = await openWith(folder, { projections: [versioned(1)] });
      for (; from < 3_000; from += 1_000) {
        await store.append(Array.from({ length: 1_000 }, (_, at) => spreadDraft(from + at)));
      }
      await store.close();
      const promised: string[] = [];
      const last = 1 + Math.min(runsOfOneStore, runs - done);
      for (let version = 2; version <= last; version++) {
        from += 100_000;
        const killed = await killBuilding(folder, version, from, chance);
        expect(killed).toMatchObject({ killed: true, stderr: "" });
        promised.push(...promisesIn(killed.lines));
        const outcome = await checkAfterKill(folder, version - 1, version);
        tally[outcome] = (tally[outcome] ?? 0) + 1;
      }
      const kept = await openWith(folder, { projections: [] });
      expect(broken(kept, promised)).toEqual([]);
      await kept.close();
    });
  }
  console.log(`kill -9 while building: ${runs} runs, ${JSON.stringify(tally)}`);
  expect(tally["resumed"]).toBeGreaterThan(0);
});
