/** A store backed up and put back: whole, opened by stock tools, and refused when it is not as it was written. */
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createArchive, formatManifest, type BackupManifest, parseManifest } from "@holdfast/core";
import {
  backUp,
  backUpKeyring,
  createNodeCrypto,
  drillRestore,
  readBackupFile,
  restoreStore,
  writeBackupFile,
} from "@holdfast/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { scratchFolder, withScratch } from "../faults/native.ts";
import { createChance } from "../faults/random.ts";
import {
  draftOf,
  full,
  incarnationsOf,
  open,
  passphrase,
  placeIn,
  problemsOf,
} from "../store/lab.ts";
import {
  type AgeKeys,
  ageKeys,
  filledStore,
  leftovers,
  rowsIn,
  stockToolsMissing,
  unpack,
} from "./lab.ts";

const events = 240;
let folder = "";
let keys: AgeKeys;
let promises: readonly string[] = [];
let file = "";
const by = () => ({ identities: [keys.identity] });

beforeAll(async () => {
  folder = scratchFolder("backup");
  keys = await ageKeys();
  promises = await filledStore(folder, events);
  file = join(folder, "backup.tar.zst.age");
  await backUp({ ...placeIn(folder), passphrase, out: file, to: { recipients: [keys.recipient] } });
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** The same scratch folder with a copy of the file elsewhere; nothing of the target may come to be. */
async function refused(path: string, code: string, more: object = {}): Promise<void> {
  const target = placeIn(folder, "refused");
  await expect(
    restoreStore({ ...target, passphrase, file: path, by: by(), ...more }),
  ).rejects.toThrow(code);
  expect(existsSync(target.directory)).toBe(false);
  expect(leftovers(folder)).toEqual([]);
}

const tables = [
  "store",
  "incarnations",
  "events",
  "frames",
  "commits",
  "tiles",
  "streams",
  "outbox",
  "sync",
  "access",
  "attempts",
  "dead_letters",
  "pushed",
];

describe("a restored store", () => {
  test("has every row of the one that was backed up, and goes on", async () => {
    await restoreStore({ ...placeIn(folder, "whole"), passphrase, file, by: by() });
    const [before, after] = [await rowsIn(folder), await rowsIn(folder, "whole")];
    // The opening of its incarnation is the one event more, and concerns the device's stream alone.
    for (const table of tables) {
      const rows = before.all(`SELECT * FROM ${table} ORDER BY 1, 2`);
      const found = after.all(`SELECT * FROM ${table} ORDER BY 1, 2`);
      const missing = rows.filter((row) => !found.some((one) => isSame(one, row)));
      expect([table, missing.length, found.length - rows.length]).toEqual([
        table,
        table === "streams" ? 1 : 0,
        ["incarnations", "events", "commits", "outbox"].includes(table) ? 1 : 0,
      ]);
    }
    for (const { driver } of [before, after]) driver.close();
    const store = await open(folder, "whole", true);
    const [opening] = store
      .read({ type: "IncarnationOpened", limit: 9, headersOnly: true })
      .slice(-1);
    expect(opening?.header.pub).toMatchObject({ reason: "restored", size: events + 1 });
    expect(incarnationsOf(store)).toBe(2);
    await store.close();
    expect(await problemsOf(folder, promises, { name: "whole" })).toEqual([]);
    // The original was there all the while.
    expect(await problemsOf(folder, promises)).toEqual([]);
  });

  test("comes from a copy of its keyring on another machine, and not without", async () => {
    await withScratch("backup-moved", async (elsewhere) => {
      const keyringFile = join(elsewhere, "keyring-copy");
      const place = placeIn(elsewhere);
      await backUpKeyring({ ...placeIn(folder), out: keyringFile });
      await expect(restoreStore({ ...place, passphrase, file, by: by() })).rejects.toThrow(
        "keyring_missing",
      );
      await expect(
        restoreStore({ ...place, passphrase: "another", file, by: by(), keyringFile }),
      ).rejects.toThrow("key_wrong");
      expect(existsSync(place.directory)).toBe(false);
      await restoreStore({ ...place, passphrase, file, by: by(), keyringFile });
      expect(await problemsOf(elsewhere, promises)).toEqual([]);
    });
  });

  test("is the state of one moment, whatever was recorded meanwhile", async () => {
    await withScratch("backup-live", async (live) => {
      await filledStore(live, 50);
      const store = await open(live);
      const out = join(live, "live.age");
      const to = { recipients: [keys.recipient] };
      const writing = backUp({ ...placeIn(live), passphrase, out, to });
      const state = { done: false };
      void writing.finally(() => {
        state.done = true;
      });
      let appended = 0;
      while (!state.done) {
        await store.append(draftOf(1_000 + appended));
        appended += 1;
      }
      expect(appended).toBeGreaterThan(0);
      await writing;
      await store.close();
      const drill = await drillRestore({
        ...placeIn(live, "drill"),
        passphrase,
        file: out,
        by: by(),
      });
      expect(drill.events).toBeGreaterThanOrEqual(51);
      expect(drill.events).toBeLessThanOrEqual(51 + appended);
    });
  });
});

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

describe("a backup", () => {
  test("is opened by stock age, zstd and tar, and holds no keys and nothing derived", (context) => {
    const missing = stockToolsMissing();
    if (missing !== undefined) context.skip(missing);
    const entries = unpack(folder, file, keys);
    const names = [...entries.keys()];
    expect(names[0]).toBe("manifest.json");
    expect(names.at(-1)).toBe("digest.json");
    const kinds = new Set(names.slice(1, -1).map((name) => name.split("/")[0]));
    for (const absent of ["grants", "projections", "snapshots", "streams", "tiles", "access"]) {
      expect(kinds).not.toContain(absent);
    }
    const manifest = parseManifest(entries.get("manifest.json") ?? Buffer.alloc(0));
    expect(manifest).toMatchObject({ format: 1, kind: "store", rows: { events: events + 1 } });
    const lines = entries.get("events/00000001")?.toString("utf8").trim().split("\n") ?? [];
    expect(lines.length).toBe(events + 1);
    // What the keyring holds is in no entry.
    const keyring = readFileSync(join(placeIn(folder).directory, "keyring"), "utf8");
    const wrapped = [...keyring.matchAll(/"wrapped":"([^"]+)"/g)].map(([, text = ""]) => text);
    const all = Buffer.concat([...entries.values()]).toString("latin1");
    expect(wrapped.length).toBeGreaterThan(3);
    expect(wrapped.filter((text) => all.includes(text))).toEqual([]);
    expect(all).not.toContain("record 7 ");
  });

  test("is not written over a file that is there", async () => {
    const to = { recipients: [keys.recipient] };
    await expect(backUp({ ...placeIn(folder), passphrase, out: file, to })).rejects.toThrow(
      "output_exists",
    );
  });
});

describe("refused with the folder untouched", () => {
  test("truncated at every 4 KiB", { timeout: 120_000 }, async () => {
    const whole = readFileSync(file);
    const cut = join(folder, "cut.age");
    for (let length = 0; length < whole.length; length += 4_096) {
      writeFileSync(cut, whole.subarray(0, length));
      await refused(cut, "backup_truncated");
    }
    writeFileSync(cut, Buffer.concat([whole, Buffer.alloc(1)]));
    await refused(cut, "backup_truncated");
  });

  test("one bit flipped anywhere", { timeout: 300_000 }, async () => {
    const chance = createChance(20);
    const whole = readFileSync(file);
    const flipped = join(folder, "flipped.age");
    const payload = whole.indexOf("\n--- ") + 50;
    for (let run = 0; run < (full ? 1_000 : 200); run++) {
      // Every fifth one in the header, which is a thousandth of the file.
      const at = run % 5 === 0 ? chance.below(payload) : chance.below(whole.length);
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] as number) ^ (1 << chance.below(8));
      writeFileSync(flipped, bytes);
      const inHeader = at < payload;
      await refused(flipped, inHeader ? "backup_" : "backup_altered");
    }
  });

  test("another key, another kind of file, a full folder", async () => {
    const stranger = await ageKeys();
    await refused(file, "backup_key_wrong", { by: { identities: [stranger.identity] } });
    await refused(join(placeIn(folder).directory, "store.db"), "backup_foreign");
    await refused(join(folder, "absent"), "input_unreadable");
    await expect(restoreStore({ ...placeIn(folder), passphrase, file, by: by() })).rejects.toThrow(
      "store_exists",
    );
  });

  test("a backup by software of a newer format", async () => {
    const changed = { ...(await manifestOf()), format: 2 };
    await refused(await forged("newer.age", changed), "backup_newer");
  });

  test("a backup that another device signed, or nobody", async () => {
    await refused(await forged("unsigned.age", await manifestOf()), "backup_unsigned");
  });
});

async function manifestOf(): Promise<BackupManifest> {
  const chunks: Buffer[] = [];
  for await (const piece of readBackupFile(file, by())) chunks.push(piece);
  const archive = Buffer.concat(chunks);
  const size = Number.parseInt(archive.subarray(124, 135).toString("latin1"), 8);
  return parseManifest(archive.subarray(512, 512 + size));
}

/** A well-formed backup of nothing with that manifest, encrypted to us as anybody could. */
async function forged(name: string, manifest: BackupManifest): Promise<string> {
  const crypto = createNodeCrypto();
  const { privateKey } = crypto.generateSigningKey("ed25519");
  const sign = crypto.signer("ed25519", privateKey);
  async function* pieces() {
    const archive = createArchive({ crypto }, manifest);
    yield* archive.put("manifest.json", formatManifest(manifest));
    yield* archive.finish({
      incarnation: manifest.logs[0]?.incarnation ?? "",
      sign: (message) => Promise.resolve(sign(message)),
    });
  }
  const path = join(folder, name);
  await writeBackupFile(path, pieces(), { recipients: [keys.recipient] });
  return path;
}
