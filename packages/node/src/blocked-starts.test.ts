import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { createRegistry, type Holdfast, HoldfastError, InvariantError } from "@holdfast/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { noteBlockedStart, recordBlockedStarts } from "./blocked-starts.ts";
import { initStore, openStore } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-blocked-"));
const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
const passphrase = "correct horse battery staple";
let sideFile = "";
beforeAll(async () => {
  const { storeId } = await initStore({ ...place, passphrase, tenant: "Ward 3" });
  sideFile = join(place.stateDirectory, storeId, "blocked-starts");
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const open = (words: string, readOnly = false): Promise<Holdfast> =>
  openStore({
    ...place,
    passphrase: words,
    registry: createRegistry([]),
    projections: [],
    readOnly,
  });

describe("blocked starts", () => {
  it("leave the store as it was and wait beside it for the next good start", async () => {
    const before = readFileSync(join(place.directory, "store.db"));
    await expect(open("wrong")).rejects.toThrow(/^key_wrong/);
    await expect(open("wrong", true)).rejects.toThrow(/^key_wrong/);
    expect(readFileSync(join(place.directory, "store.db")).equals(before)).toBe(true);
    expect(readFileSync(sideFile, "utf8").trimEnd().split("\n")).toHaveLength(2);
    expect(statSync(sideFile).mode & 0o777).toBe(0o600);
    // Whoever only reads appends nothing.
    await (await open(passphrase, true)).close();
    expect(existsSync(sideFile)).toBe(true);
    const store = await open(passphrase);
    expect(store.audit.read({ kinds: ["StartBlocked"] })).toMatchObject([
      { data: { code: "key_wrong" } },
      { data: { code: "key_wrong" } },
    ]);
    expect(existsSync(sideFile)).toBe(false);
    await store.close();
    const again = await open(passphrase);
    expect(again.audit.read({ kinds: ["StartBlocked"] })).toHaveLength(2);
    await again.close();
  });

  it("are passed over where they cannot be recorded, and stay; a bug is told", async () => {
    const storeId = basename(dirname(sideFile));
    const refusal = new HoldfastError("key_wrong");
    const failing = (error: Error): Holdfast =>
      ({ audit: { record: () => Promise.reject(error) } }) as unknown as Holdfast;
    noteBlockedStart(place.stateDirectory, storeId, refusal);
    const full = failing(new HoldfastError("store_full"));
    await recordBlockedStarts(place.stateDirectory, storeId, full);
    const bug = failing(new InvariantError("a bug is told"));
    await expect(recordBlockedStarts(place.stateDirectory, storeId, bug)).rejects.toThrow(
      "a bug is told",
    );
    const store = await open(passphrase);
    expect(store.audit.read({ kinds: ["StartBlocked"] })).toHaveLength(3);
    await store.close();
  });
});
