/** Backups in a folder: when due, in two places, the old ones removed; and one of format 1 that every release restores. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { backupName, createRegistry } from "@holdfast/core";
import {
  backUp,
  backUpKeyring,
  backUpWhenDue,
  drillRestore,
  openStore,
  restoreStore,
} from "@holdfast/node";
import { createRecordingObserver } from "@holdfast/testkit";
import { describe, expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { passphrase, placeIn } from "../store/lab.ts";
import { ageKeys, fill, filledStore, leftovers } from "./lab.ts";

const day = 86_400_000;

describe("a folder of backups", () => {
  test("gets one when it is due, a second copy, and loses the old ones", async () => {
    await withScratch("schedule", async (scratch) => {
      const keys = await ageKeys();
      await filledStore(scratch, 10);
      const observer = createRecordingObserver();
      const [folder, second] = [join(scratch, "kept"), join(scratch, "second")];
      const run = (more: object = {}) =>
        backUpWhenDue({
          ...placeIn(scratch),
          passphrase,
          to: { recipients: [keys.recipient] },
          folder,
          second,
          observer,
          policy: { everyMs: day, keep: 2, keepForMs: 10 * day },
          ...more,
        });
      const first = await run();
      expect(first).toMatchObject({ status: "written", removed: 0, secondFailure: undefined });
      expect(await run()).toMatchObject({ status: "not-due", file: first.file });
      expect(readdirSync(second)).toEqual(readdirSync(folder));

      // Older ones by their names; a stranger's file and another store's stay.
      const { storeId } = await drillRestore({
        ...placeIn(scratch, "drill"),
        passphrase,
        file: first.file,
        by: { identities: [keys.identity] },
      });
      const old = [20, 12, 5].map((days) => backupName(storeId, Date.now() - days * day));
      const strangers = ["notes.txt", backupName("AAAAAAAAAAAAAAAAAAAAAA", 0)];
      for (const name of [...old, ...strangers]) writeFileSync(join(folder, name), "x");
      expect(await run()).toMatchObject({ status: "not-due", removed: 2 });
      const left = readdirSync(folder);
      expect(left).toEqual(expect.arrayContaining([...strangers, old[2]]));
      expect(left.length).toBe(4);

      // A second place that cannot be written is told, and caught up with later.
      const blocked = join(scratch, "blocked");
      writeFileSync(blocked, "a file");
      const failed = await run({ second: blocked });
      expect(failed).toMatchObject({ status: "not-due", secondFailure: "store_io_error" });
      expect(leftovers(folder)).toEqual([]);
      expect(observer.total("backups")).toBe(1);
      await expect(run({ policy: { keep: 0 } })).rejects.toThrow("backup_policy_invalid");
    });
  });
});

const fixture = fileURLToPath(new URL("../fixtures/backup-format-1", import.meta.url));

describe("a backup of format 1", () => {
  test("is restored by this release", async () => {
    await withScratch("format-1", async (folder) => {
      const place = placeIn(folder);
      await restoreStore({
        ...place,
        passphrase: "fixture",
        file: join(fixture, "backup.tar.zst.age"),
        by: { passphrase: "fixture backup" },
        keyringFile: join(fixture, "keyring"),
      });
      const store = await openStore({
        ...place,
        passphrase: "fixture",
        registry: createRegistry([]),
        projections: [],
      });
      expect(store.verify()).toMatchObject({ ok: true, events: 5 });
      await store.close();
    });
  });
});

describe("copies of a keyring", () => {
  test("follow it with each backup, where they are", async () => {
    await withScratch("copies", async (scratch) => {
      const keys = await ageKeys();
      await filledStore(scratch, 10);
      const place = placeIn(scratch);
      const [here, gone] = [join(scratch, "here"), join(scratch, "gone")];
      for (const out of [here, gone]) await backUpKeyring({ ...place, out });
      await expect(backUpKeyring({ ...place, out: here })).rejects.toThrow("output_exists");
      rmSync(gone);
      // Somebody new: a data key that the copies have not got.
      await fill(scratch, 5_000, 1);
      const keyring = (): string => readFileSync(join(place.directory, "keyring"), "utf8");
      expect(readFileSync(here, "utf8")).not.toBe(keyring());
      const to = { recipients: [keys.recipient] };
      const { copies } = await backUp({ ...place, passphrase, out: join(scratch, "b.age"), to });
      expect(copies).toEqual({ current: [here], unreachable: [gone] });
      expect(readFileSync(here, "utf8")).toBe(keyring());
      expect(existsSync(gone)).toBe(false);
      const due = { ...place, passphrase, to, folder: join(scratch, "kept") };
      expect(await backUpWhenDue(due)).toMatchObject({ status: "written", copies });
      expect((await backUpWhenDue(due)).copies).toBeUndefined();
    });
  });
});
