/** A server whose keys lie in a token, and a device that falls back to a weaker provider: they go on together. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHttpTransport } from "@holdfast/core";
import {
  createNodeHttp,
  initStore,
  type KeySettings,
  openStore,
  syncDesk,
  syncStore,
} from "@holdfast/node";
import { loadConfig, type RunningServer, startServer } from "@holdfast/server/serve";
import { createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { codeOf } from "./code-of.ts";
import { createSoftHsm, type SoftHsm, softHsmMissing } from "./devices.ts";

const root = mkdtempSync(join(tmpdir(), "holdfast-key-server-"));
afterAll(() => {
  rmSync(root, { recursive: true });
});
const missing = softHsmMissing();
const deadlines = { sign: 15_000, signer: 15_000, unwrap: 15_000, wrap: 15_000, open: 30_000 };

function settingsFile(name: string, { access }: SoftHsm): string {
  const folder = join(root, name);
  mkdirSync(folder);
  writeFileSync(join(folder, "pin"), access.pin, { mode: 0o600 });
  const path = join(folder, "keys.json");
  const { module, token, environment } = access;
  const pkcs11 = { module, token, environment, pin_file: join(folder, "pin") };
  writeFileSync(path, JSON.stringify({ key_deadline_ms: 15_000, pkcs11 }));
  return path;
}

describe.skipIf(missing !== undefined)(`a server on SoftHSM ${missing ?? ""}`, () => {
  let hsm: SoftHsm;
  let deviceHsm: SoftHsm;
  let settings: string;
  beforeAll(() => {
    hsm = createSoftHsm(join(root, "server-hsm"), "server");
    deviceHsm = createSoftHsm(join(root, "device-hsm"), "device");
    settings = settingsFile("settings", hsm);
  });
  const data = join(root, "data");
  const start = (more: object = {}): Promise<RunningServer> =>
    startServer(loadConfig({ flags: { data, port: 0, key_settings: settings, ...more } }));

  it("keeps its checkpoint key in the token, and the same one over a restart", async () => {
    const http = createNodeHttp();
    const first = await start();
    const before = await createHttpTransport({ http }, first.url).hello({});
    await first.close();
    expect(existsSync(join(data, "server.keys"))).toBe(false);
    expect(readFileSync(join(data, "server.keyring"), "utf8")).toContain('"name":"pkcs11"');
    const second = await start();
    const after = await createHttpTransport({ http }, second.url).hello({});
    expect({ ...after, time: 0 }).toEqual({ ...before, time: 0 });
    await second.close();
    http.close();
  });

  it("does not start without its settings, and takes no folder that has a key file", async () => {
    const without = startServer(loadConfig({ flags: { data, port: 0 } }));
    expect(await codeOf(without)).toBe("key_provider_unavailable");
    const plain = join(root, "plain");
    await (await startServer(loadConfig({ flags: { data: plain, port: 0 } }))).close();
    expect(await codeOf(start({ data: plain }))).toBe("config_invalid");
  });

  it("receives what a device signs with either of its providers, and goes on when its token is back", async () => {
    const server = await start({ data: join(root, "together") });
    const folder = join(root, "device");
    const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
    const passphrase = "correct horse battery staple";
    const keys: KeySettings = {
      pkcs11: deviceHsm.access,
      deadlines,
      breaker: { cooldownFirstMs: 50, cooldownMostMs: 200 },
    };
    await initStore({ ...place, passphrase, tenant: "Ward 3", keys });
    const registry = createNoteRegistry();
    const store = await openStore({ ...place, passphrase, keys, registry, projections: [] });
    const http = createNodeHttp();
    const desk = syncDesk(store, http);
    await desk.enrol(server.code ?? "");
    const engine = syncStore(store, { tail: false });
    await store.append(note("s", "hard"));
    expect((await engine.syncNow()).status).toBe("drained");

    deviceHsm.takeOut();
    const soft = await store.append(note("s", "soft"));
    expect((await engine.syncNow()).status).toBe("drained");
    expect(soft.status === "appended" && soft.receipt()).toBeTruthy();
    deviceHsm.putBack();

    hsm.takeOut();
    const late = await store.append(note("s", "late"));
    expect((await engine.syncNow()).status).not.toBe("drained");
    hsm.putBack();
    for (let looks = 0; looks < 200; looks++) {
      if ((await engine.syncNow()).status === "drained") break;
      await new Promise((resolve) => {
        setTimeout(resolve, 100);
      });
    }
    expect(late.status === "appended" && late.receipt()).toBeTruthy();
    expect(store.verify({ allNotes: true })).toMatchObject({ ok: true, problems: [] });
    const listed = await desk.devices();
    expect(listed.filter(({ device }) => device === store.status().device)).toHaveLength(1);
    await engine.close();
    await store.close();
    http.close();
    await server.close();
  });
});
