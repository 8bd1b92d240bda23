/**
 * A salvage that ended between its switch and the recording of its survivors: whatever is done to the store next takes
 * them along, or is refused.
 */
import { copyFileSync, existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { migrationStatus, openSqlite, releaseOf } from "@holdfast/node";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { scratchFolder } from "../faults/native.ts";
import { filledStore } from "../backup/lab.ts";
import { broken, open, passphrase, placeIn } from "../store/lab.ts";
import { databaseOf, flipPage, keeper, pagesOf, salvage } from "./lab.ts";

const timeout = 300_000;
let folder = "";
let promises: readonly string[] = [];
let reset: () => void;

beforeAll(async () => {
  folder = scratchFolder("survivors");
  promises = await filledStore(folder, 120);
  reset = keeper(folder);
}, timeout);
beforeEach(() => {
  reset();
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Flips a page of that table, the middle one. */
async function flipIn(table: string): Promise<void> {
  const pages = (await pagesOf(folder)).get(table)?.filter(({ leaf }) => leaf) ?? [];
  flipPage(databaseOf(folder), pages[Math.floor(pages.length / 2)]?.page ?? 0);
}

const survivors = (): string => `${databaseOf(folder)}.survivors`;

/** Salvages up to the switch, and ends before anything is recorded, as a process that was killed. */
async function switchedAlone(): Promise<void> {
  await flipIn("events");
  // The last step opens the store, for which the event types are wanted.
  await expect(salvage(folder, { registry: undefined as never })).rejects.toThrow(TypeError);
  expect(existsSync(survivors())).toBe(true);
}

async function lostNow(): Promise<number> {
  const store = await open(folder);
  try {
    return promises.filter((promise) => broken(store, [promise]).length > 0).length;
  } finally {
    await store.close();
  }
}

test("no release is given of a store while survivors wait", { timeout }, async () => {
  await switchedAlone();
  const place = { ...placeIn(folder), passphrase };
  await expect(releaseOf(place)).rejects.toMatchObject({
    code: "interlock_unproven",
    details: { waiting: "survivors of a salvage" },
  });
  // The next writer records them; then it is the events that hinder.
  await (await open(folder)).close();
  const { details } = (await releaseOf(place).catch((error: unknown) => error)) as {
    details: Record<string, unknown>;
  };
  expect(details["undelivered"]).toBeGreaterThan(0);
});

test("salvaged again at once, it has them: nothing is damaged", { timeout }, async () => {
  await switchedAlone();
  const lost = await lostNow();
  reset();
  await switchedAlone();
  expect(await salvage(folder)).toEqual({ status: "healthy" });
  expect(existsSync(survivors())).toBe(false);
  expect(await lostNow()).toBe(lost);
});

test("damaged again before they were recorded, it still has them", { timeout }, async () => {
  await switchedAlone();
  const lost = await lostNow();
  reset();
  await switchedAlone();
  await flipIn("streams");
  const done = await salvage(folder);
  expect(done.status).toBe("salvaged");
  expect(await lostNow()).toBe(lost);
  if (done.status === "salvaged")
    expect(readdirSync(done.quarantine)).toContain("store.db.survivors");
});

test("damaged themselves, the sound rest of them is recorded", { timeout }, async () => {
  await switchedAlone();
  const lost = await lostNow();
  reset();
  await switchedAlone();
  flipPage(survivors(), 4);
  await expect(open(folder)).rejects.toMatchObject({ code: "store_corrupt" });
  const done = await salvage(folder);
  if (done.status !== "salvaged") throw new Error(done.status);
  expect(done.report.damage.map(({ code }) => code)).toEqual(["store_corrupt"]);
  const now = await lostNow();
  expect(now).toBeLessThanOrEqual(lost + (done.report.unreadable["survivors"] ?? 0));
  expect(done.report.lossless).toBe(false);
});

test(
  "whoever comes to a decided switch finishes it, whatever they came for",
  { timeout },
  async () => {
    await flipIn("streams");
    const damaged = join(folder, "damaged");
    copyFileSync(databaseOf(folder), damaged);
    expect((await salvage(folder)).status).toBe("salvaged");
    // As a process that was killed after it had decided.
    renameSync(databaseOf(folder), `${databaseOf(folder)}.salvaged`);
    renameSync(damaged, databaseOf(folder));
    // One at a time: what the second took away could be of the new database already.
    const lock = openSqlite({
      path: `${databaseOf(folder)}.switching`,
      pageKey: undefined,
      readOnly: false,
      create: true,
    });
    lock.exec("BEGIN EXCLUSIVE");
    await expect(open(folder)).rejects.toMatchObject({ code: "store_busy" });
    lock.close();
    await migrationStatus({ ...placeIn(folder), passphrase });
    expect(
      readdirSync(placeIn(folder).directory).filter((name) => /salv|switch/.test(name)),
    ).toEqual([]);
    expect(await salvage(folder)).toEqual({ status: "healthy" });
  },
);
