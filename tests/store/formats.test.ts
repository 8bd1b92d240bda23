/** Stores written by earlier releases open, keep every event and verify. */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createRegistry } from "@holdfast/core";
import { openStore } from "@holdfast/node";

const fixture = new URL("../fixtures/store-format-1/", import.meta.url).pathname;
const passphrase = "fixture of format 1";
const folders: string[] = [];

function copyOfFixture() {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-format-"));
  folders.push(folder);
  cpSync(fixture, folder, { recursive: true });
  return { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
}

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

describe("a store of format 1", () => {
  const options = { passphrase, registry: createRegistry([]), projections: [] };

  it("is lifted when it is opened for writing, with every event and outbox entry", async () => {
    const place = copyOfFixture();
    const store = await openStore({ ...place, ...options });
    expect(store.status()).toMatchObject({ events: 57, outbox: { waiting: 57 } });
    // It lies in another folder than its mark says; nothing else is found.
    expect(store.verify().problems.map(({ code }) => code)).toEqual(["store_moved"]);
    await store.close();
    const again = await openStore({ ...place, ...options, readOnly: true });
    expect(again.status().events).toBe(57);
    await again.close();
  });

  it("is refused to readers until then", async () => {
    const place = copyOfFixture();
    await expect(openStore({ ...place, ...options, readOnly: true })).rejects.toMatchObject({
      code: "store_older",
    });
  });
});
