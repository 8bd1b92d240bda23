/** Compacting a store: what goes, what stays as it was, who may go on meanwhile. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { compactOpenStore, isHoldfastError, lifeOf } from "@holdfast/core";
import { backUp, compactStore, restoreStore } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { ageKeys, filledStore, rowsIn } from "../backup/lab.ts";
import { childEnv, nodeCommand } from "../faults/child.ts";
import { withScratch } from "../faults/native.ts";
import {
  childSecrets,
  draftOf,
  open,
  passphrase,
  placeIn,
  problemsOf,
  promisesIn,
} from "../store/lab.ts";
import { changedRows, crowd, crowdedStore, logRows } from "./lab.ts";

const child = fileURLToPath(new URL("workloads.child.ts", import.meta.url));
const databaseIn = (folder: string): string => join(placeIn(folder).directory, "store.db");

function onCrowded(use: (folder: string, promises: readonly string[]) => Promise<void>) {
  return withScratch("compact", async (folder) => use(folder, await crowdedStore(folder, 400)));
}

/** Again while another process, on a machine that is busy, does not give way in time. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isHoldfastError(error, "store_busy")) throw error;
    }
  }
}

describe("compacting", () => {
  test("takes away what is not needed, gives pages back, and says so", async () => {
    await onCrowded(async (folder, promises) => {
      const before = await crowd(folder);
      expect(before).toMatchObject({ builds: 1 });
      expect(before.tables).toBeGreaterThan(3);
      expect(before.snapshots).toBeGreaterThan(2);
      const store = await open(folder);
      const log = await logRows(folder);
      const sizeBefore = statSync(databaseIn(folder)).size;
      const { directory } = placeIn(folder);
      const order = { actor: "operator/1", why: "routine", snapshotsKept: 2 };
      const report = await compactStore(store, directory, order);
      expect(report).toMatchObject({ builds: 1, resumed: false, freeBytes: 0 });
      expect(report.snapshots).toBeGreaterThan(0);
      expect(report.bytesAfter).toBeLessThan(report.bytesBefore);
      expect(statSync(databaseIn(folder)).size).toBeLessThan(sizeBefore);
      const [told] = store.audit.read({ kinds: ["StoreCompacted"] });
      expect(told).toMatchObject({
        header: { why: "routine" },
        data: { bytes_before: report.bytesBefore, bytes_after: report.bytesAfter, builds: 1 },
      });
      expect(changedRows(log, await logRows(folder))).toEqual([]);
      // Read models are what a fold of everything makes of it.
      const rows = store.query("notes", { limit: 10_000 });
      await store.rebuild("notes");
      expect(store.query("notes", { limit: 10_000 })).toEqual(rows);
      await store.close();
      expect(await crowd(folder)).toMatchObject({ builds: 0, tables: 0 });
      expect(await problemsOf(folder, promises)).toEqual([]);
    });
  });

  test("has nothing to do the second time", async () => {
    await onCrowded(async (folder) => {
      const { directory } = placeIn(folder);
      const store = await open(folder);
      await compactStore(store, directory);
      const again = await compactStore(store, directory);
      expect(again).toMatchObject({ builds: 0, snapshots: 0, letters: 0, resumed: false });
      await store.close();
    });
  });

  test("lets this process and another go on recording", async () => {
    await onCrowded(async (folder, promises) => {
      const [command = "", ...rest] = nodeCommand([child, "append", folder, "500000"]);
      const other = spawn(command, rest, {
        env: childEnv(childSecrets),
        stdio: ["ignore", "pipe", "inherit"],
      });
      const lines: string[] = [];
      const reader = createInterface(other.stdout).on("line", (line) => lines.push(line));
      await once(reader, "line");
      const store = await open(folder);
      const { directory } = placeIn(folder);
      const before = lines.length;
      const own: string[] = [];
      let slices = 0;
      const running = patiently(() =>
        compactStore(store, directory, { snapshotsKept: 1, onProgress: () => (slices += 1) }),
      );
      for (let n = 600_000; n < 600_020; n++) {
        const result = await patiently(() => store.append(draftOf(n)));
        if (result.status === "appended") own.push(`${result.events[0]?.id ?? ""} ${n}`);
      }
      expect(own.length).toBe(20);
      await running;
      expect(slices).toBeGreaterThan(5);
      // The other one got the lease while we compacted.
      expect(promisesIn(lines).length).toBeGreaterThan(before);
      await store.close();
      // What it did not get while we held the lease, it gets now.
      while (lines.length < before + 5) await once(reader, "line");
      other.kill("SIGKILL");
      await once(other, "close");
      expect(await problemsOf(folder, [...promises, ...own, ...promisesIn(lines)])).toEqual([]);
      expect(await crowd(folder)).toMatchObject({ builds: 0, tables: 0 });
    });
  });
});

test("new files and restored ones can shrink", async () => {
  await withScratch("compact", async (folder) => {
    await filledStore(folder, 5);
    const keys = await ageKeys();
    const file = join(folder, "backup.age");
    const place = { ...placeIn(folder), passphrase };
    await backUp({ ...place, out: file, to: { recipients: [keys.recipient] } });
    const by = { identities: [keys.identity] };
    await restoreStore({ ...place, ...placeIn(folder, "restored"), file, by });
    for (const name of ["store", "restored"]) {
      const { all, driver } = await rowsIn(folder, name);
      expect(all("PRAGMA auto_vacuum"), name).toEqual([{ auto_vacuum: 2 }]);
      driver.close();
    }
  });
});

describe("a file that cannot shrink by itself", () => {
  /** As a release before incremental vacuum made it. */
  async function withOldFile(folder: string): Promise<void> {
    const store = await open(folder);
    lifeOf(store).current().driver.exec("PRAGMA auto_vacuum = NONE; VACUUM;");
    await store.close();
  }

  test("keeps its free pages, until it is written anew", async () => {
    await onCrowded(async (folder, promises) => {
      await withOldFile(folder);
      const { directory } = placeIn(folder);
      const store = await open(folder);
      const kept = await compactStore(store, directory);
      expect(kept.freeBytes).toBeGreaterThan(4_096);
      const before = statSync(databaseIn(folder)).size;
      const anew = await compactStore(store, directory, { rewrite: true });
      expect(anew.freeBytes).toBe(0);
      expect(statSync(databaseIn(folder)).size).toBeLessThanOrEqual(
        before - kept.freeBytes + 8_192,
      );
      await store.close();
      expect(await problemsOf(folder, promises)).toEqual([]);
      expect((await crowd(folder)).free).toBe(0);
    });
  });

  test("is not written anew where there is no room, and the run goes on later", async () => {
    await onCrowded(async (folder, promises) => {
      await withOldFile(folder);
      const store = await open(folder);
      const log = await logRows(folder);
      for (const [of, room] of [
        ["memory", { memory: 10_000, disk: 1e12 }],
        ["disk", { memory: 1e12, disk: 10_000 }],
      ] as const) {
        const files = { bytes: () => 0, room: () => room };
        await expect(compactOpenStore(store, files, { rewrite: true })).rejects.toMatchObject({
          code: "compact_no_room",
          details: { of, available: 10_000 },
        });
      }
      expect(changedRows(log, await logRows(folder))).toEqual([]);
      expect(store.audit.read({ kinds: ["StoreCompacted"] })).toEqual([]);
      const { directory } = placeIn(folder);
      expect(await compactStore(store, directory)).toMatchObject({ resumed: true, builds: 1 });
      expect(store.audit.read({ kinds: ["StoreCompacted"] }).length).toBe(1);
      await store.close();
      expect(await problemsOf(folder, promises)).toEqual([]);
    });
  });
});
