import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import type { Knobs } from "./knobs.ts";
import { orderPlatform } from "./platform-turns.ts";
import { runSeed, runSeedTwice } from "./run-seed.ts";
import { loadSqlite } from "./sqlite-module.ts";
import { createWorld } from "./world.ts";

const sqlite = await loadSqlite();
const crypto = createNodeCrypto();
/** The long run does its ten thousand with `tools/sim.ts`, on two processes. */
const seeds = 20;

/** What a person needs to look at a seed again. */
function told({ seed, text, tail }: Awaited<ReturnType<typeof runSeed>>): string {
  return [`seed ${seed}: ${text}`, ...tail.slice(-30)].join("\n");
}

/** Runs a world that must end well; the lines of its trace. */
async function traceOf(seed: number, knobs: Partial<Knobs>): Promise<readonly string[]> {
  using platform = orderPlatform();
  const drain = (): Promise<void> => platform.drain();
  const world = createWorld({ seed, sqlite, crypto, knobs, drain });
  await world.run();
  return world.scheduler.tail(4_096);
}

describe("the simulated world", () => {
  it(
    "keeps its promises, whatever the seed does to it",
    async () => {
      for (let seed = 1; seed <= seeds; seed++) {
        const verdict = await runSeed({ seed, sqlite, crypto });
        expect(verdict.code, told(verdict)).toBe(0);
      }
    },
    60 * 60_000,
  );

  it("goes on from older copies, and beside its own clones", async () => {
    const copies = [
      { rewindAfterMs: 1_500, server: false, devices: 1 },
      { rewindAfterMs: 1_500, server: true, devices: 2 },
      { cloneAfterMs: 1_500, server: true, devices: 2 },
    ];
    for (const [at, knobs] of copies.entries()) {
      for (const seed of [10 + at, 23 + at]) {
        const verdict = await runSeed({ seed, sqlite, crypto, knobs: { calls: 15, ...knobs } });
        expect(verdict.code, told(verdict)).toBe(0);
      }
    }
  });

  it("runs a whole world again step by step", async () => {
    for (const seed of [1, 2, 3, 5, 6]) {
      const knobs = { server: true, devices: 2, calls: 10 };
      const verdict = await runSeedTwice({ seed, sqlite, crypto, knobs });
      expect(verdict.code, told(verdict)).toBe(0);
    }
  });

  it("carries hints of live tails late, twice or never, and comes together all the same", async () => {
    const uncertain = { netLoss: 5, netDuplicate: 3, serverKillEveryMs: 2_000 };
    const knobs = { server: true, devices: 2, calls: 10, tail: true, ...uncertain };
    const trace = await traceOf(16, knobs);
    expect(trace.filter((line) => line.includes("← hint")).length).toBeGreaterThan(5);
    expect(trace.filter((line) => line.endsWith("← hint lost")).length).toBeGreaterThan(0);
    expect(trace.filter((line) => line.endsWith("← tail ended")).length).toBeGreaterThan(0);
  });

  it("has a second server node, which serves when the first has died and never beside it", async () => {
    const world = { server: true, devices: 2, calls: 15, faultMs: 12_000 };
    const knobs = { ...world, standby: true, powerLoss: 0 };
    const trace = await traceOf(6, { ...knobs, serverKillEveryMs: 1_500, pauseEveryMs: 2_000 });
    const refused = trace.filter((line) => line.includes("cannot open: store_busy"));
    expect(refused.some((line) => line.includes("= standby"))).toBe(true);
    expect(refused.some((line) => line.includes("= server"))).toBe(true);
  });

  it("keeps from devices what they were not granted", async () => {
    const knobs = { server: true, devices: 3, calls: 12, subjects: 2, restricted: 1 };
    for (const seed of [4, 9]) {
      const verdict = await runSeed({ seed, sqlite, crypto, knobs });
      expect(verdict.code, told(verdict)).toBe(0);
    }
  });
});
