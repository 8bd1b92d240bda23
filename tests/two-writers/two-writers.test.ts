import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { initStore, openStore } from "@holdfast/node";
import { createNoteRegistry } from "@holdfast/testkit";
import { afterAll, expect, it } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "holdfast-two-writers-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
const passphrase = "two writers";
const child = fileURLToPath(new URL("child.ts", import.meta.url));

async function write(name: string, count: number): Promise<readonly string[]> {
  const given = ["--conditions=@holdfast/source", child, place.directory, place.stateDirectory];
  const { stdout } = await promisify(execFile)(process.execPath, [...given, name, String(count)]);
  return stdout.trim().split("\n");
}

it("three processes write one store: nothing acknowledged is lost, nothing forks", async () => {
  await initStore({ ...place, passphrase, tenant: "two writers" });
  const names = ["one", "two", "three"];
  const acknowledged = await Promise.all(names.map((name) => write(name, 40)));
  const store = await openStore({
    ...place,
    passphrase,
    registry: createNoteRegistry(),
    projections: [],
    readOnly: true,
  });
  const read = store.read({ type: "NoteTaken" });
  expect(read.map(({ id }) => id).toSorted()).toEqual(acknowledged.flat().toSorted());
  for (const name of names) {
    const own = read
      .map(({ data }) => (data as { text: string }).text)
      .filter((text) => text.startsWith(`${name}/`));
    expect(own).toEqual(Array.from({ length: 40 }, (_, at) => `${name}/${at}`));
  }
  expect(new Set(store.read().map(({ header }) => header.inc)).size).toBe(1);
  expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, events: 121, problems: [] });
  await store.close();
});

it("is opened beside a process that records without a pause, and taken for what it is", async () => {
  const registry = createNoteRegistry();
  const recorded = write("busy", 500).then(() => true);
  const findings: string[] = [];
  for (let ended = false; !ended;) {
    for (const readOnly of [true, false]) {
      const store = await openStore({ ...place, passphrase, registry, projections: [], readOnly });
      findings.push(...store.status().findings.map(({ code }) => code));
      await store.close();
    }
    // Opening is work without a pause: the end of the other process is heard of in between.
    const pause = new Promise<boolean>((resolve) => setTimeout(resolve, 1, false));
    ended = await Promise.race([recorded, pause]);
  }
  expect(findings).toEqual([]);
});
