/** Enrolling, inviting and revoking on the command line, against the real server. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRegistry, syncStoreOf } from "@holdfast/core";
import { openStore } from "@holdfast/node";
import { afterAll, beforeAll, expect, it } from "vitest";
import { foundingCode, startTestApi, type TestApi } from "../server/lab.ts";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/holdfast.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-devices-"));
let api: TestApi;

beforeAll(async () => {
  api = await startTestApi();
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});

/** Runs the command with `--json`; its rows, or the code of its refusal. */
function run(store: string, ...args: readonly string[]) {
  return runWith(store, undefined, ...args);
}

/** The code is a secret: it goes by the environment. */
function runWith(store: string, code: string | undefined, ...args: readonly string[]) {
  const env = {
    ...process.env,
    HOLDFAST_STORE: join(folder, store),
    HOLDFAST_STATE: join(folder, "state"),
    HOLDFAST_PASSPHRASE: "correct horse battery staple",
    ...(code !== undefined && { HOLDFAST_CODE: code }),
  };
  const child = spawn(process.execPath, [launcher, ...args, "--json"], { env });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  child.stdin.end();
  return new Promise<readonly Record<string, unknown>[]>((resolve) => {
    child.on("close", () => {
      const lines = `${out}${err}`.split("\n").filter((line) => line.startsWith("{"));
      resolve(lines.map((line) => JSON.parse(line) as Record<string, unknown>));
    });
  });
}

it("founds a tenant, lets a device in by a code, and revokes it", async () => {
  const founding = await foundingCode(api);
  expect(await run("first", "devices", "ls")).toMatchObject([{ error: { code: "store_missing" } }]);
  expect(await runWith("first", "hf1-nothing", "enroll")).toMatchObject([
    { error: { code: "enrol_code_malformed" } },
  ]);
  const [founder] = await runWith("first", founding, "enroll", "--tenant", "Ward 3");
  expect(founder).toMatchObject({ role: "admin", made: true, server: api.url });
  expect(founder?.["founder"]).toBe(founder?.["device"]);
  const [invitation] = await run("first", "devices", "invite", "--scope", "ada");
  const joined = await runWith("second", String(invitation?.["code"]), "enroll");
  expect(joined).toMatchObject([{ role: "device", made: true, tenant: founder?.["tenant"] }]);
  const device = String(joined[0]?.["device"]);
  const isListed = async () =>
    (await run("first", "devices", "ls")).filter((row) => row["device"] === device);
  expect(await isListed()).toMatchObject([{ role: "device", status: "active", scopes: [] }]);
  expect(await run("second", "grants", "ls")).toEqual([]);
  expect(await run("second", "devices", "revoke", device, "--why", "left")).toMatchObject([
    { error: { code: "access_denied" } },
  ]);
  expect(await run("first", "devices", "revoke", "nobody", "--why", "left")).toMatchObject([
    { error: { code: "draft_invalid" } },
  ]);
  expect(await run("first", "devices", "revoke", device, "--why", "left")).toMatchObject([
    { device, status: "revoked" },
  ]);
  expect(await isListed()).toMatchObject([{ status: "revoked" }]);
});

it("shows where sync stands, and ends a halt by a person, for a reason", async () => {
  const [enrolled] = await runWith(
    "halted",
    await foundingCode(api),
    "enroll",
    "--tenant",
    "Ward 4",
  );
  expect(enrolled).toMatchObject({ role: "admin", made: true });
  const [synced] = await run("halted", "sync");
  expect(synced).toMatchObject({ status: "drained" });
  const [before] = await run("halted", "status");
  expect(before?.["sync"]).toMatchObject({
    state: "drained",
    server: { url: api.url, role: "admin" },
    waiting: 0,
    dead: 0,
    owed: [],
    halt: null,
    resumed: [],
  });
  const store = await openStore({
    directory: join(folder, "halted"),
    stateDirectory: join(folder, "state"),
    passphrase: "correct horse battery staple",
    registry: createRegistry([]),
    projections: [],
  });
  await syncStoreOf(store).halt("server_log_rewound");
  await store.close();
  const [stopped] = await run("halted", "status");
  expect(stopped?.["sync"]).toMatchObject({
    state: "halted",
    halt: { code: "server_log_rewound" },
  });
  expect(await run("halted", "sync")).toMatchObject([{ status: "halted" }]);
  expect(await run("halted", "sync", "resume", "--actor", "ada")).toMatchObject([
    { error: { code: "usage" } },
  ]);
  const reason = "the operator put a backup back";
  expect(await run("halted", "sync", "resume", "--actor", "ada", "--reason", reason)).toMatchObject(
    [{ resumed: "server_log_rewound", actor: "ada", reason }],
  );
  const [after] = await run("halted", "status");
  expect(after?.["sync"]).toMatchObject({
    state: "drained",
    halt: null,
    resumed: [{ code: "server_log_rewound", actor: "ada", reason }],
  });
});

it("erases a store without a rescue bundle once the server holds all of it", async () => {
  const founding = await foundingCode(api);
  await runWith("leaving", founding, "enroll", "--tenant", "Ward 5");
  const place = (name: string): string => join(folder, name);
  const outputs = ["--export", place("audit.ndjson"), "--certificate", place("certificate.json")];
  const erase = ["erase", "--yes", "--actor", "ada", "--why", "device-returned", ...outputs];
  const data = '{"started_at":"2026-03-01T08:00:00Z","duration_minutes":12,"severity":"dripping"}';
  const draft = ["--type", "NosebleedRecorded", "--stream", "diary/1", "--scope", "ada"];
  await run("leaving", "append", ...draft, "--actor", "ada", "--data", data);
  expect(await run("leaving", ...erase)).toMatchObject([{ error: { code: "interlock_unproven" } }]);
  expect(await run("leaving", "sync")).toMatchObject([{ status: "drained" }]);
  // The server has the bytes, and nobody else the key.
  expect(await run("leaving", ...erase)).toMatchObject([
    { error: { code: "erase_last_keys", details: { keys: 1 } } },
  ]);
  await run("leaving", "backup", "--keyring", place("copy"));
  expect(await run("leaving", ...erase)).toMatchObject([{ error: { code: "erase_last_keys" } }]);
  expect(await run("leaving", "sync")).toMatchObject([{ status: "drained" }]);
  expect(await run("leaving", ...erase, "--keep-keyring-copies")).toMatchObject([
    { restart: true, last_keys: 1, keyring_copies_left: [place("copy")] },
  ]);
  expect(JSON.parse(readFileSync(place("certificate.json"), "utf8"))).toMatchObject({
    release: "drained",
    scan: { clean: true },
  });
  expect(await run("leaving", "log")).toMatchObject([{ error: { code: "store_missing" } }]);
}, 120_000);
