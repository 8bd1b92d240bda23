import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { runSeed, runSeedTwice } from "./run-seed.ts";
import { loadSqlite } from "./sqlite-module.ts";

const sqlite = await loadSqlite();
const crypto = createNodeCrypto();
/** The long run does its ten thousand with `tools/sim.ts`, on two processes. */
const seeds = 20;

/** What a person needs to look at a seed again. */
function told({ seed, text, tail }: Awaited<ReturnType<typeof runSeed>>): string {
  return [`seed ${seed}: ${text}`, ...tail.slice(-30)].join("\n");
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
});
