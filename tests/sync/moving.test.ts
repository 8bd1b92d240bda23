/** A tenant that moves while its devices sync over HTTP: real stores and engines, nothing stopped. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createHttpTransport,
  type Holdfast,
  isHoldfastError,
  parseEnrolmentCode,
} from "@holdfast/core";
import { createNodeHttp, initStore, openStore, syncDesk, syncStore } from "@holdfast/node";
import { callerOf, createNoteDraft as note, createNoteRegistry } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { foundingCode, startRunningApi, type TestApi } from "../server/lab.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-moving-"));
const http = createNodeHttp();
const open: Holdfast[] = [];
let api: TestApi;

beforeAll(async () => {
  api = await startRunningApi();
});
afterAll(async () => {
  for (const store of open) await store.close();
  http.close();
  await api.close();
  rmSync(folder, { recursive: true });
});

async function enrolled(name: string, text: string): Promise<Holdfast> {
  const place = { directory: join(folder, name), stateDirectory: join(folder, `${name}-state`) };
  const code = parseEnrolmentCode(text);
  const passphrase = "moving";
  const { joins } = code;
  await initStore({
    ...place,
    passphrase,
    tenant: "Ward 4",
    ...(joins !== undefined && { joins }),
  });
  const registry = createNoteRegistry();
  const store = await openStore({ ...place, passphrase, registry, projections: [] });
  open.push(store);
  await syncDesk(store, http).enrol(text);
  return store;
}

describe("a tenant that moves while its devices sync", () => {
  it("is followed by every device, over HTTP, without a pause", async () => {
    const founder = await enrolled("founder", await foundingCode(api));
    const engineOf = (store: Holdfast) => syncStore(store, { tail: false });
    const engines = [engineOf(founder)];
    await engines[0]?.syncNow();
    const terms = { role: "admin", scopes: ["*"], lifeMs: 3_600_000 } as const;
    const joiner = await enrolled("joiner", await syncDesk(founder, http).invite(terms));
    engines.push(engineOf(joiner));
    const all = async (): Promise<void> => {
      for (const engine of engines) await engine.syncNow();
    };
    for (let round = 0; round < 3; round++) await all();
    const { tenant } = founder.status();
    let recorded = 0;
    for (const shard of ["second", "third", "fourth"]) {
      // A push, a pull and the move at the same moment.
      await founder.append(note("x", `${(recorded += 1)}`));
      await joiner.append(note("x", `${(recorded += 1)}`));
      await Promise.all([
        ...engines.map((engine) => engine.syncNow()),
        api.engine.server.moveTenant({ tenant, shard }),
      ]);
    }
    for (let round = 0; round < 3; round++) await all();
    for (const store of [founder, joiner]) {
      expect(store.read({ type: "NoteTaken" })).toHaveLength(recorded);
      expect(store.verify()).toMatchObject({ ok: true, problems: [] });
      expect(store.server()?.log).toMatch(/\/fourth\/1$/);
    }
  });

  it("has its former log read over HTTP, by those of the tenant alone", async () => {
    const { founder, server, tenant } = api.engine;
    await api.engine.receipted(founder, 0);
    const transport = createHttpTransport({ http }, api.url);
    const { checkpoint: before } = await server.checkpoint(callerOf(founder));
    const log = before.split("\n")[0] ?? "";
    const size = Number(before.split("\n")[1]);
    await server.moveTenant({ tenant });
    const token = await api.token(founder);
    const answer = await transport.epoch({ log, size }, { token });
    expect(answer.last).toBe(before);
    expect(answer.epoch.index).toBe(0);
    const { leaf } = await transport.inclusion({ index: 0, size, log }, { token });
    expect(JSON.parse(leaf.text)).toMatchObject({ kind: "enrol" });
    const { path } = await transport.consistency({ before: 1, size, log }, { token });
    expect(path.length).toBeGreaterThan(0);
    const named = `log=${encodeURIComponent(log)}`;
    const checkpoint = await api.get(`/v1/log/checkpoint?${named}`, token);
    expect(await checkpoint.json()).toEqual({ checkpoint: before });
    const leaves = await api.get(`/v1/log/leaves?from=0&to=1&${named}`, token);
    expect(await leaves.json()).toEqual({ leaves: [leaf.text] });
    // The stores of the test before are of another tenant.
    const [stranger] = open;
    if (stranger === undefined) throw new Error("no store");
    const theirs = stranger.server()?.log ?? "";
    for (const request of [
      transport.epoch({ log: theirs, size: 1 }, { token }),
      transport.epoch({ log: "nobody/holdfast/nothing/1", size: 1 }, { token }),
      transport.inclusion({ index: 0, size: 1, log: theirs }, { token }),
    ]) {
      await expect(request).rejects.toSatisfy((error) => isHoldfastError(error, "not_found"));
    }
    for (const wrong of ["log=", "log=a%20b", `${named}&${named}`, `log=${"x".repeat(513)}`]) {
      const refused = await api.get(`/v1/log/checkpoint?${wrong}`, token);
      expect(refused.status).toBe(400);
      await refused.arrayBuffer();
    }
  });
});
