/** Older states and copies of a store, with the mark and the registered keyring copy untouched. */
import { cpSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { copyFolder, draftOf, open, storeIdOf } from "./world.ts";
import { events, fill, look, withStore } from "./attacks.ts";

describe("copies and older states", () => {
  test("the write-ahead log is deleted", async () => {
    await withStore(async (place, folder) => {
      const store = await open(place);
      await fill(store, events, events + 10);
      const copy = join(folder, "aside");
      copyFolder(place.directory, copy);
      await store.close();
      for (const name of readdirSync(copy)) cpSync(join(copy, name), join(place.directory, name));
      rmSync(join(place.directory, "store.db-wal"));
      const seen = await look(place);
      expect(seen.findings).toContain("store_rolled_back");
      expect(seen.problems[0]).toBe("store_rolled_back mark");
      expect(seen.append).toBe("store_rolled_back");
      // The log is put back: everything is there, as if nothing had been.
      copyFolder(copy, place.directory);
      const again = await open(place);
      expect(again.status().findings).toEqual([]);
      expect(again.verify()).toMatchObject({ ok: true, events: 1 + events + 10 });
      await again.close();
    });
  });

  test("an older folder is put in place of the newer one", async () => {
    await withStore(async (place, folder) => {
      const older = join(folder, "older");
      copyFolder(place.directory, older);
      const store = await open(place);
      await fill(store, events, events + 10);
      await store.close();
      const newer = join(folder, "newer");
      renameSync(place.directory, newer);
      renameSync(older, place.directory);
      const seen = await look(place);
      expect(seen.findings).toEqual(["store_rolled_back"]);
      expect(seen.problems).toEqual(["store_rolled_back mark"]);
      expect(seen.events).toBe(1 + events);
      expect(seen.append).toBe("store_rolled_back");
      const accepted = await look(place, { acceptRollback: true });
      expect(accepted.append).toBe("appended");
      // Nobody is told a second time what was accepted, and the events written since are kept.
      const after = await look(place);
      expect(after.findings).toEqual([]);
      expect(after.problems).toEqual([]);
      expect(after.events).toBe(1 + events + 2);
      // The newest copy of before comes back: it lacks what was written since.
      renameSync(place.directory, older);
      renameSync(newer, place.directory);
      const again = await look(place);
      expect(again.findings).toContain("store_rolled_back");
      expect(again.events).toBe(1 + events + 10);
    });
  });

  test("a copy from before the newest incarnation is put in place", async () => {
    await withStore(async (place, folder) => {
      const older = join(folder, "older");
      copyFolder(place.directory, older);
      const state = join(place.stateDirectory, storeIdOf(place));
      const mark = readdirSync(state).find((name) => name.startsWith("mark-"));
      const kept = readFileSync(join(state, mark as string));
      rmSync(join(state, mark as string));
      const store = await open(place);
      await fill(store, events, events + 5);
      await store.close();
      writeFileSync(join(state, mark as string), kept);
      renameSync(place.directory, join(folder, "newer"));
      renameSync(older, place.directory);
      const seen = await look(place);
      expect(seen.findings).toContain("store_rolled_back");
      expect(seen.append).toBe("store_rolled_back");
    });
  });

  test("an older copy lies in another folder", async () => {
    await withStore(async (place, folder) => {
      const copy = { ...place, directory: join(folder, "copy") };
      copyFolder(place.directory, copy.directory);
      const store = await open(place);
      await fill(store, events, events + 10);
      await store.close();
      rmSync(place.directory, { recursive: true });
      const seen = await look(copy);
      expect(seen.findings).toEqual(["store_cloned"]);
      expect(seen.problems).toEqual(["store_cloned mark"]);
      expect(seen.append).toBe("appended");
      expect(seen.events).toBe(1 + events);
    });
  });

  test("a store that was moved goes on as a new incarnation", async () => {
    await withStore(async (place, folder) => {
      const moved = { ...place, directory: join(folder, "moved") };
      const before = await open(place);
      const { incarnation } = before.status();
      await before.close();
      renameSync(place.directory, moved.directory);
      const reader = await open(moved, { readOnly: true });
      expect(reader.status().findings.map(({ code }) => code)).toEqual(["store_moved"]);
      expect(reader.status().incarnation).toBe(incarnation);
      await reader.close();
      const seen = await look(moved);
      expect(seen).toMatchObject({ findings: ["store_moved"], append: "appended" });
      const after = await look(moved);
      expect(after).toMatchObject({ findings: [], problems: [], events: 1 + events + 2 });
    });
  });

  test("a folder is copied, and both are written", async () => {
    await withStore(async (place, folder) => {
      const copy = { ...place, directory: join(folder, "copy") };
      copyFolder(place.directory, copy.directory);
      for (let round = 0; round < 3; round++) {
        for (const each of [copy, place]) {
          const store = await open(each);
          await store.append(draftOf(100 + round));
          await store.append({
            type: "Measured",
            stream: `new-${round}`,
            actor: "a",
            data: { round },
          });
          const found = store
            .verify()
            .problems.filter(({ object }) => !object.startsWith("keyring"));
          expect(found).toEqual([]);
          await store.close();
        }
      }
      const [a, b] = [await open(place), await open(copy)];
      expect(a.status().incarnation).not.toBe(b.status().incarnation);
      expect(a.status().device).toBe(b.status().device);
      expect(a.read({ limit: 1_000 }).length).toBe(1 + events + 6);
      expect(b.read({ limit: 1_000 }).length).toBe(1 + events + 1 + 6);
      await a.close();
      await b.close();
    });
  });
});
