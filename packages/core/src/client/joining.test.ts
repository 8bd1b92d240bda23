import { createNodeCrypto, openSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createTestStore,
} from "@holdfast/testkit";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-joining-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const joins = { tenant: "abcdefghijklmnopqrstuA", founder: "founderfounderfounderf" };

async function joining(name: string) {
  const path = join(folder, `${name}.db`);
  const clock = createManualClock();
  let create = true;
  const ports = {
    crypto,
    random: systemRandom,
    clock,
    timers: clock,
    openDriver(pageKey: Uint8Array<ArrayBuffer>, { readOnly }: { readonly readOnly: boolean }) {
      const driver = openSqlite({ path, pageKey, readOnly, create });
      create = false;
      return driver;
    },
  };
  return createTestStore(ports, joins);
}

const registry = createNoteRegistry();

describe("a store that joins a tenant", () => {
  it("opens its log, and records nothing in words, before the pseudonym key arrives", async () => {
    const test = await joining("words");
    const store = await test.open({ registry });
    expect(store.status()).toMatchObject({ tenant: joins.tenant, events: 1 });
    for (const call of [note("ada", "x"), [note("ada", "x"), note("bob", "y")]]) {
      await expect(store.append(call)).rejects.toMatchObject({ code: "pseudonym_key_awaited" });
    }
    expect(() => store.streamId("ada")).toThrow(/^pseudonym_key_awaited/);
    expect(() => store.scopeId("ada")).toThrow(/^pseudonym_key_awaited/);
    expect(store.status().events).toBe(1);
    expect(store.verify()).toMatchObject({ ok: true, problems: [] });
    await store.close();
  });

  it("keeps the names of its own events when it opens another incarnation, with the key or without", async () => {
    const test = await joining("names");
    await (await test.open()).close();
    test.place = { folder: "/elsewhere", identity: "2" };
    const moved = await test.open();
    // Whatever wants to write opens the incarnation first.
    await expect(moved.rebuild("none")).rejects.toMatchObject({ code: "model_unknown" });
    await moved.close();
    const keyring = await test.openKeyring();
    keyring.addPseudonymKey(systemRandom.bytes(32));
    keyring[Symbol.dispose]();
    test.place = { folder: "/third", identity: "3" };
    const store = await test.open({ registry });
    await store.append(note("ada", "now"));
    const openings = store.read({ type: "IncarnationOpened" });
    expect(openings.map(({ header }) => header.pub?.["reason"])).toEqual([
      "first",
      "moved",
      "moved",
    ]);
    for (const field of ["stream", "scope", "actor"] as const) {
      expect(new Set(openings.map((event) => event[field])).size).toBe(1);
    }
    expect(openings[0]?.scope).not.toBe(openings[0]?.stream);
    expect(store.verify()).toMatchObject({ ok: true });
    await store.close();
  });
});
