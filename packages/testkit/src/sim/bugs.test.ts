import { createNodeCrypto } from "@holdfast/node";
import { describe, expect, it } from "vitest";
import { bugs, isFoundBy, plantOf } from "./bugs.ts";
import { runSeed } from "./run-seed.ts";
import { loadSqlite } from "./sqlite-module.ts";

const sqlite = await loadSqlite();
const crypto = createNodeCrypto();
const full = process.env["HOLDFAST_FULL"] === "1";

/** The seed by which the oracle of each bug finds it; looked for from there on when the code under test has changed. */
const foundBy: Readonly<Record<string, number>> = {
  "synchronous-normal": 3,
  "ack-before-commit": 1,
  "mark-before-commit": 1,
  "projection-outside": 2,
  "outbox-outside": 1,
  "stream-heads-outside": 1,
  "wal-not-synced": 3,
  "database-not-synced": 1,
  "keyring-not-synced": 2,
  "crossed-answers": 1,
  "ids-not-heeded": 7,
  "read-model-not-updated": 1,
  "delivered-when-leased": 1,
  "pull-off-by-one": 1,
  "page-lacks-one": 1,
  "header-altered": 1,
  "checkpoint-stale": 1,
  "token-for-ever": 1,
  "grants-not-sent": 1,
  "breaker-stuck": 1,
  "server-synchronous-normal": 5,
  "server-ack-before-commit": 3,
  "grants-to-all": 3,
  "scopes-not-heeded": 1,
  "server-counters-outside": 1,
};

/** Quick ones of every kind; the long run plants all. */
const quick = ["mark-before-commit", "projection-outside", "checkpoint-stale", "grants-to-all"];

describe("planted bugs", () => {
  it("are at least twenty, each with the seed that finds it", () => {
    expect(Object.keys(foundBy).toSorted()).toEqual(Object.keys(bugs).toSorted());
    expect(Object.keys(bugs).length).toBeGreaterThanOrEqual(20);
  });

  for (const [name, from] of Object.entries(foundBy)) {
    if (!full && !quick.includes(name)) continue;
    it(
      `${name} is found by its own oracle`,
      async () => {
        for (let seed = from; seed < from + (full ? 1_000 : 40); seed++) {
          const knobs = bugs[name]?.knobs ?? {};
          const verdict = await runSeed({ seed, sqlite, crypto, plant: plantOf(name), knobs });
          if (isFoundBy(name, verdict)) return;
        }
        expect.fail(`no seed from ${from} on finds it`);
      },
      30 * 60_000,
    );
  }
});
