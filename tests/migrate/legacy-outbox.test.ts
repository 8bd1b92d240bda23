/** The outbox of an earlier application, taken over: ids for entries that had none, and nothing twice. */
import { join } from "node:path";
import { createRegistry, isUuidV7, runMigration, silentObserver, uuidTime } from "@holdfast/core";
import { createNodeCrypto, openStore, payloadRecords, systemClock } from "@holdfast/node";
import { createLegacyMigration, legacyDrafts, packEvents } from "@holdfast/packs";
import { expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { makeStore, passphrase, placeIn } from "../store/lab.ts";

const createdAt = "2025-11-03T09:30:00.000Z";
const key = "019a49d3-5c00-7000-8000-000000000001";
const exported = {
  exported_at: "2025-12-01T00:00:00Z",
  total_count: 4,
  entries: [
    { id: "op-1", opType: "create", payload: { heart_rate: 61 }, createdAt, attempts: 2 },
    { id: "op-2", opType: "update", payload: { x: 1 }, createdAt, idempotencyKey: key },
    { opType: "control", payload: null, createdAt },
    // Alike in everything: two operations all the same.
    { opType: "control", payload: null, createdAt },
  ],
};
const text = JSON.stringify(exported);
const deps = { crypto: createNodeCrypto(), actor: "migration" };

test("entries without an idempotency key get ids that follow from what they hold", () => {
  const ids = legacyDrafts(deps, text).map(({ id = "" }) => id);
  expect(ids.every(isUuidV7)).toBe(true);
  expect(new Set(ids).size).toBe(4);
  expect(ids[1]).toBe(key);
  expect(uuidTime(ids[0] ?? "")).toBe(Date.parse(createdAt));
  expect(legacyDrafts(deps, text).map(({ id }) => id)).toEqual(ids);
  expect(() => legacyDrafts(deps, '{"entries": [7]}')).toThrow("wire_invalid");
});

test("they become events once, however often and however far it was interrupted", async () => {
  await withScratch("legacy-outbox", async (folder) => {
    await makeStore(folder);
    const registry = createRegistry(packEvents);
    const store = await openStore({ ...placeIn(folder), passphrase, registry, projections: [] });
    // A process that ended after its append, before anything was said of it.
    const [first] = legacyDrafts(deps, text);
    if (first !== undefined) await store.append(first);
    const migration = createLegacyMigration({ ...deps, store }, text);
    const { storeId } = store.status();
    const records = payloadRecords(storeId, "legacy-outbox", join(folder, "state"));
    const ports = { records, clock: systemClock, observer: silentObserver, app: "test" };
    const record = await runMigration(ports, migration);
    expect(record).toMatchObject({ phase: "committed", records: 4, errors: 0 });
    const events = store.read({ type: "LegacyOperationImported" });
    expect(events).toHaveLength(4);
    expect(events[0]?.data).toMatchObject({ entry: "op-1", payload: { heart_rate: 61 } });
    expect(store.status().outbox.waiting).toBeGreaterThanOrEqual(4);
    expect(await runMigration(ports, migration)).toEqual(record);
    expect(store.read({ type: "LegacyOperationImported" })).toHaveLength(4);
    await store.close();
  });
});

test("more of it than one commit takes is recorded in several", async () => {
  await withScratch("legacy-outbox", async (folder) => {
    await makeStore(folder);
    const registry = createRegistry(packEvents);
    const store = await openStore({ ...placeIn(folder), passphrase, registry, projections: [] });
    const payload = "x".repeat(250_000);
    const entries = Array.from({ length: 300 }, (_, at) => ({
      id: `op-${at}`,
      opType: "create",
      payload,
      createdAt,
    }));
    const large = [{ opType: "create", payload: payload + payload, createdAt }];
    const problem = { code: "event_too_large", object: "entry 0" };
    const refused = createLegacyMigration({ ...deps, store }, JSON.stringify(large));
    expect(await refused.dryRun()).toMatchObject({ errors: 1, problem });
    const migration = createLegacyMigration({ ...deps, store }, JSON.stringify(entries));
    expect(await migration.migrate()).toEqual({ records: 300, errors: 0 });
    expect(migration.stands()).toBe("after");
    await store.close();
  });
}, 120_000);

test("an entry that is none is named before anything is recorded", async () => {
  await withScratch("legacy-outbox", async (folder) => {
    await makeStore(folder);
    const registry = createRegistry(packEvents);
    const store = await openStore({ ...placeIn(folder), passphrase, registry, projections: [] });
    const wrong = { ...exported, entries: [...exported.entries, { opType: "paint", createdAt }] };
    const migration = createLegacyMigration({ ...deps, store }, JSON.stringify(wrong));
    const problem = { code: "payload_invalid", object: "entry 4" };
    expect(await migration.dryRun()).toEqual({ records: 5, errors: 1, problem });
    expect(store.read({ type: "LegacyOperationImported" })).toEqual([]);
    await store.close();
  });
});
