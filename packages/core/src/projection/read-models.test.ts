import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  type Holdfast,
  configure,
  createRegistry,
  createSchema,
  createSqliteEventLog,
  defineEvent,
  type Header,
  inTransaction,
} from "@holdfast/core";
import {
  type Chance,
  createChance,
  createFaultPlan,
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createOpenSchema,
  createRecordingObserver,
  createSealedDeviceLog,
  createTestStore,
  createWeightDraft as weight,
  noteTaken,
  weightMeasured,
} from "@holdfast/testkit";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { originKey, type RecordedEvent } from "../event/event.ts";
import { silentObserver } from "../telemetry/observer.ts";
import { defineProjection } from "./projection.ts";
import { createReadModels } from "./read-models.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-models-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

interface Diary {
  readonly notes: readonly string[];
  readonly grams: number;
}

/** Depends on the order of events, so that a wrong order shows. */
const diary = defineProjection<Diary>({
  name: "diary",
  version: 1,
  types: ["NoteTaken", "WeightMeasured"],
  columns: { last: "text", grams: "integer" },
  fold(state = { notes: [], grams: 0 }, event) {
    const data = event.data as { text?: string; grams?: number };
    if (data.text === "poison") throw new Error("refused");
    if (data.text === "forget") return undefined;
    if (data.text === undefined) return { ...state, grams: state.grams + (data.grams ?? 0) };
    return { ...state, notes: [...state.notes, data.text] };
  },
  row: ({ notes, grams }) => ({ last: notes.at(-1) ?? null, grams }),
});
const count = defineProjection<{ n: number }>({
  name: "count",
  version: 1,
  types: ["NoteTaken"],
  columns: { n: "integer" },
  fold: (state) => ({ n: (state?.n ?? 0) + 1 }),
  row: (state) => state,
});

async function made() {
  const path = join(folder, `store-${files++}.db`);
  const clock = createManualClock();
  const faults = createFaultPlan();
  let create = true;
  const test = await createTestStore({
    crypto,
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey, { readOnly }) {
      return faults.over(() => {
        const driver = openSqlite({ path, pageKey, readOnly, create });
        create = false;
        return driver;
      });
    },
  });
  const observer = createRecordingObserver();
  const registry = createNoteRegistry();
  const open: typeof test.open = (more = {}) =>
    test.open({ registry, observer, projections: [diary, count], ...more });
  return { clock, faults, observer, open };
}

const stateOf = (store: Holdfast, model: string): string | undefined =>
  store.status().projections.find(({ name }) => name === model)?.state;

describe("read models", () => {
  it("follow each append in its own transaction, and are the same when built anew", async () => {
    const { open } = await made();
    const store = await open();
    await store.append([
      note("a", "1"),
      weight("a", 5),
      note("b", "2"),
      note("a", "3"),
      weight("a", 7),
    ]);
    await store.append(note("b", "4"));
    const before = store.query("diary", { order: ["last"] });
    expect(before.map(({ columns }) => columns)).toEqual([
      { last: "3", grams: 12 },
      { last: "4", grams: 0 },
    ]);
    expect(store.row<Diary>("diary", "a")?.state).toEqual({ notes: ["1", "3"], grams: 12 });
    expect(store.row("diary", "nothing")).toBeUndefined();
    expect(store.count("count", { where: { n: 2 } })).toBe(2);
    const progress: (readonly [number, number])[] = [];
    await store.rebuild("diary", (done, total) => progress.push([done, total]));
    expect(progress.at(-1)).toEqual([3, 3]);
    expect(store.query("diary", { order: ["last"] })).toEqual(before);
    await store.close();
  });

  it("drop the row of a stream whose fold says so", async () => {
    const { open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    await store.append(note("a", "forget"));
    expect(store.row("diary", "a")).toBeUndefined();
    expect(store.count("diary")).toBe(0);
    await store.append(note("a", "2"));
    expect(store.row<Diary>("diary", "a")?.state.notes).toEqual(["2"]);
    await store.close();
  });

  it("stop at an event that their fold refuses, alone; the append succeeds", async () => {
    const { observer, open } = await made();
    let store = await open();
    await store.append(note("a", "1"));
    const poisoned = await store.append([note("b", "2"), note("a", "poison"), note("b", "3")]);
    expect(poisoned.status).toBe("appended");
    expect(observer.total("projection_stopped")).toBe(1);
    expect(observer.logged("projection_stopped")).toBe(1);
    await store.append(note("a", "4"));
    for (let opened = 0; opened < 2; opened++) {
      expect(store.status().projections).toEqual([
        { name: "diary", version: 1, state: "stopped", stoppedAt: 4 },
        { name: "count", version: 1, state: "current" },
      ]);
      expect(store.row<Diary>("diary", "a")?.state.notes).toEqual(["1"]);
      expect(store.row<{ n: number }>("count", "a")?.state.n).toBe(3);
      expect(store.verify().ok).toBe(true);
      await store.close();
      store = await open();
    }
    await store.rebuild("diary");
    expect(stateOf(store, "diary")).toBe("stopped");
    await store.close();
    // A fold that was corrected has another version: it is built anew when the store is opened.
    const corrected = {
      ...diary,
      version: 2,
      fold: (state: Diary = { notes: [], grams: 0 }) => state,
    };
    store = await open({ projections: [corrected, count] });
    expect(stateOf(store, "diary")).toBe("current");
    expect(store.count("diary")).toBe(2);
    await store.close();
  });

  it("are built anew at open after another version, another registry, or a new projection", async () => {
    const { open } = await made();
    let store = await open({ projections: [] });
    await store.append([note("a", "1"), note("b", "2")]);
    expect(() => store.query("diary")).toThrow(/^model_unknown/);
    await store.close();
    store = await open();
    expect(store.count("diary")).toBe(2);
    await store.close();
    const wider = createRegistry([
      noteTaken,
      weightMeasured,
      defineEvent({ type: "New", schema: createOpenSchema() }),
    ]);
    store = await open({
      registry: wider,
      projections: [{ ...diary, version: 2, columns: { last: "text" } }],
    });
    const rows = store.query("diary", { order: ["last"] });
    expect(rows.map(({ columns }) => columns)).toEqual([{ last: "1" }, { last: "2" }]);
    await store.close();
  });

  it("are never asked while they are stale", async () => {
    const { open } = await made();
    const store = await open({ projections: [] });
    await store.append(note("a", "1"));
    await store.close();
    const reader = await open({ readOnly: true });
    expect(stateOf(reader, "diary")).toBe("stale");
    expect(() => reader.query("diary")).toThrow(/^model_stale/);
    await reader.close();
  });

  it("are stale after somebody appended who does not fold them, and come right at the next open", async () => {
    const { open } = await made();
    let store = await open();
    await store.append(note("a", "1"));
    await store.close();
    store = await open({ projections: [count] });
    const reader = await open({ readOnly: true });
    expect(stateOf(reader, "diary")).toBe("current");
    await store.append(note("a", "2"));
    expect(stateOf(reader, "diary")).toBe("stale");
    expect(() => reader.query("diary")).toThrow(/^model_stale/);
    expect(reader.row<{ n: number }>("count", "a")?.state.n).toBe(2);
    await reader.close();
    await store.close();
    store = await open();
    expect(store.row<Diary>("diary", "a")?.state.notes).toEqual(["1", "2"]);
    await store.close();
  });

  it("stay what they are when they could not be read for a moment", async () => {
    const { faults, open } = await made();
    const store = await open();
    await store.append(note("a", "1"));
    // The connection is given up, and the first look of the next one at its read models fails.
    faults.plan({ sql: /^COMMIT/u, when: "before", result: "SQLITE_IOERR", times: 99 });
    await expect(store.append(note("a", "2"))).rejects.toThrow(/^store_io_error/u);
    faults.heal();
    faults.plan({ sql: /FROM projections WHERE name/u, when: "before", result: "SQLITE_IOERR" });
    expect(() => store.query("diary")).toThrow(/^store_io_error/u);
    await store.append(note("a", "3"));
    expect(stateOf(store, "diary")).toBe("current");
    expect(store.row<Diary>("diary", "a")?.state.notes).toEqual(["1", "3"]);
    await store.close();
  });

  it("say incomplete for events of a newer version, and fold them once they are known", async () => {
    const { open } = await made();
    const { type, schema } = noteTaken;
    const newer = defineEvent({ type, schema, version: 2, upcasters: { 1: (old) => old } });
    let store = await open({ registry: createRegistry([newer, weightMeasured]) });
    await store.append([note("a", "1"), note("a", "2")]);
    await store.close();
    store = await open();
    expect(stateOf(store, "diary")).toBe("incomplete");
    expect(store.row("diary", "a")).toBeUndefined();
    await store.close();
    store = await open({ registry: createRegistry([newer, weightMeasured]) });
    expect(stateOf(store, "diary")).toBe("current");
    expect(store.row<Diary>("diary", "a")?.state.notes).toEqual(["1", "2"]);
    await store.close();
  });
});

/** Batches of several devices on shared streams; each device saw some of the others' events. */
function randomHistory(chance: Chance) {
  const devices = [1, 2, 3].map(() => createSealedDeviceLog({ crypto, chance }));
  const seen = devices.map(() => new Map<string, Record<string, number>>());
  const sequences = new Map<string, number>();
  return Array.from({ length: 10 }, () => {
    const at = chance.integer(devices.length);
    const device = devices[at] as (typeof devices)[number];
    const known = seen[at] as Map<string, Record<string, number>>;
    if (chance.oneIn(2)) {
      for (const [stream, vector] of seen[chance.integer(devices.length)] as typeof known) {
        const own = { ...known.get(stream) };
        for (const [origin, n] of Object.entries(vector))
          own[origin] = Math.max(own[origin] ?? 0, n);
        known.set(stream, own);
      }
    }
    const wishes = Array.from({ length: 1 + chance.integer(3) }, () => {
      const stream = chance.pick(["s1", "s2"]);
      const origin = originKey(device.device, device.incarnation);
      const streamSequence = (sequences.get(`${origin}/${stream}`) ?? 0) + 1;
      sequences.set(`${origin}/${stream}`, streamSequence);
      const vector = { ...known.get(stream) };
      known.set(stream, { ...vector, [origin]: streamSequence });
      const independent = chance.oneIn(3);
      const time = chance.integer(4);
      return {
        stream,
        scope: "scope",
        streamSequence,
        vector: independent ? undefined : vector,
        at: time,
        type: independent ? "WeightMeasured" : "NoteTaken",
        sections: [],
      };
    });
    return device.batch(wishes);
  });
}

const order = defineProjection<{ ids: readonly string[] }>({
  name: "order",
  version: 1,
  types: ["NoteTaken", "WeightMeasured"],
  columns: {},
  fold: (state, event) => ({ ids: [...(state?.ids ?? []), event.id] }),
  row: () => ({}),
});

function replica() {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  configure(driver);
  createSchema(driver);
  const log = createSqliteEventLog({ crypto, driver });
  const recorded = (position: number, header: Header): RecordedEvent =>
    ({
      position,
      header,
      id: header.id,
      type: header.type,
      stream: header.stream,
      scope: header.scope,
      known: true,
    }) as RecordedEvent;
  const models = createReadModels({
    driver,
    crypto,
    observer: silentObserver,
    log,
    registry: createNoteRegistry(),
    projections: [order],
    open: ({ position, headerText }) => recorded(position, JSON.parse(headerText) as Header),
    openAppended: ({ position, sealed }) => recorded(position, sealed.header),
  });
  const rebuild = (): void => {
    inTransaction(driver, () => {
      models.beginBuild("order");
    });
    while (!inTransaction(driver, () => models.stepBuild("order")).done);
  };
  rebuild();
  return { driver, log, models, rebuild };
}

describe("replicas with the same events", () => {
  it("have the same rows, whatever the order of arrival, folded on or anew", () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const chance = createChance(seed);
        const batches = randomHistory(chance);
        const answers = [batches, arrivals(chance, batches), arrivals(chance, batches)].map(
          (arrived) => {
            const { driver, log, models, rebuild } = replica();
            for (const batch of arrived) {
              const outcome = inTransaction(driver, () => log.appendWithin(batch, [models]));
              expect(outcome.status).toBe("appended");
            }
            const folded = models.query("order", {});
            rebuild();
            expect(models.query("order", {})).toEqual(folded);
            driver.close();
            return folded;
          },
        );
        expect(answers[1]).toEqual(answers[0]);
        expect(answers[2]).toEqual(answers[0]);
      }),
      { numRuns: 40 },
    );
  });
});

/** Another order that keeps each device log in its own order. */
function arrivals<Batch extends { readonly note: { readonly device: string } }>(
  chance: Chance,
  batches: readonly Batch[],
): readonly Batch[] {
  const slots = chance.shuffle(batches.map(({ note: { device } }) => device));
  const queues = new Map<string, Batch[]>();
  for (const batch of batches) {
    queues.set(batch.note.device, [...(queues.get(batch.note.device) ?? []), batch]);
  }
  return slots.map((device) => queues.get(device)?.shift() as Batch);
}
