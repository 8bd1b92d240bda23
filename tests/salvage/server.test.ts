/** A damaged store whose server has what it lost: salvaged, synced, whole again. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Holdfast } from "@holdfast/core";
import { createNodeHttp, openStore, salvageStore, syncDesk } from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeStore, passphrase, placeIn } from "../store/lab.ts";
import { foundingCode, startRunningApi, type TestApi, drain, textsIn } from "../server/lab.ts";
import { databaseOf, flipPage, pagesOf } from "./lab.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-salvage-server-"));
const place = placeIn(folder);
const http = createNodeHttp();
const registry = createNoteRegistry();
let api: TestApi;

beforeAll(async () => {
  api = await startRunningApi();
});
afterAll(async () => {
  http.close();
  await api.close();
  rmSync(folder, { recursive: true });
});

async function within<T>(use: (store: Holdfast) => T | Promise<T>): Promise<T> {
  const store = await openStore({ ...place, passphrase, registry, projections: [] });
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

const sync = (store: Holdfast): Promise<void> => drain(store, api.url);

const drafts = (from: number, count: number) =>
  Array.from({ length: count }, (_, at) => note(`s${(from + at) % 7}`, `text ${from + at}`));

describe("a store on a server", () => {
  it("gets back from it what it has lost, and records anew what the server never had", async () => {
    await makeStore(folder);
    await within(async (store) => {
      await syncDesk(store, http).enrol(await foundingCode(api));
      await store.append(drafts(0, 40));
      await store.append(drafts(40, 40));
      await sync(store);
      // Not delivered.
      await store.append(drafts(80, 10));
    });
    const before = await within(textsIn);
    const pages = (await pagesOf(folder)).get("events")?.filter(({ leaf }) => leaf) ?? [];
    flipPage(databaseOf(folder), pages[Math.floor(pages.length / 2)]?.page ?? 0);

    const done = await salvageStore({ ...place, passphrase, registry, agree: async () => true });
    expect(done).toMatchObject({ status: "salvaged", report: { mode: "own", survivors: 10 } });
    if (done.status !== "salvaged") return;
    expect(done.report.missing.every(({ withServer }) => withServer)).toBe(true);
    await within(async (store) => {
      // What the server never had is here again before it is asked.
      expect(textsIn(store).filter((text) => Number(text.slice(5)) >= 80)).toHaveLength(10);
      await sync(store);
      expect(textsIn(store)).toEqual(before);
      await store.append(note("after", "text after"));
      await sync(store);
      expect(store.verify()).toMatchObject({ ok: true, problems: [] });
      expect(store.status().outbox.waiting).toBe(0);
    });
  }, 120_000);
});
