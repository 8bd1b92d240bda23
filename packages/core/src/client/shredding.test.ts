import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openSqlite, systemRandom, systemTimers } from "@holdfast/node";
import { createManualClock, createTestStore, textOfTables } from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { createRegistry, defineEvent } from "../event/registry.ts";
import type { Projection } from "../projection/projection.ts";
import type { StoreMedium } from "../store/session.ts";
import type { SqliteDriver, SqlStatement, SqlValue } from "../store/sqlite-driver.ts";
import { lifeOf } from "./grant-store.ts";
import type { Holdfast } from "./holdfast.ts";
import { createShredDesk } from "./shred-desk.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-shred-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

const visited = defineEvent({
  type: "VisitRecorded",
  concurrency: "independent",
  sections: { identity: ["name"] },
  schema: z.object({ name: z.string().optional(), weight: z.number() }),
});
const note = defineEvent({
  type: "NoteTaken",
  concurrency: "exclusive",
  schema: z.object({ text: z.string() }),
});
const registry = createRegistry([visited, note]);
const texts: Projection<{ readonly said: readonly string[] }> = {
  name: "texts",
  version: 1,
  types: ["VisitRecorded", "NoteTaken"],
  columns: { count: "integer" },
  searchFields: ["said"],
  search: ({ said }) => ({ said: said.join(" ") }),
  fold: (state, { data }) => {
    const { name, text, weight } = data as { name?: string; text?: string; weight?: number };
    return { said: [...(state?.said ?? []), name ?? text ?? `weight ${weight}`] };
  },
  row: ({ said }) => ({ count: said.length }),
};

/** What a medium says and is asked in a test. */
interface Watched {
  /** Bytes that it has for a file that is written anew. */
  room: number;
  /** Free pages, and bytes of the write-ahead log, each time that one was cut off. */
  readonly cut: { readonly free: number; readonly log: number }[];
}

async function made(watched?: Watched) {
  const clock = createManualClock();
  const path = join(folder, `store-${files++}.db`);
  let create = true;
  const test = await createTestStore({
    crypto: createNodeCrypto(),
    random: systemRandom,
    clock,
    timers: systemTimers,
    openDriver(pageKey, { readOnly }) {
      const driver = openSqlite({ path, pageKey, readOnly, create });
      create = false;
      return watched === undefined || readOnly ? driver : watching(driver, path, watched);
    },
  });
  const room = () => ({ memory: watched?.room ?? Infinity, disk: Infinity });
  const medium = (of: StoreMedium): StoreMedium => ({ ...of, room });
  const open = () => test.open({ registry, projections: [texts], medium });
  return { clock, open, store: await open() };
}

/** Notes what is left in the file whenever its write-ahead log is cut off. */
function watching(driver: SqliteDriver, path: string, { cut }: Watched): SqliteDriver {
  const noted = (statement: SqlStatement): SqlStatement => ({
    all: (...values) => statement.all(...values),
    run: (...values) => statement.run(...values),
    get<Row>(...values: readonly SqlValue[]): Row | undefined {
      const row = statement.get<Row>(...values);
      const free = driver.prepare("PRAGMA freelist_count").get<{ freelist_count: number }>();
      cut.push({ free: free?.freelist_count ?? -1, log: statSync(`${path}-wal`).size });
      return row;
    },
  });
  return {
    capabilities: driver.capabilities,
    get inTransaction() {
      return driver.inTransaction;
    },
    exec: (sql) => driver.exec(sql),
    prepare: (sql) =>
      sql.includes("wal_checkpoint") ? noted(driver.prepare(sql)) : driver.prepare(sql),
    close: () => driver.close(),
  };
}

const by = (actor: string) => ({ actor, why: "erasure-asked" });
const visit = (subject: string, name: string) => ({
  type: "VisitRecorded",
  stream: `${subject}/visits`,
  scope: subject,
  actor: "nurse",
  data: { name, weight: 70 },
});
const noteOf = (subject: string, text: string) => ({
  type: "NoteTaken",
  stream: `${subject}/notes`,
  scope: subject,
  actor: "nurse",
  data: { text },
});

/** Every value of every table. */
const everything = (store: Holdfast): string => textOfTables(lifeOf(store).current().driver);

/** The full-text index itself: terms in lower case. */
function terms(store: Holdfast): string {
  const { driver } = lifeOf(store).current();
  const [table] = driver
    .prepare("SELECT name FROM sqlite_schema WHERE name GLOB 'search_texts_*_data'")
    .all<{ name: string }>();
  const rows = driver
    .prepare(`SELECT block FROM ${table?.name ?? ""}`)
    .all<{ block: Uint8Array }>();
  return rows.map(({ block }) => Buffer.from(block).toString("latin1")).join("\n");
}

async function shred(store: Holdfast, scopes: readonly string[], section?: string) {
  const desk = createShredDesk(store);
  const ofSection = section === undefined ? {} : { section };
  const id = await desk.request({ ...by("officer"), scopes, ...ofSection });
  await desk.approve(id, by("officer"));
  return desk.approve(id, by("director"));
}

describe("a shred on one device", () => {
  it("leaves no free page in the file, and nothing in the write-ahead log", async () => {
    const watched: Watched = { room: Infinity, cut: [] };
    const { store } = await made(watched);
    const words = "Annabella ".repeat(4_000);
    await store.append([visit("anna", "Annabella"), noteOf("anna", words)]);
    watched.cut.length = 0;
    await shred(store, [store.scopeId("anna")]);
    expect(watched.cut).toContainEqual({ free: 0, log: 0 });
    await store.close();
  });

  it("waits where there is no room to write the file anew, gives back what it can, and goes on", async () => {
    const watched: Watched = { room: 0, cut: [] };
    const { store, open } = await made(watched);
    await store.append([visit("anna", "Annabella"), noteOf("anna", "word ".repeat(4_000))]);
    const scope = store.scopeId("anna");
    watched.cut.length = 0;
    const { shred: id } = await shred(store, [scope]);
    const standing = (of: Holdfast) =>
      createShredDesk(of)
        .list()
        .find((one) => one.shred === id);
    expect(standing(store)).toMatchObject({ here: { [scope]: "frames-deleted" }, confirmed: [] });
    expect(store.status().findings).toContainEqual(
      expect.objectContaining({ message: expect.stringContaining("compact_no_room") as string }),
    );
    expect(watched.cut).toContainEqual({ free: 0, log: 0 });
    watched.room = Infinity;
    await createShredDesk(store).goOn();
    expect(standing(store)).toMatchObject({ here: { [scope]: "acknowledged" } });
    await store.close();
    const again = await open();
    expect(again.verify().problems).toEqual([]);
    await again.close();
  });

  it("takes a subject's content out of everything, leaves the log as it was, and says so", async () => {
    const { store, open } = await made();
    await store.append([visit("anna", "Annabella"), noteOf("anna", "Annabella fell")]);
    await store.append([visit("bert", "Bertolucci"), noteOf("bert", "Bertolucci rose")]);
    const scope = store.scopeId("anna");
    const root = store.status().head.root;
    const before = store.prove(store.read({ type: "NoteTaken" })[0]?.id ?? "");
    expect(everything(store)).toContain("Annabella");
    expect(terms(store)).toContain("annabella");
    const standing = await shred(store, [scope]);
    expect(standing).toMatchObject({
      inForce: true,
      here: { [scope]: "acknowledged" },
      unconfirmed: [],
    });
    expect(everything(store)).not.toContain("Annabella");
    expect(everything(store)).toContain("Bertolucci");
    expect(terms(store)).not.toContain("annabella");
    expect(terms(store)).toContain("bertolucci");
    expect(store.search("texts", "Annabella")).toEqual([]);
    expect(store.search("texts", "Bertolucci")).toHaveLength(2);
    const { keyring } = lifeOf(store).deps;
    expect(keyring.dataKeys().filter((key) => key.scope === scope)).toEqual([]);
    expect(keyring.dataKeys().length).toBeGreaterThan(0);
    expect(keyring.shreds.list()).toMatchObject([{ scope, isEpochClosed: true }]);
    expect(store.read({ stream: "anna/notes" })).toMatchObject([
      { content: "shredded", data: undefined },
    ]);
    expect(store.prove(before.leaf)).toMatchObject({ leaf: before.leaf, header: before.header });
    expect(store.status().head.root).not.toBe(root);
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    expect(store.status().findings).toEqual([]);
    await store.close();
    const again = await open();
    expect(again.verify()).toMatchObject({ ok: true });
    expect(everything(again)).not.toContain("Annabella");
    expect(createShredDesk(again).list()).toEqual([standing]);
    await again.close();
  });

  it("seals nothing there again; a subject who returns gets another scope", async () => {
    const { store } = await made();
    await store.append([visit("anna", "Annabella")]);
    const scope = store.scopeId("anna");
    await shred(store, [scope]);
    await expect(store.append(visit("anna", "Annabella"))).rejects.toMatchObject({
      code: "scope_shredded",
    });
    await expect(store.append({ ...noteOf("anna", "again"), scope })).rejects.toMatchObject({
      code: "scope_shredded",
    });
    const { keyring } = lifeOf(store).deps;
    expect(() => keyring.dataKeyToSeal(scope, "content")).toThrow(/^scope_shredded/);
    const key = { id: "k".repeat(22), scope, section: "content", generation: 1 };
    expect(() => {
      keyring.addDataKey({ ...key, key: new Uint8Array(32) });
    }).toThrow(/^scope_shredded/);
    const second = store.scopeId("anna");
    expect(second).not.toBe(scope);
    const visits = { ...visit("anna", "Annabella"), stream: "anna/visits/2" };
    await store.append(visits);
    expect(store.read({ stream: "anna/visits/2" })).toMatchObject([{ scope: second }]);
    await store.close();
  });

  it("of one section class leaves the others readable, and goes on with them", async () => {
    const { store } = await made();
    await store.append([visit("anna", "Annabella")]);
    const scope = store.scopeId("anna");
    await shred(store, [scope], "identity");
    expect(everything(store)).not.toContain("Annabella");
    expect(store.read({ stream: "anna/visits" })).toMatchObject([
      { content: "opened", data: { weight: 70 } },
    ]);
    expect(store.search("texts", "weight")).toHaveLength(1);
    await expect(store.append(visit("anna", "Annabella"))).rejects.toMatchObject({
      code: "scope_shredded",
    });
    await store.append(noteOf("anna", "goes on"));
    expect(store.scopeId("anna")).toBe(scope);
    expect(store.verify()).toMatchObject({ ok: true });
    await store.close();
  });

  it("waits for two actors, for holds to end, and for the age that its retention asks for", async () => {
    const { store, clock } = await made();
    await store.append([visit("anna", "Annabella")]);
    const scopes = [store.scopeId("anna")];
    const desk = createShredDesk(store);
    await expect(desk.request({ ...by("officer"), scopes }, 1_000_000)).rejects.toMatchObject({
      code: "shred_retained",
    });
    expect(desk.due(1_000)).toEqual([]);
    clock.advance(1_000_001);
    expect(desk.due(1_000)).toMatchObject([{ scope: scopes[0] }]);
    const shredId = await desk.request({ ...by("officer"), scopes }, 1_000_000);
    const hold = await desk.placeHold({ ...by("court"), scopes });
    expect(desk.holds()).toMatchObject([{ hold, scopes, why: "erasure-asked" }]);
    expect(desk.list()).toMatchObject([{ shred: shredId, holds: [hold], inForce: false }]);
    await expect(desk.request({ ...by("officer"), scopes })).rejects.toMatchObject({
      code: "shred_held",
    });
    await expect(desk.approve(shredId, by("officer"))).rejects.toMatchObject({
      code: "shred_held",
    });
    await expect(desk.certify(shredId, by("officer"))).rejects.toMatchObject({
      code: "shred_open",
    });
    await desk.liftHold(hold, by("court"));
    await desk.approve(shredId, by("officer"));
    await expect(desk.approve(shredId, by("officer"))).rejects.toMatchObject({
      code: "shred_repeated",
    });
    await expect(desk.approve("x", by("officer"))).rejects.toMatchObject({ code: "shred_unknown" });
    expect(everything(store)).toContain("Annabella");
    await desk.approve(shredId, by("director"));
    expect(everything(store)).not.toContain("Annabella");
    const device = store.status().device;
    expect(await desk.certify(shredId, by("officer"))).toMatchObject({
      shred: shredId,
      confirmed: [device],
      unconfirmed: [],
      device,
    });
    const own = store.read({ type: "IncarnationOpened" })[0]?.scope ?? "";
    await expect(desk.request({ ...by("officer"), scopes: [own] })).rejects.toMatchObject({
      code: "draft_invalid",
    });
    await store.close();
  });

  it("is no excuse for content that nobody shredded", async () => {
    const { store } = await made();
    await store.append([visit("anna", "Annabella"), noteOf("bert", "Bertolucci")]);
    const [anna, bert] = [store.scopeId("anna"), store.scopeId("bert")];
    await shred(store, [anna]);
    const { driver } = lifeOf(store).current();
    driver.exec(
      `UPDATE frames SET state = 'shredded', bytes = NULL WHERE position IN (
         SELECT position FROM events WHERE header ->> '$.scope' = '${bert}')`,
    );
    expect(store.verify().problems).toMatchObject([{ code: "frame_absent" }]);
    driver.exec(`INSERT INTO shreds VALUES ('${bert}', '', 'made up', 'leaf', 'in-force')`);
    expect(store.verify().problems.map(({ code }) => code)).toEqual([
      "frame_absent",
      "shreds_wrong",
    ]);
    await createShredDesk(store).goOn();
    expect(lifeOf(store).deps.keyring.shreds.isShredded(bert, "content")).toBe(false);
    expect(store.status().findings).toMatchObject([{ code: "shred_waits" }]);
    await store.close();
  });
});
