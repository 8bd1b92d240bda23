/**
 * A shred over devices as processes: 30 planted words, ten of the device that shreds, ten that it pulled, ten of a
 * device that was offline and had made its own key. Afterwards they are in no table, no event that opens, no export, no
 * output, and in no backup from before that is restored with today's keyring; all that was not shredded is.
 */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createRegistry, lifeOf, type ShredStanding } from "@holdfast/core";
import { backUp, openStore, rescue, restoreStore } from "@holdfast/node";
import { packEvents, packProjections } from "@holdfast/packs";
import { expect, test } from "vitest";
import { ageKeys } from "../backup/lab.ts";
import { converge, type Device, inWorld } from "../e2e/world.ts";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/holdfast.mjs", import.meta.url));
const passphrase = "end to end";

/** Words that nothing else says. */
const words = (who: string, count: number): readonly string[] =>
  Array.from({ length: count }, (_, at) => `Kanarienvogel${who}${at}x`);

const notesOf = (said: readonly string[], scope: string) =>
  said.map((text, n) => ({ n, scope, stream: `${scope}/${text}`, notes: text }));

async function exported(device: Device): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    [launcher, "log", "--json", "--limit", "1000"],
    {
      maxBuffer: 2 ** 26,
      env: {
        ...process.env,
        HOLDFAST_STORE: join(device.folder, "store"),
        HOLDFAST_STATE: join(device.folder, "state"),
        HOLDFAST_PASSPHRASE: passphrase,
      },
    },
  );
  return stdout + stderr;
}

/** Files of a device in which one of the words stands in clear. */
function filesWith(device: Device, said: readonly string[]): readonly string[] {
  return readdirSync(device.folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => {
      const bytes = readFileSync(path);
      return said.some((word) => bytes.includes(word));
    });
}

async function incarnationOf(device: Device): Promise<string> {
  return (await device.ask<{ readonly incarnation: string }>("status")).incarnation;
}

/** Syncs in turn until every device has acknowledged every shred. */
async function acknowledged(devices: readonly Device[]): Promise<readonly ShredStanding[]> {
  for (let round = 0; ; round++) {
    for (const device of devices) await device.drain();
    const listed = await Promise.all(
      devices.map((device) => device.ask<readonly ShredStanding[]>("shreds")),
    );
    const isOver = listed.every(
      (shreds) =>
        shreds.length > 0 &&
        shreds.every(({ here }) => Object.values(here).every((state) => state === "acknowledged")),
    );
    if (isOver) return listed[0] ?? [];
    if (round === 8) throw new Error(JSON.stringify(listed));
  }
}

async function checkRestored(
  place: { readonly directory: string; readonly stateDirectory: string },
  planted: readonly string[],
  survivors: readonly string[],
): Promise<void> {
  const restored = await openStore({
    ...place,
    passphrase,
    registry: createRegistry(packEvents),
    projections: packProjections,
    readOnly: true,
  });
  const text = JSON.stringify([
    restored.read({ limit: 1_000 }),
    lifeOf(restored).current().driver.prepare("SELECT * FROM frames").all(),
  ]);
  expect(planted.filter((word) => text.includes(word))).toEqual([]);
  expect(survivors.every((word) => text.includes(word))).toBe(true);
  expect(restored.verify()).toMatchObject({ ok: true });
  const contents = restored.read({ type: "NosebleedRecorded", limit: 1_000 });
  expect(new Set(contents.map(({ content }) => content))).toEqual(new Set(["shredded", "opened"]));
  await restored.close();
}

/** Shredded at a device that is running: in what it answers, in its keys and in its files. */
async function checkShredded(
  device: Device,
  scope: string,
  planted: readonly string[],
  survivors: readonly string[],
): Promise<void> {
  expect(await device.ask("legible", { words: planted })).toEqual([]);
  expect(await device.ask("legible", { words: survivors })).toEqual(survivors);
  const held = await device.ask<readonly { readonly scope: string }[]>("keys");
  expect(held.filter((key) => key.scope === scope)).toEqual([]);
  expect(await device.ask("verify")).toMatchObject({ ok: true, problems: [] });
  const text = await exported(device);
  expect(planted.filter((word) => text.includes(word))).toEqual([]);
  expect(survivors.every((word) => text.includes(word))).toBe(true);
  // The search finds a word where one stands, and no file of the device holds one.
  const control = join(device.folder, "control");
  writeFileSync(control, `${planted[0]}`);
  expect(filesWith(device, planted)).toEqual([control]);
  rmSync(control);
  expect(filesWith(device, planted)).toEqual([]);
  const { shredded, opened } = await device.ask<Readonly<Record<string, number>>>("contents");
  expect([shredded, opened]).toEqual([30, 5]);
}

/** The device that was put back has synced: what it learned brought nothing back. */
async function checkPutBack(
  device: Device,
  planted: readonly string[],
  survivors: readonly string[],
): Promise<void> {
  expect(await device.ask("legible", { words: planted })).toEqual([]);
  expect(await device.ask("legible", { words: survivors })).toEqual(survivors);
  const { shredded, opened } = await device.ask<Readonly<Record<string, number>>>("contents");
  expect([shredded, opened]).toEqual([30, 5]);
  const { problems } = await device.ask<{
    readonly problems: readonly { readonly code: string }[];
  }>("verify");
  // Own logs that were opened after the backup are not fetched back (LIMITATIONS); nothing else is missing.
  expect(problems.filter(({ code }) => code !== "withheld")).toEqual([]);
}

test(
  "30 planted words are gone from every device, survivors are not",
  { timeout: 300_000 },
  async () => {
    await inWorld({}, async ({ folder, founder, join: joined }) => {
      const other = await joined("other", { role: "admin" });
      const third = await joined("third");
      const [own, pulled, offline, survivors] = [
        words("Eigen", 10),
        words("Geholt", 10),
        words("Fern", 10),
        words("Ueberlebt", 5),
      ];
      const planted = [...own, ...pulled, ...offline];
      await founder.ask("append", { notes: notesOf(own, "Patient/ada") });
      await founder.ask("append", { notes: notesOf(survivors, "Patient/bob") });
      await other.ask("append", { notes: notesOf(pulled, "Patient/ada") });
      const all = [founder, other, third];
      await converge(all);
      expect(await third.ask("legible", { words: planted })).toEqual([...own, ...pulled]);
      await third.ask("append", { notes: notesOf(offline, "Patient/ada") });
      const keys = await ageKeys();
      const [to, by] = [{ recipients: [keys.recipient] }, { identities: [keys.identity] }];
      const placeOf = ({ folder: at }: Device) => ({
        directory: join(at, "store"),
        stateDirectory: join(at, "state"),
        passphrase,
      });
      const file = join(folder, "old.backup");
      await backUp({ ...placeOf(founder), out: file, to });
      const leaves = await founder.ask<readonly string[]>("leaves");
      const before = await founder.ask("verify");
      expect(before).toMatchObject({ ok: true });
      expect(await exported(founder)).toContain(planted[0]);
      const incarnations = await Promise.all(all.map(incarnationOf));

      await founder.ask("shred", { scope: "Patient/ada" });
      expect(await founder.ask("legible", { words: planted })).toEqual([]);
      expect(await third.ask("legible", { words: planted })).toEqual(planted);
      const [standing] = await acknowledged(all);
      expect(standing?.inForce).toBe(true);
      const scope = standing?.scopes[0] ?? "";

      for (const device of all) {
        await checkShredded(device, scope, planted, survivors);
      }
      // Whoever was granted keys of it has another HPKE key, which a new incarnation names.
      const renewed = await Promise.all(all.map(incarnationOf));
      expect(renewed.map((now, at) => now !== incarnations[at])).toEqual([true, true, true]);
      // What was recorded before is there, byte by byte, and the late events with it.
      const after = new Set(await founder.ask<readonly string[]>("leaves"));
      expect(leaves.every((leaf) => after.has(leaf))).toBe(true);
      expect(after.size).toBe(35);
      await rescue({ ...placeOf(founder), out: join(folder, "rescue"), to });

      // The backup knows nothing of the shred; the keyring does.
      const place = placeOf(founder);
      await founder.end();
      renameSync(place.directory, join(folder, "gone"));
      await restoreStore({ ...place, file, by });
      await checkRestored(place, planted, survivors);
      await founder.start();
      await acknowledged(all);
      await checkPutBack(founder, planted, survivors);
    });
  },
);
