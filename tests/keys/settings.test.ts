/** Settings of key providers while a store is open, and on the command line. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { HoldfastError } from "@holdfast/core";
import { followKeySettings, initStore, openStore, readKeySettings } from "@holdfast/node";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createSoftHsm, type SoftHsm, softHsmMissing } from "./devices.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-key-settings-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const missing = softHsmMissing();
const passphrase = "correct horse battery staple";

describe.skipIf(missing !== undefined)(`settings of a token ${missing ?? ""}`, () => {
  const folder = join(root, "settings");
  mkdirSync(folder);
  const path = join(folder, "keys.json");

  function write(more: object): void {
    const { module, token, environment } = hsm.access;
    const pkcs11 = { module, token, environment, pin_file: join(folder, "pin") };
    writeFileSync(path, JSON.stringify({ key_deadline_ms: 15_000, pkcs11, ...more }));
  }
  let hsm: SoftHsm;
  beforeAll(() => {
    hsm = createSoftHsm(join(root, "hsm"));
    writeFileSync(join(folder, "pin"), "1234\n", { mode: 0o600 });
    write({});
  });

  it("are followed while a store is open, and what cannot be read changes nothing", async () => {
    const place = { directory: join(root, "store"), stateDirectory: join(root, "state") };
    const settings = readKeySettings(path);
    await initStore({ ...place, passphrase, tenant: "Ward 3", keys: settings.keys });
    const registry = createNoteRegistry();
    const store = await openStore({ ...place, passphrase, ...settings, registry, projections: [] });
    let told: ((error: HoldfastError | undefined) => void) | undefined;
    const unfollow = followKeySettings(path, store, (error) => told?.(error));
    const changed = (more: object | string): Promise<HoldfastError | undefined> =>
      new Promise((resolve) => {
        told = resolve;
        if (typeof more === "string") writeFileSync(path, more);
        else write(more);
      });
    const tierOf = async (text: string): Promise<string | undefined> => {
      await store.append(note("s", text));
      return store.read({ type: "NoteTaken" }).at(-1)?.header.tier;
    };
    expect(await tierOf("one")).toBe("os");
    expect(await changed({ key_allowed: ["software"] })).toBeUndefined();
    expect(await tierOf("two")).toBe("software");
    expect((await changed("{"))?.code).toBe("json_malformed");
    expect(await tierOf("three")).toBe("software");
    expect(await changed({})).toBeUndefined();
    expect(await tierOf("four")).toBe("os");
    unfollow();
    await store.audit.settled();
    const applied = store.audit.read({ kinds: ["KeyPolicyChanged"] });
    expect(applied.map(({ data }) => data)).toEqual([
      { minimum: "software", fallback: "audited" },
      { minimum: "software", fallback: "audited" },
    ]);
    expect(store.verify()).toMatchObject({ ok: true });
    await store.close();
  });

  it("are taken by the commands, which list every kind of provider", async () => {
    const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
    const environment = {
      ...process.env,
      HOLDFAST_PASSPHRASE: passphrase,
      HOLDFAST_STORE: join(root, "cli"),
      HOLDFAST_STATE: join(root, "cli-state"),
      HOLDFAST_KEY_SETTINGS: path,
    };
    const run = async (...words: readonly string[]): Promise<unknown> => {
      const { stdout } = await promisify(execFile)(
        process.execPath,
        ["--conditions=@holdfast/source", main, ...words, "--json"],
        { env: environment },
      );
      return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
    };
    await run("init", "--tenant", "Ward 3");
    const listed = (await run("keys", "providers")) as { readonly providers: readonly object[] };
    expect(listed.providers).toMatchObject([
      { name: "pkcs11", assurance: "os", state: "ready", chosen: true, reason: null },
      { name: "software", state: "ready", chosen: false, reason: "a preferred one works" },
      { name: "tpm", state: "absent" },
      { name: "os-keychain", state: "absent" },
      { name: "simulator", state: "absent" },
    ]);
    hsm.takeOut();
    const without = (await run("keys", "providers")) as typeof listed;
    expect(without.providers.slice(0, 2)).toMatchObject([
      { name: "pkcs11", state: "failing", chosen: false, reason: "key_provider_failed" },
      { name: "software", chosen: true },
    ]);
    hsm.putBack();
    const keys = (await run("keys", "list")) as { readonly keys: readonly object[] };
    expect(keys.keys).toMatchObject([
      { provider: "pkcs11", current: true },
      { provider: "software", current: false },
    ]);
  }, 300_000);
});
