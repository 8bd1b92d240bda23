import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createFaultPlan,
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createRecordingObserver,
  createTestStore,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { isHoldfastError } from "../std/errors.ts";
import { lifeOf } from "./grant-store.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-audit-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

async function made() {
  const path = join(folder, `store-${files++}.db`);
  const clock = createManualClock(1_000_000);
  const faults = createFaultPlan();
  let create = true;
  const test = await createTestStore({
    crypto,
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey, { readOnly }) {
      const driver = faults.over(() => openSqlite({ path, pageKey, readOnly, create }));
      create = false;
      return driver;
    },
  });
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
    const first = store.audit.record({ kind: "SettingWeakened", facts: { setting: "first" } });
    await expect(first).rejects.toSatisfy((error) => isHoldfastError(error));
    faults.heal();
    await store.audit.record({ kind: "SettingWeakened", facts: { setting: "second" } });
    expect(store.audit.read({ kinds: ["SettingWeakened"] }).map(({ data }) => data)).toEqual([
      { setting: "first" },
      { setting: "second" },
    ]);
    expect(observer.total("audit_events")).toBe(2);
    await store.close();
  });

  it("refuses what is not of its form, and records nothing of it", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    expect(() =>
      store.audit.note({ kind: "SettingWeakened", facts: { setting: "no name at all" } }),
    ).toThrow(/^draft_invalid/);
    await store.audit.settled();
    expect(store.audit.read({ kinds: ["SettingWeakened"] })).toEqual([]);
    await store.close();
  });
});
