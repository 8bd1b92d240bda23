/** A store that was lifted from an earlier format: its tables lie elsewhere than in a new one, and what a lent schema reads is nonsense. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { createRegistry } from "@holdfast/core";
import { applyMigration, openStore, salvageStore } from "@holdfast/node";
import { packEvents } from "@holdfast/packs";
import { expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { flipPage } from "./lab.ts";

const registry = createRegistry(packEvents);
const fixture = new URL("../fixtures/store-format-2", import.meta.url).pathname;

test("with a first page that cannot be read: nothing wrong is believed, all that is lost is named", async () => {
  await withScratch("salvage-lifted", async (folder) => {
    cpSync(fixture, folder, { recursive: true });
    const directory = join(folder, "store");
    const passphrase = "fixture of format 2";
    const place = { directory, stateDirectory: join(folder, "state"), passphrase };
    await applyMigration(place);
    const before = await openStore({ ...place, registry, projections: [] });
    const ids = before.read({ limit: 10_000 }).map(({ id }) => id);
    await before.close();
    flipPage(join(directory, "store.db"), 1);
    const done = await salvageStore({ ...place, registry, agree: async () => true });
    if (done.status !== "salvaged") throw new Error(done.status);
    const store = await openStore({ ...place, registry, projections: [] });
    const lost = ids.filter((id) => store.get(id) === undefined).length;
    await store.close();
    const named = done.report.missing.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    expect(lost).toBeLessThanOrEqual(named);
  });
}, 120_000);
