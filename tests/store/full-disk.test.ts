/** A disk that is too small for a salvage, a migration or compacting: a code, the store as it was, and with room it ends well. */
import { cpSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { isHoldfastError } from "@holdfast/core";
import { applyMigration, compactStore } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { filledStore } from "../backup/lab.ts";
import { changedRows, crowdedStore, logRows } from "../compact/lab.ts";
import { smallDiskAvailable, withSmallDisk } from "../faults/io-errors.ts";
import { withScratch } from "../faults/native.ts";
import { formatIn, logIn, storeOfFormat1 } from "../migrate/lab.ts";
import { databaseOf, flipPage, pagesOf, salvage } from "../salvage/lab.ts";
import { broken, open, passphrase, placeIn, problemsOf } from "./lab.ts";

const smallDisk = smallDiskAvailable();
const reason = smallDisk.ok ? "" : `: ${smallDisk.reason}`;
const timeout = 300_000;

/** Leaves that much room on the disk of a folder. */
function leaveRoom(folder: string, bytes: number): void {
  const ballast = join(folder, "ballast");
  rmSync(ballast, { force: true });
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - bytes)));
}

/** The code of a refusal, with what it is about; a success is `done`. */
async function codeOf(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return "done";
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return error.code === "migration_failed"
      ? `failed ${String(error.details["code"])}`
      : error.code;
  }
}

/** Names in the folder, in the store and beside it. */
function namesIn(folder: string): readonly string[] {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  return names.filter((name) => !/^(ballast|state)|store\.db-(wal|shm)$/.test(name)).toSorted();
}

const steps = [0.1, 0.6, 1.2, 1.8, 2.4, 3];

describe.skipIf(!smallDisk.ok)(`a disk that fills up${reason}`, () => {
  test("in a salvage: store_full, nothing changed, nothing left", { timeout }, async () => {
    await withSmallDisk(24, async (folder, grow) => {
      const promises = await filledStore(folder, 300);
      const pages = (await pagesOf(folder)).get("events")?.filter(({ leaf }) => leaf) ?? [];
      flipPage(databaseOf(folder), pages[3]?.page ?? 0);
      const before = readFileSync(databaseOf(folder));
      const names = namesIn(folder);
      const codes: string[] = [];
      for (const part of steps) {
        leaveRoom(folder, before.length * part);
        codes.push(await codeOf(() => salvage(folder)));
        if (codes.at(-1) === "done") break;
        expect(readFileSync(databaseOf(folder)).equals(before)).toBe(true);
        expect(namesIn(folder)).toEqual(names);
      }
      console.log(`salvage with ${steps.join(", ")} times the database left: ${codes.join(", ")}`);
      expect(new Set(codes.filter((code) => code !== "done"))).toEqual(new Set(["store_full"]));
      rmSync(join(folder, "ballast"));
      grow(64);
      expect((await salvage(folder)).status).toMatch(/^(salvaged|healthy)$/);
      const store = await open(folder);
      expect(promises.filter((promise) => broken(store, [promise]).length > 0).length).toBeLessThan(
        20,
      );
      await store.close();
    });
  });

  test("in a migration: its code, the earlier format, nothing left", { timeout }, async () => {
    await withSmallDisk(24, async (folder, grow) => {
      const promises = await storeOfFormat1(folder, 300);
      const before = await logIn(folder);
      const names = namesIn(folder);
      const bytes = readFileSync(databaseOf(folder)).length;
      const place = { ...placeIn(folder), passphrase };
      const codes: string[] = [];
      for (const part of steps) {
        leaveRoom(folder, bytes * part);
        codes.push(await codeOf(() => applyMigration(place)));
        if (codes.at(-1) === "done") break;
        expect(await formatIn(folder)).toBe(1);
        expect(await logIn(folder)).toEqual(before);
        expect(namesIn(folder)).toEqual(names);
      }
      console.log(`migration with ${steps.join(", ")} times left: ${codes.join(", ")}`);
      const refusals = codes.filter((code) => code !== "done");
      expect(refusals.every((code) => /^(store_full|failed store_full)$/.test(code))).toBe(true);
      expect(refusals.length).toBeGreaterThan(0);
      rmSync(join(folder, "ballast"));
      grow(64);
      await applyMigration(place);
      expect(await problemsOf(folder, promises)).toEqual([]);
    });
  });

  test(
    "in compacting: store_full, the log as it was, and the next run ends",
    { timeout },
    async () => {
      await withSmallDisk(48, async (folder, grow) => {
        const promises = await crowdedStore(folder, 200);
        const before = await logRows(folder);
        const codes: string[] = [];
        for (const kibibytes of [0, 64, 256, 1_024]) {
          const store = await open(folder);
          leaveRoom(folder, kibibytes * 1_024);
          codes.push(
            await codeOf(() =>
              compactStore(store, placeIn(folder).directory, { snapshotsKept: 2 }),
            ),
          );
          expect(broken(store, promises)).toEqual([]);
          rmSync(join(folder, "ballast"));
          await store.close();
          expect(changedRows(before, await logRows(folder))).toEqual([]);
          if (codes.at(-1) === "done") break;
        }
        console.log(`compacting: ${codes.join(", ")}`);
        expect(codes[0]).toBe("store_full");
        grow(96);
        const store = await open(folder);
        await compactStore(store, placeIn(folder).directory, { snapshotsKept: 2 });
        await store.close();
        expect(await problemsOf(folder, promises)).toEqual([]);
      });
    },
  );
});

test.skipIf(!smallDisk.ok)(
  `a store whose folder is a file system of its own is salvaged too${reason}`,
  { timeout },
  async () => {
    await withScratch("own-disk", async (folder) => {
      const promises = await filledStore(folder, 60);
      await withSmallDisk(16, async (directory) => {
        cpSync(placeIn(folder).directory, directory, { recursive: true });
        const name = relative(folder, directory);
        const pages = (await pagesOf(folder)).get("streams") ?? [];
        flipPage(databaseOf(folder, name), pages[0]?.page ?? 0);
        const done = await salvage(folder, {}, name);
        expect(done).toMatchObject({ status: "salvaged", report: { lossless: true } });
        if (done.status === "salvaged") rmSync(done.quarantine, { recursive: true });
        expect(readdirSync(directory).toSorted()).toEqual(["keyring", "store.db"]);
        const store = await open(folder, name);
        expect(broken(store, promises)).toEqual([]);
        await store.close();
      });
    });
  },
);
