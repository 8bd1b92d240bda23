/** A migration whose record was elsewhere while others went on with the lifted store: nothing of theirs is taken back. */
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { storeFormat } from "@holdfast/core";
import { applyMigration, rollBackMigration } from "@holdfast/node";
import { expect, test } from "vitest";
import { fill } from "../backup/lab.ts";
import { withScratch } from "../faults/native.ts";
import { passphrase, placeIn, problemsOf } from "../store/lab.ts";
import { formatIn, storeOfFormat1 } from "./lab.ts";

/** As a process leaves it that was killed while it verified, and others that did not see its record. */
async function goneOnWith(folder: string): Promise<readonly string[]> {
  const first = await storeOfFormat1(folder, 40);
  const place = { ...placeIn(folder), passphrase };
  const database = join(place.directory, "store.db");
  const before = join(folder, "before");
  copyFileSync(database, before);
  await applyMigration(place);
  const [id = ""] = readdirSync(place.stateDirectory);
  const path = join(place.stateDirectory, id, "migration");
  const record = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  rmSync(path);
  const later = await fill(folder, 100, 10);
  copyFileSync(before, `${database}.before-migration`);
  writeFileSync(path, JSON.stringify({ ...record, phase: "verifying" }), { mode: 0o600 });
  return [...first, ...later];
}

test("opening it verifies what is there, and keeps it", async () => {
  await withScratch("migrate-stale", async (folder) => {
    const promises = await goneOnWith(folder);
    expect(await problemsOf(folder, promises)).toEqual([]);
    expect(await formatIn(folder)).toBe(storeFormat);
    const { directory } = placeIn(folder);
    expect(existsSync(join(directory, "store.db.before-migration"))).toBe(false);
  });
}, 120_000);

test("nor does the way back lose it", async () => {
  await withScratch("migrate-stale", async (folder) => {
    const promises = await goneOnWith(folder);
    const place = { ...placeIn(folder), passphrase };
    expect(await rollBackMigration(place)).toMatchObject({ phase: "rolled-back" });
    expect(await formatIn(folder)).toBe(1);
    expect(await problemsOf(folder, promises)).toEqual([]);
  });
}, 120_000);
