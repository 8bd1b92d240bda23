/** A server from its folder: first start, restart, refusals, end. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  base64url,
  createHttpTransport,
  deviceBinding,
  enrolmentProof,
  isHoldfastError,
  keyFingerprint,
  parseEnrolmentCode,
} from "@holdfast/core";
import { createNodeHttp, type NodeHttp } from "@holdfast/node";
import {
  loadConfig,
  readConfigFile,
  type RunningServer,
  startServer,
} from "@holdfast/server/serve";
import { createChance, createPseudonym, createPushingDevice } from "@holdfast/testkit";
import { crypto } from "./lab.ts";

let folder: string;
let http: NodeHttp;
const running: RunningServer[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-serve-"));
  http = createNodeHttp();
});
afterEach(async () => {
  http.close();
  for (const server of running.splice(0)) await server.close();
  rmSync(folder, { recursive: true });
});

const config = (flags: Parameters<typeof loadConfig>[0] = {}) =>
  loadConfig({ ...flags, flags: { data: join(folder, "data"), port: 0, ...flags.flags } });

async function start(flags: Parameters<typeof loadConfig>[0] = {}): Promise<RunningServer> {
  const server = await startServer(config(flags));
  running.push(server);
  return server;
}

async function codeOf(promise: Promise<unknown> | (() => unknown)): Promise<unknown> {
  try {
    await (typeof promise === "function" ? promise() : promise);
  } catch (error) {
    return isHoldfastError(error) ? { code: error.code, ...error.details } : error;
  }
  return "done";
}

describe("a server", () => {
  it("starts in an empty folder, and its code founds a tenant", async () => {
    const server = await start();
    const transport = createHttpTransport({ http }, server.url);
    const hello = await transport.hello({});
    const code = parseEnrolmentCode(server.code ?? "");
    expect(code.url).toBe(server.url);
    expect(keyFingerprint(crypto, hello.key)).toBe(code.key);

    const chance = createChance(1);
    const founder = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
    const request = {
      ...founder.enrol({ proof: enrolmentProof(crypto, code.secret), digest: "" }),
      binding: deviceBinding(crypto, code.secret, founder.opening),
    };
    const enrolled = await transport.enrol(request, {});
    expect(enrolled).toMatchObject({ role: "admin", founder: founder.device });
    expect(await transport.enrol(request, {})).toMatchObject({ founder: founder.device });
    const another = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
    const again = { ...request, ...another.firstWords() };
    expect(await codeOf(transport.enrol(again, {}))).toMatchObject({ code: "enrol_code_refused" });
  });

  it("keeps its keys and its name over a restart, and prints no code again", async () => {
    const first = await start();
    const before = await createHttpTransport({ http }, first.url).hello({});
    await first.close();
    const second = await start();
    const after = await createHttpTransport({ http }, second.url).hello({});
    expect(second.code).toBeUndefined();
    expect({ ...after, time: 0 }).toEqual({ ...before, time: 0 });
    expect(parseEnrolmentCode(await second.foundingCode()).url).toBe(second.url);
  });

  it("keeps key files and database to its owner, and no payload key in plain", async () => {
    const server = await start();
    for (const name of ["server.keys", "server.db"]) {
      const found = statSync(join(folder, "data", name));
      expect(found.mode & 0o077).toBe(0);
    }
    await server.close();
    const database = readFileSync(join(folder, "data", "server.db"));
    expect(database.subarray(0, 15).toString("latin1")).not.toBe("SQLite format 3");
  });

  it("refuses to go on without its keys, or with ones that others may read", async () => {
    const server = await start();
    await server.close();
    const path = join(folder, "data", "server.keys");
    const kept = readFileSync(path);
    chmodSync(path, 0o644);
    expect(await codeOf(start())).toMatchObject({ code: "server_keys_unsafe" });
    writeFileSync(path, kept.subarray(0, 20));
    chmodSync(path, 0o600);
    expect(await codeOf(start())).toMatchObject({ code: "server_keys_invalid" });
    rmSync(path);
    expect(await codeOf(start())).toMatchObject({ code: "server_keys_missing" });
    writeFileSync(path, kept, { mode: 0o600 });
    expect((await start()).code).toBeUndefined();
  });

  it("has its folder to itself", async () => {
    const first = await start();
    expect(await codeOf(start())).toMatchObject({ code: "store_busy" });
    await first.close();
    await start();
  });

  it("refuses plaintext where other machines reach it, unless told", async () => {
    expect(await codeOf(start({ flags: { host: "0.0.0.0" } }))).toMatchObject({
      code: "listener_insecure",
    });
  });

  it("names a port that is taken", async () => {
    const first = await start();
    const port = Number(new URL(first.url).port);
    const data = join(folder, "other");
    expect(await codeOf(start({ flags: { port, data } }))).toMatchObject({
      code: "listener_refused",
      reason: "EADDRINUSE",
    });
  });

  it("refuses another name than the one it was founded with", async () => {
    const first = await start({ flags: { name: "sync.example.org" } });
    await first.close();
    expect(await codeOf(start({ flags: { name: "other.example.org" } }))).toMatchObject({
      code: "config_invalid",
      setting: "name",
    });
    expect(await createHttpTransport({ http }, (await start()).url).hello({})).toMatchObject({
      host: "sync.example.org",
    });
  });

  it("ends tails, answers what is under way, and then is gone", async () => {
    const server = await start();
    const { url } = server;
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    await server.close();
    await expect(fetch(`${url}/readyz`)).rejects.toThrow("fetch failed");
    await server.close();
  });
});

describe("settings", () => {
  it("come from flags before the environment before the file before the defaults", () => {
    const file = '{"port": 1, "reads": "none", "device_tails": 9}';
    const environment = { HOLDFAST_PORT: "2", HOLDFAST_DATA: "d" };
    expect(loadConfig({ file, environment, flags: { port: "3" } })).toMatchObject({
      port: 3,
      reads: "none",
      data: "d",
      device_tails: 9,
      host: "127.0.0.1",
    });
    expect(loadConfig({ file, environment })).toMatchObject({ port: 2 });
    expect(loadConfig({ file })).toMatchObject({ port: 1 });
  });

  it.each([
    ["an unknown key", { file: '{"prot": 1}' }, { code: "config_invalid", setting: "prot" }],
    ["a key twice", { file: '{"port": 1, "port": 2}' }, { code: "json_duplicate_key" }],
    ["a list", { file: "[]" }, { code: "config_invalid" }],
    ["YAML", { file: "port: &a 1" }, { code: "json_malformed" }],
    ["a port of text", { environment: { HOLDFAST_PORT: "80; rm" } }, { setting: "port" }],
    ["a port that is none", { environment: { HOLDFAST_PORT: "65536" } }, { source: "environment" }],
    ["nothing", { environment: { HOLDFAST_PORT: "" } }, { setting: "port" }],
    ["another word", { flags: { reads: "all" } }, { setting: "reads", source: "flag" }],
    [
      "half a switch",
      { environment: { HOLDFAST_ALLOW_PLAINTEXT: "yes" } },
      { code: "config_invalid" },
    ],
  ])("row 51: %s is refused", async (_name, sources, refusal) => {
    expect(await codeOf(() => loadConfig(sources as never))).toMatchObject(refusal);
  });

  it("row 51: a file that is no regular file, or too large", async () => {
    const unreadable = { code: "input_unreadable" };
    expect(await codeOf(() => readConfigFile("/dev/zero"))).toMatchObject(unreadable);
    expect(await codeOf(() => readConfigFile(folder))).toMatchObject(unreadable);
    expect(await codeOf(() => readConfigFile(join(folder, "none")))).toMatchObject(unreadable);
    const large = join(folder, "large.json");
    writeFileSync(large, base64url(new Uint8Array(100_000)));
    expect(await codeOf(() => readConfigFile(large))).toMatchObject(unreadable);
  });
});
