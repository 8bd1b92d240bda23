/** What stands between a person and the destruction of events: by types, and at run time. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DrainProof, Release, RescueProof } from "@holdfast/core";
import { backUp, releaseOf, rescue, restoreOver, readBackupFile } from "@holdfast/node";
import { describe, expect, test } from "vitest";
import { withScratch } from "../faults/native.ts";
import { makeStore, passphrase, placeIn, problemsOf } from "../store/lab.ts";
import { type AgeKeys, ageKeys, fill, filledStore, leftovers } from "./lab.ts";

interface Ground {
  readonly folder: string;
  readonly keys: AgeKeys;
  readonly promises: readonly string[];
  /** Restores the backup over the store. */
  over(release: Release): Promise<unknown>;
  rescued(name: string): Promise<Release>;
}

async function onGround(use: (ground: Ground) => Promise<void>): Promise<void> {
  await withScratch("interlock", async (folder) => {
    const keys = await ageKeys();
    const to = { recipients: [keys.recipient] };
    const by = { identities: [keys.identity] };
    const place = { ...placeIn(folder), passphrase };
    const kept = await filledStore(folder, 30);
    const file = join(folder, "backup.age");
    await backUp({ ...place, out: file, to });
    const promises = [...kept, ...(await fill(folder, 1_000, 20))];
    await use({
      folder,
      keys,
      promises,
      over: (release) => restoreOver({ ...place, file, by }, release),
      async rescued(name) {
        const out = join(folder, name);
        await rescue({ ...place, out, to });
        return releaseOf({ ...place, bundle: { file: out, by } });
      },
    });
  });
}

/** Every event is still there, and nothing lies about. */
async function untouched({ folder, promises }: Ground): Promise<void> {
  expect(await problemsOf(folder, promises)).toEqual([]);
  expect(leftovers(folder)).toEqual([]);
}

describe("by types", () => {
  test("nothing but verification makes a release", () => {
    const looksLike = { kind: "drained", store: "", logs: [] } as const;
    // @ts-expect-error: a release has a brand that no other module can write.
    const release: Release = looksLike;
    // @ts-expect-error: nor is a drain proof made by hand.
    const proof: DrainProof = { kind: "drained", store: "", logs: [] };
    // @ts-expect-error: a drain proof is no proof of a rescue bundle.
    const other: RescueProof = proof;
    expect([release, proof, other].length).toBe(3);
  });

  test("a store is not replaced without one", () => {
    const options = { directory: "", passphrase: "", file: "", by: { passphrase: "" } };
    // @ts-expect-error: the release is missing.
    const without = (): unknown => restoreOver(options);
    // @ts-expect-error: an answer is no proof before its status was looked at.
    const unlooked = (): unknown => restoreOver(options, { status: "drained" });
    expect([without, unlooked].length).toBe(2);
  });
});

describe("at run time", () => {
  test("a store with undelivered events and no proof is not replaced", async () => {
    await onGround(async (ground) => {
      const place = { ...placeIn(ground.folder), passphrase };
      await expect(releaseOf(place)).rejects.toThrow("interlock_unproven");
      const real = await ground.rescued("rescue.age");
      const forgeries: readonly unknown[] = [
        undefined,
        null,
        {},
        "drained",
        { ...real },
        Object.create(real),
        JSON.parse(JSON.stringify(real)),
      ];
      for (const forged of forgeries) {
        await expect(ground.over(forged as Release)).rejects.toThrow("interlock_unproven");
      }
      await untouched(ground);
    });
  });

  test("a release of another state or store is stale", async () => {
    await onGround(async (ground) => {
      const old = await ground.rescued("rescue.age");
      const more = await fill(ground.folder, 5_000, 1);
      await expect(ground.over(old)).rejects.toThrow("interlock_stale");
      await untouched({ ...ground, promises: [...ground.promises, ...more] });
      await onGround(async (other) => {
        const foreign = await other.rescued("rescue.age");
        await expect(ground.over(foreign)).rejects.toThrow("interlock_stale");
      });
    });
  });

  test("a rescue bundle that was read back releases the store", async () => {
    await onGround(async (ground) => {
      const release = await ground.rescued("rescue.age");
      expect(release.kind).toBe("rescued");
      await ground.over(release);
      expect(await problemsOf(ground.folder, ground.promises.slice(0, 30))).toEqual([]);
      expect(leftovers(ground.folder)).toEqual([]);
    });
  });

  test("a bundle of another store, or altered, releases nothing", async () => {
    await onGround(async ({ folder, keys }) => {
      const elsewhere = join(folder, "elsewhere");
      mkdirSync(elsewhere);
      await makeStore(elsewhere);
      const out = join(elsewhere, "rescue.age");
      const to = { recipients: [keys.recipient] };
      const by = { identities: [keys.identity] };
      await rescue({ ...placeIn(elsewhere), passphrase, out, to });
      const place = { ...placeIn(folder), passphrase };
      // Neither its leaves nor its signature are of this store.
      await expect(releaseOf({ ...place, bundle: { file: out, by } })).rejects.toThrow(
        /backup_unsigned|backup_unsound|interlock_stale/,
      );
      const own = join(folder, "rescue.age");
      await rescue({ ...place, out: own, to });
      const bytes = readFileSync(own);
      bytes[bytes.length - 100] = (bytes.at(-100) as number) ^ 1;
      writeFileSync(own, bytes);
      await expect(releaseOf({ ...place, bundle: { file: own, by } })).rejects.toThrow(
        "backup_altered",
      );
    });
  });

  test("a bundle holds what was recorded, to be read without the store", async () => {
    await onGround(async ({ folder, keys, promises }) => {
      const out = join(folder, "rescue.age");
      const by = { identities: [keys.identity] };
      await rescue({
        ...placeIn(folder),
        passphrase,
        out,
        to: { recipients: [keys.recipient] },
      });
      const pieces: Buffer[] = [];
      for await (const piece of readBackupFile(out, by)) pieces.push(piece);
      const text = Buffer.concat(pieces).toString("utf8");
      const ids = promises.map((promise) => promise.split(" ")[0] ?? "");
      expect(ids.filter((id) => !text.includes(id))).toEqual([]);
      const opened = [...text.matchAll(/\{"b64":"([^"]+)"\}/g)]
        .map(([, b64 = ""]) => Buffer.from(b64, "base64").toString("latin1"))
        .join();
      expect(opened).toContain("record 1007 ");
    });
  });
});
