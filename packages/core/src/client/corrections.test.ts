/** Corrections, conflicts and the past, on a store that also holds what another device recorded. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  type Bytes,
  createSqliteEventLog,
  defineProjection,
  type Draft,
  type Holdfast,
  inTransaction,
  type RecordedEvent,
  silentObserver,
  toSections,
} from "@holdfast/core";
import {
  createChance,
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createSealedDeviceLog,
  createTestStore,
  noteTaken,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { createReadModels } from "../projection/read-models.ts";
import { limits } from "../std/limits.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-corrections-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

const texts = defineProjection<readonly string[]>({
  name: "texts",
  version: 1,
  types: ["NoteTaken"],
  columns: { size: "integer" },
  fold: (state = [], event) => [...state, (event.data as { readonly text: string }).text],
  row: (state) => ({ size: state.length }),
});

async function made() {
  const path = join(folder, `store-${files++}.db`);
  const clock = createManualClock();
  let create = true;
  let key: Bytes | undefined;
  const test = await createTestStore({
    crypto,
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey, { readOnly }) {
      key = Uint8Array.from(pageKey);
      const driver = openSqlite({ path, pageKey, readOnly, create });
      create = false;
      return driver;
    },
  });
  const registry = createNoteRegistry();
  const connect = () => openSqlite({ path, pageKey: key, readOnly: false, create: false });
  const open: typeof test.open = (more = {}) =>
    test.open({ registry, projections: [texts], ...more });
  return { clock, test, open, connect };
}

/** What another device recorded on a stream without knowing of anything, put into the closed store's log. */
async function arrive(
  { test, connect }: Awaited<ReturnType<typeof made>>,
  tenant: string,
  place: { readonly stream: string; readonly scope: string },
  text: string,
): Promise<string> {
  const keyring = await test.openKeyring();
  const device = createSealedDeviceLog({
    crypto,
    chance: createChance(text.length),
    tenant,
    keyFor: (scope, section) => keyring.dataKeyToSeal(scope, section),
  });
  const content = { data: { text }, text: undefined, occurredAt: undefined, reason: undefined };
  const batch = device.batch([
    {
      ...place,
      type: "NoteTaken",
      at: Date.UTC(2026, 0, 2),
      sections: toSections(noteTaken, content),
    },
  ]);
  const driver = connect();
  const log = createSqliteEventLog({ crypto, driver });
  const unopened = (): never => expect.fail("nobody folds here");
  // Folds nothing, and so leaves the store's read models behind: they are built anew when it is opened.
  const models = createReadModels({
    driver,
    crypto,
    observer: silentObserver,
    log,
    registry: createNoteRegistry(),
    projections: [],
    open: unopened,
    openAppended: unopened,
  });
  const outcome = inTransaction(driver, () =>
    log.appendWithin({ ...batch, foreign: true }, [models]),
  );
  expect(outcome.status).toBe("appended");
  driver.close();
  keyring[Symbol.dispose]();
  return batch.events[0]?.leaf ?? "";
}

function leafOf(store: Holdfast, id: string | undefined): string {
  return store.get(id ?? "")?.leaf ?? "";
}

async function record(store: Holdfast, draft: Draft): Promise<string> {
  const result = await store.append(draft);
  return result.status === "appended" ? leafOf(store, result.events[0]?.id) : "";
}

describe("amendments and retractions", () => {
  it("are events of their own that name the original, which stays", async () => {
    const { open } = await made();
    const store = await open();
    const original = await record(store, note("a", "72 kg", { occurredAt: 5 }));
    await store.amend(original, {
      actor: "nurse/7",
      why: "typing-error",
      reason: "kg",
      data: { text: "27 kg" },
    });
    await store.retract(original, { actor: "nurse/8", why: "wrong-subject" });
    const [first, second, third] = store.history("a").map(({ event }) => event);
    expect(first).toMatchObject({ op: "create", data: { text: "72 kg" }, leaf: original });
    expect(second).toMatchObject({
      op: "amend",
      data: { text: "27 kg" },
      reason: "kg",
      occurredAt: 5,
      header: { ref: [original], why: "typing-error" },
    });
    expect(third).toMatchObject({
      op: "retract",
      header: { ref: [original], why: "wrong-subject" },
    });
    expect(store.history("a").flatMap(({ concurrentWith }) => concurrentWith)).toEqual([]);
    expect(store.conflicts({ all: true })).toEqual([]);
    const nobody = { actor: "nurse/7", why: "typing-error" };
    await expect(store.amend("nothing", nobody)).rejects.toThrow(/^event_not_found/);
    await expect(store.retract("nothing", nobody)).rejects.toThrow(/^event_not_found/);
    await expect(store.resolve("a", { actor: "nurse/7" })).rejects.toThrow(/^conflict_not_open/);
    expect(store.verify().ok).toBe(true);
    await store.close();
  });
});

describe("two devices on one stream", () => {
  it("conflict, are shown as concurrent, and are settled by a resolution that names both", async () => {
    const world = await made();
    let store = await world.open();
    const own = await record(store, note("a", "left"));
    const place = { stream: store.streamId("a"), scope: store.get(own)?.scope ?? "" };
    const { tenant } = store.status();
    await store.close();
    const other = await arrive(world, tenant, place, "right side");
    store = await world.open();
    expect(store.row<readonly string[]>("texts", "a")?.state).toEqual(["left", "right side"]);
    const [open] = store.conflicts();
    expect(open).toMatchObject({
      status: "open",
      strategy: "manual",
      sides: [own, other].toSorted(),
    });
    expect(store.conflicts({ stream: "a" })).toEqual([open]);
    const concurrent = store
      .history("a")
      .map(({ event, concurrentWith }) => [event.leaf, concurrentWith]);
    expect(concurrent).toEqual([
      [own, [other]],
      [other, [own]],
    ]);
    await expect(store.resolve("a", { actor: "n", side: "x".repeat(43) })).rejects.toThrow(
      /^draft_invalid/,
    );
    await store.resolve("a", { actor: "nurse/7", side: other, why: "checked" });
    const settled = store.history("a").at(-1)?.event;
    expect(settled).toMatchObject({ op: "resolve", data: { text: "right side" } });
    expect(settled?.header.ref?.toSorted()).toEqual([own, other].toSorted());
    expect(store.conflicts()).toEqual([]);
    expect(store.conflicts({ all: true })).toMatchObject([
      { status: "settled", settledBy: settled?.leaf },
    ]);
    await expect(store.resolve("a", { actor: "nurse/7" })).rejects.toThrow(/^conflict_not_open/);
    await store.close();
  });
});

describe("the past", () => {
  it("by position, recorded and occurred time is what the events until then make", async () => {
    const { clock, open } = await made();
    const store = await open();
    const chance = createChance(4);
    for (let step = 0; step < 60; step++) {
      clock.advance(chance.integer(3));
      if (chance.oneIn(6)) clock.setWall(clock.now() - chance.integer(10));
      const occurredAt = chance.oneIn(2) ? clock.now() - chance.integer(40) : undefined;
      const more = occurredAt === undefined ? {} : { occurredAt };
      await store.append(note(`s${chance.integer(3)}`, `${step}`, more));
    }
    const events = store.read({ type: "NoteTaken" });
    const plain = (kept: (event: RecordedEvent, earlier: readonly RecordedEvent[]) => boolean) => {
      const rows = new Map<string, string[]>();
      for (const [at, event] of events.entries()) {
        const earlier = events.slice(0, at).filter(({ stream }) => stream === event.stream);
        if (!kept(event, earlier)) continue;
        const { text } = event.data as { readonly text: string };
        rows.set(event.stream, [...(rows.get(event.stream) ?? []), text]);
      }
      return rows;
    };
    const rowsOf = (moment: Parameters<Holdfast["asOf"]>[1]) =>
      new Map(
        store.asOf<readonly string[]>("texts", moment).map(({ stream, state }) => [stream, state]),
      );
    for (const { position, recordedAt } of events) {
      expect(rowsOf({ position })).toEqual(plain((event) => event.position <= position));
      expect(rowsOf({ recorded: recordedAt })).toEqual(
        plain((event, earlier) => [event, ...earlier].every((one) => one.recordedAt <= recordedAt)),
      );
      expect(rowsOf({ occurred: recordedAt - 7 })).toEqual(
        plain((event) => (event.occurredAt ?? event.recordedAt) <= recordedAt - 7),
      );
    }
    const whole = store.query("texts", { order: ["-size"], limit: 2 });
    expect(store.asOf("texts", { position: 1_000 }, { order: ["-size"], limit: 2 })).toEqual(whole);
    expect(() => store.asOf("texts", { position: 1 }, { where: { nothing: 1 } })).toThrow(
      /^query_invalid/,
    );
    await store.close();
  });
});

describe("builds", () => {
  it("of a fold that is not pure are not swapped in: the old one answers", async () => {
    const world = await made();
    let store = await world.open();
    await store.append([note("a", "1"), note("b", "2")]);
    let calls = 0;
    await store.close();
    const impure = { ...texts, version: 2, fold: () => [`${(calls += 1)}`] };
    await expect(world.open({ projections: [impure] })).rejects.toThrow(/^projection_impure/);
    store = await world.open();
    expect(store.row<readonly string[]>("texts", "a")?.state).toEqual(["1"]);
    expect(store.status().projections).toMatchObject([{ state: "current" }]);
    await store.close();
  });

  it("keep a snapshot of a long stream every so many events", async () => {
    const { open, connect } = await made();
    const size = defineProjection<number>({
      name: "sizes",
      version: 1,
      types: ["NoteTaken"],
      columns: { size: "integer" },
      fold: (state = 0) => state + 1,
      row: (state) => ({ size: state }),
    });
    const store = await open({ projections: [size] });
    const { snapshotEvery: every } = limits;
    const events = every * 10;
    for (let at = 0; at < events; at += every) {
      await store.append(Array.from({ length: every }, () => note("a", "x")));
    }
    const driver = connect();
    const folded = driver
      .prepare("SELECT folded, state FROM snapshots ORDER BY folded")
      .all<{ readonly folded: number; readonly state: string }>();
    driver.close();
    expect(folded.map((row) => row.folded)).toEqual(
      Array.from({ length: 10 }, (_, at) => (at + 1) * every),
    );
    for (const { folded: count, state } of folded) expect(state).toBe(String(count));
    await store.close();
  });
});
