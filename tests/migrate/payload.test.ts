/** The vital-sign schema upgrade: recorded as version 1, folded as version 2, the log untouched. */
import { join } from "node:path";
import {
  createPayloadMigration,
  createRegistry,
  defineEvent,
  type Projection,
  runMigration,
  silentObserver,
} from "@holdfast/core";
import { openStore, payloadRecords, systemClock } from "@holdfast/node";
import { packEvents, packProjections } from "@holdfast/packs";
import { expect, test } from "vitest";
import { z } from "zod";
import { withScratch } from "../faults/native.ts";
import { makeStore, passphrase, placeIn } from "../store/lab.ts";

/** As the release before declared it. */
const before = createRegistry([
  defineEvent({
    type: "VitalSignMeasured",
    version: 1,
    concurrency: "independent",
    schema: z.object({ taken_at: z.string(), sign: z.string(), reading: z.string() }),
  }),
]);
const after = createRegistry(packEvents);
const series = { type: "VitalSignMeasured", stream: "vital-sign/ada/heart_rate", actor: "nurse/7" };

async function recorded(folder: string, readings: readonly string[]): Promise<readonly string[]> {
  const place = { ...placeIn(folder), passphrase };
  const store = await openStore({ ...place, registry: before, projections: [] });
  for (const [at, reading] of readings.entries()) {
    const taken_at = `2026-03-0${at + 1}T08:00:00Z`;
    await store.append({ ...series, data: { taken_at, sign: "hr", reading } });
  }
  const leaves = store.read({ limit: 100, headersOnly: true }).map(({ leaf }) => leaf);
  await store.close();
  return leaves;
}

function opened(folder: string, projections: readonly Projection[]) {
  return openStore({ ...placeIn(folder), passphrase, registry: after, projections });
}

test("payloads of version 1 are lifted, and the read models that fold them are built anew", async () => {
  await withScratch("migrate-payload", async (folder) => {
    await makeStore(folder);
    const leaves = await recorded(folder, ["61", "72", "68"]);
    const store = await opened(folder, packProjections);
    const type = after.types.get("VitalSignMeasured");
    if (type === undefined) throw new Error("not declared");
    const migration = createPayloadMigration(store, type, ["vital_signs"]);
    expect(migration).toMatchObject({ from: 1, to: 2, affected: ["vital_signs"] });
    if (migration === undefined) return;
    expect(await migration.dryRun()).toEqual({ records: 3, errors: 0 });
    const records = payloadRecords(store.status().storeId, type.type, join(folder, "state"));
    const deps = { records, clock: systemClock, observer: silentObserver, app: "test" };
    const record = await runMigration(deps, migration);
    expect(record).toMatchObject({ phase: "committed", records: 3, errors: 0 });
    expect(records.read()).toEqual(record);
    expect(store.query("vital_signs")).toMatchObject([{ columns: { value: 68, count: 3 } }]);
    const now = store.read({ limit: 100, headersOnly: true });
    expect(now.map(({ leaf }) => leaf)).toEqual(leaves);
    // Nothing is due where every payload is of the declared version.
    expect(createPayloadMigration(store, { ...type, version: 1 }, [])).toBeUndefined();
    await store.close();
  });
});

test("a payload that does not lift is named, and nothing is built", async () => {
  await withScratch("migrate-payload", async (folder) => {
    await makeStore(folder);
    await recorded(folder, ["61", "high", "68"]);
    // With its read models the store would not open for writing.
    const store = await opened(folder, []);
    const type = after.types.get("VitalSignMeasured");
    const migration = type && createPayloadMigration(store, type, ["vital_signs"]);
    if (migration === undefined) throw new Error("nothing is due");
    const problem = { code: "payload_unreadable", object: "event 3" };
    expect(await migration.dryRun()).toEqual({ records: 3, errors: 1, problem });
    const records = payloadRecords(store.status().storeId, series.type, join(folder, "state"));
    const deps = { records, clock: systemClock, observer: silentObserver, app: "test" };
    await expect(runMigration(deps, migration)).rejects.toMatchObject({
      code: "migration_failed",
      details: { ...problem, phase: "backed-up" },
    });
    expect(records.read()?.phase).toBe("rolled-back");
    await store.close();
  });
});
