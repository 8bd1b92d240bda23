/** Pages flipped in every table, a file cut off, a write-ahead log gone: what is left anywhere is back, the rest is named. */
import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import type { SalvageReport } from "@holdfast/node";
import { backUp } from "@holdfast/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scratchFolder } from "../faults/native.ts";
import { type AgeKeys, ageKeys, fill, filledStore, leftovers } from "../backup/lab.ts";
import { broken, draftOf, full, open, passphrase, placeIn } from "../store/lab.ts";
import { databaseOf, flipPage, pageBytes, pagesOf, salvage, keeper } from "./lab.ts";

const timeout = 1_800_000;
const events = 120;
let folder = "";
let keys: AgeKeys;
let promises: readonly string[] = [];
let backup = "";
/** The healthy store back in its place: the folder itself stays, its identity is in the mark. */
let reset: () => void;
let pages: Awaited<ReturnType<typeof pagesOf>> = new Map();

beforeAll(async () => {
  folder = scratchFolder("salvage");
  keys = await ageKeys();
  const first = await filledStore(folder, events);
  backup = join(folder, "backup.age");
  const to = { recipients: [keys.recipient] };
  await backUp({ ...placeIn(folder), passphrase, out: backup, to });
  promises = [...first, ...(await fill(folder, events, 40))];
  reset = keeper(folder);
  pages = await pagesOf(folder);
}, timeout);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Promises that are not kept, and those that the report names. */
async function judged(report: SalvageReport): Promise<readonly string[]> {
  const store = await open(folder);
  try {
    const lost = promises.filter((promise) => broken(store, [promise]).length > 0);
    const named = report.missing.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    const closed = new Set(report.lostSections.map(({ id }) => id));
    const untold = lost.filter((promise) => !closed.has(promise.split(" ")[0] ?? ""));
    // What is not there any more, verify names.
    const known = new Set(["frame_absent", "predecessor_missing", "predecessor_wrong"]);
    const problems = store.verify().problems.filter(({ code }) => !known.has(code));
    return [
      ...(untold.length > named ? [`${untold.length} lost, ${named} named`] : []),
      ...problems.map(({ code, object }) => `verify: ${code} ${object}`),
    ];
  } finally {
    await store.close();
  }
}

async function drilled(harm: () => void, withBackup: boolean): Promise<SalvageReport> {
  reset();
  harm();
  const damaged = readFileSync(databaseOf(folder));
  const fills = withBackup ? { backup: { file: backup, by: { identities: [keys.identity] } } } : {};
  const done = await salvage(folder, fills);
  if (done.status !== "salvaged") throw new Error(`it was taken for ${done.status}`);
  // The damaged file is aside as it was, and nothing else is left.
  expect(readFileSync(join(done.quarantine, "store.db")).equals(damaged)).toBe(true);
  expect(leftovers(folder)).toEqual([]);
  expect(await judged(done.report)).toEqual([]);
  return done.report;
}

describe("a page that does not authenticate", () => {
  test(
    "of each table and index: whatever is left is back, the rest is named",
    { timeout },
    async () => {
      const table = [...pages].filter(([name]) => name !== "sqlite_schema");
      let lossless = 0;
      for (const [name, places] of table) {
        const chosen = full ? places : [places[Math.floor(places.length / 2)] ?? { page: 0 }];
        for (const { page } of chosen) {
          const report = await drilled(() => flipPage(databaseOf(folder), page), false);
          if (report.lossless) lossless += 1;
          const alone =
            name.startsWith("sqlite_autoindex") ||
            /_by_|model_|projections|snapshots|streams/.test(name);
          if (alone) expect([name, report.lossless]).toEqual([name, true]);
        }
      }
      console.log(`flipped pages: ${table.length} tables and indices, ${lossless} without loss`);
    },
  );
});

describe("damage with a backup at hand", () => {
  test("in the middle of the events: all of it is back", { timeout }, async () => {
    const places = pages.get("events")?.filter(({ leaf }) => leaf) ?? [];
    const middle = places[Math.floor(places.length / 3)]?.page ?? 0;
    const alone = await drilled(() => flipPage(databaseOf(folder), middle), false);
    expect(alone).toMatchObject({ lossless: false, mode: "own" });
    expect(alone.survivors).toBeGreaterThan(0);
    expect(alone.missing.map(({ by, withServer }) => [by, withServer])).toEqual([["note", false]]);
    const filled = await drilled(() => flipPage(databaseOf(folder), middle), true);
    expect(filled).toMatchObject({ lossless: true, mode: "whole", missing: [], survivors: 0 });
  });

  test(
    "a file that was cut off: the backup, and what stood before the cut",
    { timeout },
    async () => {
      for (const part of [0.3, 0.6, 0.9]) {
        const cut = () => {
          const path = databaseOf(folder);
          const bytes = Math.floor((statSync(path).size * part) / pageBytes) * pageBytes + 100;
          truncateSync(path, bytes);
        };
        const report = await drilled(cut, true);
        const named = report.missing.reduce((sum, { from, to }) => sum + to - from + 1, 0);
        // What was recorded after the backup, and audit events with it.
        expect(named).toBeLessThanOrEqual(45);
        await drilled(cut, false);
      }
    },
  );

  test(
    "a first page or a schema that cannot be read: that of another serves",
    { timeout },
    async () => {
      const schema = pages.get("sqlite_schema") ?? [];
      expect(schema.length).toBeGreaterThan(2);
      for (const { page } of schema) {
        const report = await drilled(() => flipPage(databaseOf(folder), page), false);
        expect(report.damage).toEqual([{ code: "store_corrupt", object: "database" }]);
        expect(report).toMatchObject({ lossless: true, missing: [], survivors: 0 });
      }
    },
  );

  test("nothing that can be read: the backup, or all of it is named", { timeout }, async () => {
    const spoil = () => {
      for (let page = 1; page <= statSync(databaseOf(folder)).size / pageBytes; page++) {
        flipPage(databaseOf(folder), page);
      }
    };
    const filled = await drilled(spoil, true);
    expect(filled.missing).toMatchObject([{ by: "mark", withServer: false }]);
    expect(filled.events).toBeGreaterThan(events);
    const alone = await drilled(spoil, false);
    expect(alone.missing).toMatchObject([{ from: 1, by: "mark" }]);
    expect(alone.events).toBe(0);
  });
});

describe("a store that is not damaged", () => {
  test(
    "is left alone: healthy, and with one copy of its keyring deleted",
    { timeout },
    async () => {
      reset();
      const bytes = () => readFileSync(databaseOf(folder)).toString("base64");
      const before = bytes();
      expect(await salvage(folder)).toEqual({ status: "healthy" });
      rmSync(join(placeIn(folder).directory, "keyring"));
      expect(await salvage(folder)).toEqual({ status: "healthy" });
      expect(bytes()).toBe(before);
      const store = await open(folder);
      expect(broken(store, promises)).toEqual([]);
      await store.close();
      expect(leftovers(folder)).toEqual([]);
    },
  );

  test("is asked about before anything is missing from it", { timeout }, async () => {
    reset();
    const places = pages.get("events")?.filter(({ leaf }) => leaf) ?? [];
    flipPage(databaseOf(folder), places[1]?.page ?? 0);
    const before = readFileSync(databaseOf(folder));
    const done = await salvage(folder, { agree: async () => false });
    expect(done.status).toBe("declined");
    expect(readFileSync(databaseOf(folder)).equals(before)).toBe(true);
    expect(readdirSync(folder).filter((name) => name.includes("quarantine"))).toEqual([]);
  });

  test("is not read while somebody writes to it", { timeout }, async () => {
    reset();
    const places = pages.get("model_notes_1") ?? [];
    const store = await open(folder);
    flipPage(databaseOf(folder), places[0]?.page ?? 0);
    await expect(salvage(folder)).rejects.toMatchObject({ code: "store_busy" });
    await store.close();
  });
});

describe("a write-ahead log that is gone", () => {
  test("what the mark attests is named, what a backup has is back", { timeout }, async () => {
    reset();
    const store = await open(folder);
    const result = await store.append([draftOf(9_000), draftOf(9_001)]);
    expect(result.status).toBe("appended");
    const killed = join(folder, "killed");
    cpSync(placeIn(folder).directory, killed, { recursive: true });
    await store.close();
    for (const name of readdirSync(killed)) {
      if (/-(wal|shm)$/.test(name)) rmSync(join(killed, name));
      else cpSync(join(killed, name), join(placeIn(folder).directory, name));
    }
    rmSync(killed, { recursive: true });
    const done = await salvage(folder);
    expect(done.status).toBe("salvaged");
    if (done.status !== "salvaged") return;
    expect(done.report.damage.map(({ code }) => code)).toEqual(["store_rolled_back"]);
    expect(done.report.missing).toMatchObject([{ by: "mark", withServer: false }]);
    expect(await judged(done.report)).toEqual([]);
  });
});
