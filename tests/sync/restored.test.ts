/** A store on a real server, over HTTP: what it may be replaced against, and what comes back after a restore. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Holdfast, type Release, syncStoreOf } from "@holdfast/core";
import {
  backUp,
  createNodeHttp,
  openStore,
  releaseOf,
  rescue,
  restoreOver,
  syncDesk,
} from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type AgeKeys, ageKeys } from "../backup/lab.ts";
import { makeStore, passphrase, placeIn } from "../store/lab.ts";
import { foundingCode, startRunningApi, type TestApi, drain, textsIn } from "../server/lab.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-restored-"));
const place = placeIn(folder);
const http = createNodeHttp();
let api: TestApi;
let keys: AgeKeys;

beforeAll(async () => {
  keys = await ageKeys();
  api = await startRunningApi();
});
afterAll(async () => {
  http.close();
  await api.close();
  rmSync(folder, { recursive: true });
});

const to = () => ({ recipients: [keys.recipient] });
const by = () => ({ identities: [keys.identity] });
const open = (at = place): Promise<Holdfast> =>
  openStore({ ...at, passphrase, registry: createNoteRegistry(), projections: [] });

async function within<T>(use: (store: Holdfast) => T | Promise<T>, at = place): Promise<T> {
  const store = await open(at);
  try {
    return await use(store);
  } finally {
    await store.close();
  }
}

const sync = (store: Holdfast): Promise<void> => drain(store, api.url);

describe("a store on a server", () => {
  it("is replaced against a drain proof, and fetches what was recorded since the backup", async () => {
    await makeStore(folder);
    const file = join(folder, "early.age");
    await within(async (store) => {
      await syncDesk(store, http).enrol(await foundingCode(api));
      await store.append([note("a", "first"), note("b", "second")]);
      await sync(store);
    });
    await backUp({ ...place, passphrase, out: file, to: to() });
    await within(async (store) => {
      await store.append([note("a", "third"), note("c", "fourth")]);
    });

    const restoring = { ...place, passphrase, file, by: by() };
    await expect(releaseOf({ ...place, passphrase })).rejects.toThrow("interlock_unproven");
    await within(sync);
    const proof: Release = await releaseOf({ ...place, passphrase });
    expect(proof.kind).toBe("drained");

    // Nobody else may have it open, and nothing may have been recorded since.
    const other = await open();
    await expect(restoreOver(restoring, proof)).rejects.toThrow("store_busy");
    await other.append(note("d", "late"));
    await other.close();
    await expect(restoreOver(restoring, proof)).rejects.toThrow("interlock_stale");
    await within(async (store) => {
      expect(textsIn(store)).toEqual(["first", "fourth", "late", "second", "third"]);
      await sync(store);
    });

    const restored = await restoreOver(restoring, await releaseOf({ ...place, passphrase }));
    expect(restored.events).toBeGreaterThan(2);
    await within(async (store) => {
      expect(textsIn(store)).toEqual(["first", "second"]);
      await sync(store);
      expect(textsIn(store)).toEqual(["first", "fourth", "late", "second", "third"]);
      await store.append(note("a", "after"));
      await sync(store);
      expect(store.verify()).toMatchObject({ ok: true, problems: [] });
      expect(syncStoreOf(store).watermarks().waiting).toBe(0);
    });
  }, 60_000);

  it("is replaced against a rescue bundle of what the server has not", async () => {
    const file = join(folder, "second.age");
    await backUp({ ...place, passphrase, out: file, to: to() });
    await within((store) => store.append([note("x", "unsent 1"), note("y", "unsent 2")]));
    const bundle = { file: join(folder, "rescue.age"), by: by() };
    await rescue({ ...place, passphrase, out: bundle.file, to: to() });
    await within((store) => store.append(note("z", "unsent 3")));
    await expect(releaseOf({ ...place, passphrase, bundle })).rejects.toThrow("interlock_stale");

    const newer = { file: join(folder, "rescue-2.age"), by: by() };
    await rescue({ ...place, passphrase, out: newer.file, to: to() });
    const release = await releaseOf({ ...place, passphrase, bundle: newer });
    expect(release.kind).toBe("rescued");
    const wrongKind = { ...place, passphrase, file: newer.file, by: by() };
    await expect(restoreOver(wrongKind, release)).rejects.toThrow("backup_kind_wrong");
    await restoreOver({ ...place, passphrase, file, by: by() }, release);
    await within((store) => {
      expect(textsIn(store)).not.toContain("unsent 1");
      expect(store.verify()).toMatchObject({ ok: true });
    });
  }, 60_000);

  it("is not replaced by the backup of another store", async () => {
    const other = placeIn(join(folder, "other"));
    mkdirSync(join(folder, "other"));
    await makeStore(join(folder, "other"));
    const file = join(folder, "other.age");
    await backUp({ ...other, passphrase, out: file, to: to() });
    await within(sync);
    const release = await releaseOf({ ...place, passphrase });
    await expect(restoreOver({ ...place, passphrase, file, by: by() }, release)).rejects.toThrow(
      "backup_other_store",
    );
  });
});
