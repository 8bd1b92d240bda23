import {
  copyFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createKeyDesk,
  createRegistry,
  defineEvent,
  judgeStart,
  type Registry,
  startChecks,
} from "@holdfast/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { checkStart, openStore, type StoreLocation } from "@holdfast/node";
import { makeStore, passphrase, placeIn } from "./lab.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-doctor-"));
const noted = (version = 1) =>
  defineEvent({
    type: "NoteTaken",
    version,
    ...(version > 1 && { upcasters: { 1: (payload: unknown) => payload } }),
    schema: z.object({ text: z.string() }),
  });
const registry = createRegistry([noted()]);
const master = placeIn(folder);

beforeAll(async () => {
  await makeStore(folder);
  const store = await openStore({ ...master, passphrase, registry, projections: [] });
  await store.append({ type: "NoteTaken", stream: "a", actor: "nurse/1", data: { text: "1" } });
  await store.close();
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Puts the healthy store back in its place, for a case to harm it. */
function withStore<T>(work: () => Promise<T>): Promise<T> {
  const kept = `${master.directory}.kept`;
  const keptState = `${master.stateDirectory}.kept`;
  cpSync(master.directory, kept, { recursive: true });
  cpSync(master.stateDirectory, keptState, { recursive: true });
  return work().finally(() => {
    for (const [from, to] of [
      [kept, master.directory],
      [keptState, master.stateDirectory],
    ] as const) {
      // The folder itself stays: its identity is in the high-water mark.
      rmSync(to, { recursive: true, force: true, maxRetries: 0 });
      renameSync(from, to);
    }
  });
}

function contents(place: StoreLocation): unknown {
  const list = (root: string) =>
    readdirSync(root, { recursive: true, encoding: "utf8" })
      .map((name) => join(root, name))
      .filter((path) => statSync(path).isFile() && !/-(wal|shm)$/.test(path))
      .map((path) => [path, readFileSync(path).toString("base64")]);
  return [list(place.directory), list(place.stateDirectory ?? "")];
}

const check = (options: { readonly words?: string; readonly types?: Registry } = {}) =>
  checkStart({
    ...master,
    passphrase: options.words ?? passphrase,
    registry: options.types ?? registry,
  });
const codes = ({ findings }: { readonly findings: readonly { readonly code: string }[] }) =>
  findings.map(({ code }) => code);

describe("start-up checks", () => {
  it("find nothing to stop a healthy store, and change nothing", async () => {
    const before = contents(master);
    const report = await check();
    expect(report).toMatchObject({ status: "ready", skipped: [] });
    expect(codes(report)).toEqual(["recovery_key_absent"]);
    expect(contents(master)).toEqual(before);
  });

  it("block a build that lacks a type, or has an older version of one, that this store recorded", async () => {
    const unknown = await check({ types: createRegistry([]) });
    expect(unknown.status).toBe("blocked");
    expect(unknown.findings[0]).toMatchObject({ code: "event_type_unknown", object: "NoteTaken" });
    expect(unknown.actions[0]).toMatch(/^Start the application/);
    await withStore(async () => {
      const types = createRegistry([noted(2)]);
      const store = await openStore({ ...master, passphrase, registry: types, projections: [] });
      await store.append({ type: "NoteTaken", stream: "a", actor: "nurse/1", data: { text: "2" } });
      await store.close();
      expect(await check({ types })).toMatchObject({ status: "ready" });
      const older = await check();
      expect(older.status).toBe("blocked");
      expect(codes(older)).toContain("event_type_newer");
    });
  });

  it("name a wrong passphrase, a lost database, a lost and a damaged keyring, with what to do", async () => {
    expect(await check({ words: "wrong" })).toMatchObject({
      status: "blocked",
      findings: [{ check: "keyring", code: "key_wrong" }],
    });
    await withStore(async () => {
      rmSync(join(master.directory, "store.db"));
      const report = await check();
      expect(report).toMatchObject({ status: "needs-recovery" });
      expect(report.skipped).toEqual(["format", "tables", "history", "registry", "operations"]);
      expect(codes(report)).toEqual(["store_database_missing"]);
    });
    await withStore(async () => {
      rmSync(join(master.directory, "keyring"));
      const report = await check();
      expect(report.status).toBe("ready");
      expect(codes(report)).toContain("keyring_copy_missing");
      const [id = ""] = readdirSync(master.stateDirectory);
      rmSync(join(master.stateDirectory, id, "keyring"));
      expect(await check()).toMatchObject({
        status: "needs-recovery",
        findings: [{ code: "keyring_missing" }],
      });
    });
    await withStore(async () => {
      writeFileSync(join(master.directory, "store.db"), "x".repeat(8_192));
      expect(await check()).toMatchObject({ status: "needs-recovery" });
    });
  });

  it("find an older copy of the database in place of the newest", async () => {
    const old = join(folder, "old.db");
    copyFileSync(join(master.directory, "store.db"), old);
    await withStore(async () => {
      const store = await openStore({ ...master, passphrase, registry, projections: [] });
      await store.append({ type: "NoteTaken", stream: "a", actor: "nurse/1", data: { text: "2" } });
      await store.close();
      copyFileSync(old, join(master.directory, "store.db"));
      const report = await check();
      expect(report.status).toBe("needs-recovery");
      expect(codes(report)[0]).toBe("store_rolled_back");
    });
  });

  it("see a rotation that was interrupted; it does not stop a start", async () => {
    await withStore(async () => {
      const store = await openStore({ ...master, passphrase, registry, projections: [] });
      const rotating = createKeyDesk(store).rotateEpoch({}, ({ phase }) => {
        if (phase === "primary") void store.close();
      });
      await expect(rotating).rejects.toThrow(/^(rotation_unfinished|store_closed)/);
      const report = await check();
      expect(report.status).toBe("ready");
      expect(report.findings).toContainEqual(
        expect.objectContaining({ code: "rotation_interrupted", object: "epoch primary" }),
      );
    });
  });

  it("judge: the worst finding decides, every action once, formats of other releases apart", () => {
    const of = (code: string) => judgeStart([{ check: "format", code }]).status;
    expect(of("store_newer")).toBe("blocked");
    expect(of("store_older")).toBe("needs-migration");
    expect(of("store_corrupt")).toBe("needs-recovery");
    expect(of("keyring_line_torn")).toBe("ready");
    expect(judgeStart([], startChecks)).toMatchObject({
      status: "ready",
      findings: [],
      actions: [],
    });
    const report = judgeStart([
      { check: "tables", code: "store_corrupt", object: "events" },
      { check: "tables", code: "store_corrupt", object: "frames" },
      { check: "format", code: "store_newer" },
    ]);
    expect(report.status).toBe("blocked");
    expect(report.actions).toHaveLength(2);
  });
});
