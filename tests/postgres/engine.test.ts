import { isHoldfastError, parseCheckpoint, parseNote } from "@holdfast/core";
import { createNodeCrypto } from "@holdfast/node";
import { loadConfig, type RunningServer, startServer } from "@holdfast/server/serve";
import { callerOf, createTestEngine, type TestEngine } from "@holdfast/testkit";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { createDatabase, createEmpty, type TestDatabase } from "./cluster.ts";

const crypto = createNodeCrypto();

describe("the engine on PostgreSQL", () => {
  let database: TestDatabase;
  let here: TestEngine;
  beforeAll(async () => {
    database = await createDatabase();
    here = await createTestEngine(database.open(), { crypto });
  });
  afterAll(async () => {
    await here.close();
    await database.close();
  });

  it("takes pushes in groups, answers again what it has, and pages through all of it", async () => {
    const devices = [here.founder, await here.join(), await here.join()];
    for (const device of devices) device.record(Array.from({ length: 300 }, () => ({})));
    const answers = await Promise.all(devices.map((device) => here.push(device, device.push(0))));
    for (const answer of answers) expect(answer.status).toBe("receipted");
    const [device] = devices;
    if (device === undefined) throw new Error("no device");
    const again = await here.push(device, device.push(0));
    expect(again.status === "receipted" && again.dispositions[5]?.disposition).toBe("duplicate");
    for (const one of devices) {
      one.record([{}]);
      await here.receipted(one, one.events.length - 1);
    }

    const seen: number[] = [];
    const asked = { scopes: "*", bytes: 100_000, held: {}, events: 200, own: true } as const;
    let checkpoint = 0;
    for (let after = 0; ;) {
      const page = await here.server.pull(callerOf(here.founder), { ...asked, checkpoint, after });
      seen.push(...page.events.map(({ position }) => position));
      checkpoint = parseCheckpoint(parseNote(page.checkpoint).text).size;
      if (page.next === page.head) break;
      after = page.next;
    }
    expect(seen).toEqual(Array.from(seen, (_, at) => at + 1));
    expect(seen.length).toBe((await here.reads.events(here.tenant, "*", 0, 5_000)).length);
    expect(seen.length).toBeGreaterThan(900);
    await expect(
      here.server.pull(callerOf(here.founder), { ...asked, checkpoint: 0, after: 99_999 }),
    ).rejects.toThrow(/server_behind/);
  });
});

describe("holdfast serve with a database", () => {
  const folders: string[] = [];
  const running: RunningServer[] = [];
  const serve = async (data: string, url: string): Promise<RunningServer> => {
    const server = await startServer(
      loadConfig({ flags: { data, port: 0, database_url: url, name: "test" } }),
    );
    running.push(server);
    return server;
  };
  const folder = (): string => {
    const made = mkdtempSync(join(tmpdir(), "holdfast-serve-"));
    folders.push(made);
    return made;
  };
  afterEach(async () => {
    for (const server of running.splice(0)) await server.close();
    for (const made of folders.splice(0)) rmSync(made, { recursive: true });
  });

  it("makes the tables, is ready, and starts again; other keys are not let in", async () => {
    const [data, url] = [folder(), await createEmpty()];
    const first = await serve(data, url);
    expect(first.code).toMatch(/\S/);
    expect((await fetch(`${first.url}/readyz`)).status).toBe(200);
    await first.close();
    running.length = 0;
    await serve(data, url);
    const failure = await serve(folder(), url).catch((error: unknown) => error);
    expect(isHoldfastError(failure, "server_keys_foreign")).toBe(true);
  });

  it("is not ready when what it promises is not there", async () => {
    const server = await startServer(
      loadConfig({
        flags: {
          data: folder(),
          port: 0,
          database_url: await createEmpty(),
          durability: "replicated",
        },
      }),
    ).catch((error: unknown) => error);
    // The founding code is the first write.
    expect(isHoldfastError(server, "durability_unmet")).toBe(true);
  });
});
