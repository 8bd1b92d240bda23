import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createStoreFiles,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { lifeOf } from "./grant-store.ts";

const crypto = createNodeCrypto();
const stores = createStoreFiles({ crypto, random: systemRandom, openFile: openSqlite });
afterAll(stores.remove);

async function made() {
  const { test, clock, faults } = await stores.make({ clock: createManualClock(1_000_000) });
  const observer = createRecordingObserver();
  const open: typeof test.open = (more = {}) =>
    test.open({ registry: createNoteRegistry(), observer, ...more });
  return { clock, faults, observer, open };
}

describe("audit trail", () => {
  it("records sealed events in the device's own scope, readable and verified", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    const facts = { key: "epoch", phase: "planned", rotation: "AAAAAAAAAAA", total: 3 } as const;
    await store.audit.record({
      kind: "KeyRotationAdvanced",
      facts,
      actor: "security/1",
      why: "scheduled",
      reason: "every quarter",
    });
    const [opening, event] = store.audit.read();
    expect(opening).toMatchObject({ type: "IncarnationOpened", position: 1 });
    expect(event).toMatchObject({
      type: "KeyRotationAdvanced",
      op: "key",
      data: facts,
      reason: "every quarter",
      actor: store.actorId("security/1"),
      stream: opening?.stream,
      scope: opening?.scope,
    });
    expect(event?.header).toMatchObject({ why: "scheduled", tier: "software" });
    // What is said is in a section: nothing of it stands in the header.
    expect(event?.header.pub).toBe(undefined);
    expect(store.audit.read({ kinds: ["LeaseForced"] })).toEqual([]);
    expect(store.audit.read({ why: "scheduled", after: 1 })).toHaveLength(1);
    expect(store.audit.read({ actor: store.actorId("somebody") })).toEqual([]);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
  });

  it("says when the writer's lease was taken over from a holder that is gone", async () => {
    const { open } = await made();
    const dead = await open({ process: { holder: "pc/1", isGone: () => false } });
    await dead.append(note("a", "1"));
    // It is never closed: its process was killed.
    const store = await open({ process: { holder: "pc/2", isGone: () => true } });
    await store.append(note("a", "2"));
    await store.audit.settled();
    expect(store.audit.read({ kinds: ["LeaseTakenOver"] })).toMatchObject([
      { op: "admin", data: { lease: "writer" } },
    ]);
    await store.close();
  });

  it("says who released a lease of the outbox by force, and why", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    await lifeOf(store).transact(({ outbox }) => outbox.lease({ worker: "w", entries: 9 }));
    const long = { actor: "x".repeat(limits.wordsCharactersMax + 1), reason: "stuck" };
    await expect(store.outbox.forceRelease("w", long)).rejects.toThrow(/^draft_invalid/);
    expect(store.outbox.leases()).toHaveLength(1);
    await store.outbox.forceRelease("w", { actor: "op/1", reason: "stuck" });
    expect(store.audit.read({ kinds: ["LeaseForced"] })).toMatchObject([
      { actor: store.actorId("op/1"), reason: "stuck", header: { why: "forced" } },
    ]);
    await store.close();
  });

  it("keeps what could not be written and writes it with the next entry, in order", async () => {
    const { faults, observer, open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    faults.plan({ sql: /^INSERT INTO events/, when: "before", result: "SQLITE_FULL", times: 9 });
    const first = store.audit.record({
      kind: "RecoveryKeyAdded",
      facts: { recovery: "first-key" },
    });
    await expect(first).rejects.toSatisfy((error) => isHoldfastError(error));
    faults.heal();
    await store.audit.record({ kind: "RecoveryKeyAdded", facts: { recovery: "second-key" } });
    expect(store.audit.read({ kinds: ["RecoveryKeyAdded"] }).map(({ data }) => data)).toEqual([
      { recovery: "first-key" },
      { recovery: "second-key" },
    ]);
    expect(observer.total("audit_events")).toBe(2);
    expect(observer.total("audit_failures")).toBe(1);
    await store.close();
  });

  it("says that it records nothing where the store is open for reading", async () => {
    const { observer, open } = await made();
    await (await open()).close();
    const store = await open({ readOnly: true });
    const entry = { kind: "LeaseForced", facts: { lease: "outbox" } } as const;
    await expect(store.audit.record(entry)).rejects.toThrow(/^store_read_only/);
    store.audit.note(entry);
    await store.audit.settled();
    expect(observer.total("audit_failures", { code: "store_read_only" })).toBe(2);
    expect(store.audit.read({ kinds: ["LeaseForced"] })).toEqual([]);
    await store.close();
  });

  it("refuses what is not of its form, and records nothing of it", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    expect(() =>
      store.audit.note({ kind: "RecoveryKeyAdded", facts: { recovery: "no id at all" } }),
    ).toThrow(/^draft_invalid/);
    await store.audit.settled();
    expect(store.audit.read({ kinds: ["RecoveryKeyAdded"] })).toEqual([]);
    await store.close();
  });
});
