import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createTestStore,
  type TestOpenOptions,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { createOutbox, type Outbox } from "../outbox/outbox.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { inTransaction } from "../store/sqlite-event-log.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-desk-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

async function made(options: TestOpenOptions = {}) {
  const path = join(folder, `store-${files++}.db`);
  const clock = createManualClock(1_000_000);
  let driver: SqliteDriver | undefined;
  let create = true;
  const test = await createTestStore({
    crypto,
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey, { readOnly }) {
      const opened = openSqlite({ path, pageKey, readOnly, create });
      create = false;
      if (!readOnly) driver = opened;
      return opened;
    },
  });
  const observer = createRecordingObserver();
  const open = (more: TestOpenOptions = {}) =>
    test.open({ registry: createNoteRegistry(), observer, ...options, ...more });
  const store = await open();
  /** As sync does, on the same connection. */
  const act = <T>(work: (outbox: Outbox) => T): T => {
    if (driver === undefined) throw new Error("the store is open");
    const outbox = createOutbox({ driver, clock });
    return inTransaction(driver, () => work(outbox));
  };
  return { clock, observer, open, store, act };
}

const reason = { code: "event_leaf_wrong", message: "=1+1", severity: "high" } as const;

describe("outbox desk", () => {
  it("lists and shows what waits, with what its header says", async () => {
    const { store, act } = await made();
    await store.append([note("a", "1"), note("b", "2")]);
    const [, first, second] = store.outbox.list();
    expect(first).toMatchObject({ position: 2, type: "NoteTaken", op: "create", state: "waiting" });
    const lease = act((outbox) => outbox.lease({ worker: "w", entries: 9 }));
    act((outbox) => outbox.begin(lease?.token ?? 0, "https://server.example"));
    expect(store.outbox.list({ state: "leased" })).toHaveLength(3);
    expect(store.outbox.show(second?.leaf ?? "")).toMatchObject({
      id: second?.id,
      tried: [{ endpoint: "https://server.example", entries: 3, result: undefined }],
    });
    expect(() => store.outbox.show("nothing")).toThrow(/^outbox_entry_missing/);
    expect(() => store.outbox.list({ limit: 0 })).toThrow(/^outbox_query_invalid/);
    expect(store.outbox.leases()).toMatchObject([{ holder: "w", entries: 3 }]);
    await store.outbox.forceRelease("w", { actor: "op/1", reason: "stuck" });
    const [row] = store.outbox.leases();
    expect(row).toMatchObject({ holder: undefined, released: { reason: "stuck" } });
    // Actors are pseudonyms everywhere in a store.
    expect(row?.released?.actor).toBe(store.actorId("op/1"));
    await expect(store.outbox.forceRelease("w", { actor: " ", reason: "x" })).rejects.toThrow(
      /^outbox_reason_missing/,
    );
    await store.close();
  });

  it("redrives, archives and purges, and the log keeps every event", async () => {
    const { clock, store, act } = await made();
    await store.append([note("a", "1"), note("b", "2"), note("c", "3")]);
    const ids = store.outbox.list().map(({ id }) => id);
    act((outbox) => {
      for (const position of [2, 3, 4]) outbox.reject(position, reason);
    });
    expect(store.status().outbox).toMatchObject({ waiting: 1, dead: 3 });
    await store.outbox.redrive(ids[1] ?? "");
    expect(store.outbox.show(ids[1] ?? "")).toMatchObject({ id: ids[1], state: "waiting" });
    await expect(store.outbox.redrive(ids[1] ?? "")).rejects.toThrow(/^outbox_entry_missing/);
    await store.outbox.archive(ids[2] ?? "");
    expect(store.outbox.deadLetters().map(({ id }) => id)).toEqual([ids[3]]);
    expect(await store.outbox.archiveOlderThan(0)).toBe(1);
    expect(await store.outbox.purge()).toBe(0);
    clock.advance(1);
    expect(await store.outbox.purge(1)).toBe(2);
    expect(store.read().map(({ id }) => id)).toEqual(ids);
    // Purged is not delivered.
    expect(store.read({ unsynced: true }).map(({ id }) => id)).toEqual(ids);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    expect(await store.outbox.redriveAll()).toBe(0);
    await store.close();
  });

  it("exports the columns of the documents, payloads only when asked", async () => {
    const { clock, store, act } = await made();
    await store.append(note("a", "one"));
    clock.advance(1_000);
    await store.append(note("b", "two"));
    const lease = act((outbox) => outbox.lease({ worker: "w", entries: 2 }));
    const nextAt = clock.now() + 5_000;
    act((outbox) => {
      const attempt = outbox.begin(lease?.token ?? 0, "e");
      outbox.failed(lease?.token ?? 0, attempt, { code: "network_unreachable", nextAt });
      outbox.reject(3, reason);
    });
    clock.advance(2_000);
    const [event] = store.read({ stream: "a" });
    const [, row, ...more] = [...store.outbox.export()];
    expect(more).toEqual([]);
    expect(row).toEqual({
      id: event?.id,
      operation_type: "create",
      entity_type: "NoteTaken",
      entity_id: store.streamId("a"),
      enqueued_at: "1970-01-01T00:16:40.000Z",
      attempt_count: 1,
      next_retry_at: new Date(nextAt).toISOString(),
      backoff_ms: 3_000,
      status: "waiting",
    });
    const [dead] = store.outbox.export({ deadLetters: true, includePayload: true });
    expect(dead).toMatchObject({
      status: "dead",
      error_code: "event_leaf_wrong",
      http_status: null,
      severity: "high",
      archived_at: null,
      payload: { text: "two" },
    });
    expect([...store.outbox.export({ since: clock.now() })]).toEqual([]);
    await store.close();
  });

  it("refuses acts in a store that is open for reading", async () => {
    const { open, store } = await made();
    const reader = await open({ readOnly: true });
    expect(reader.outbox.list()).toHaveLength(1);
    await expect(reader.outbox.redriveAll()).rejects.toThrow(/^store_read_only/);
    await reader.close();
    await store.close();
    await expect(store.outbox.purge()).rejects.toThrow(/^store_closed/);
  });
});

describe("back-pressure", () => {
  const full = { outbox: { entriesMax: 5, warnFraction: 0.6 } };

  it("warns, then refuses normal appends whole, never urgent ones, and lets go again", async () => {
    const { clock, observer, store, act } = await made(full);
    await store.append([note("a", "1"), note("a", "2")]);
    expect(observer.logged("outbox_filling")).toBe(0);
    await store.append(note("a", "3"));
    expect(observer.logged("outbox_filling")).toBe(1);
    await store.append(note("a", "4"));
    const before = store.status().events;
    await expect(store.append([note("b", "5"), note("b", "6")])).rejects.toThrow(/^outbox_full/);
    expect(store.status().events).toBe(before);
    expect(observer.logged("outbox_full")).toBe(1);
    expect(observer.total("outbox_refusals")).toBe(1);
    const urgent = await store.append({ ...note("b", "7"), lane: "urgent" });
    expect(urgent.status).toBe("appended");
    act((outbox) => outbox.delivered([1, 2, 3]));
    clock.advance(1_000);
    expect((await store.append(note("b", "8"))).status).toBe("appended");
    await store.close();
  });

  it("does not take urgent callers down with refused ones of the same moment", async () => {
    const { store } = await made({ outbox: { entriesMax: 1 } });
    const results = await Promise.allSettled([
      store.append(note("a", "1")),
      store.append({ ...note("b", "2"), lane: "urgent" }),
      store.append(note("c", "3")),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    await store.close();
  });

  it("refuses an option that makes no sense", async () => {
    await expect(made({ outbox: { entriesMax: 0 } })).rejects.toThrow(/^outbox_option_invalid/);
    await expect(made({ outbox: { warnFraction: 2 } })).rejects.toThrow(/^outbox_option_invalid/);
    await expect(made({ outbox: { attemptsMax: { server: -1 } } })).rejects.toThrow(
      /^outbox_option_invalid.*attemptsMax\.server/,
    );
  });
});
