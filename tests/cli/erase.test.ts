/** Erasing on the command line: asked back by name, against a rescue bundle, resumed. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { draftOf, makeStore, open, passphrase } from "../store/lab.ts";

const launcher = fileURLToPath(new URL("../../packages/cli/bin/holdfast.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "holdfast-cli-erase-"));
const file = (name: string): string => join(folder, name);
const env = {
  ...process.env,
  HOLDFAST_STORE: file("store"),
  HOLDFAST_STATE: file("state"),
  HOLDFAST_PASSPHRASE: passphrase,
  HOLDFAST_BACKUP_PASSPHRASE: "for the bundle alone",
};
const timeout = 240_000;

beforeAll(async () => {
  await makeStore(folder);
  const store = await open(folder);
  await store.append([draftOf(1), draftOf(2)]);
  await store.close();
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Runs the command with `--json`: its exit code and its rows, or the code of its refusal. */
function run(...args: readonly string[]) {
  return new Promise<{ code: number; rows: readonly Record<string, unknown>[] }>((resolve) => {
    execFile(process.execPath, [launcher, ...args, "--json"], { env }, (error, out, err) => {
      const lines = `${out}${err}`.split("\n").filter((line) => line.startsWith("{"));
      const rows = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
      resolve({ code: error === null ? 0 : Number(error.code), rows });
    });
  });
}

const wish = ["--actor", "admin/1", "--why", "device-returned"];
const outputs = ["--export", file("audit.ndjson"), "--certificate", file("certificate.json")];

test("refuses what is not meant, not proven or not asked for wholly", { timeout }, async () => {
  const usage = { code: 2, rows: [{ error: { code: "usage" } }] };
  expect(await run("erase", ...wish, ...outputs)).toMatchObject(usage);
  expect(await run("erase", "--yes", ...wish)).toMatchObject(usage);
  expect(await run("erase", "--yes", ...outputs)).toMatchObject(usage);
  expect(await run("erase", "--yes", "--resume")).toMatchObject(usage);
  const unproven = await run("erase", "--yes", ...wish, ...outputs);
  expect(unproven).toMatchObject({ code: 3, rows: [{ error: { code: "interlock_unproven" } }] });
  expect(existsSync(file("certificate.json"))).toBe(false);
});

const hasTerminal = process.platform === "linux" && spawnSync("script", ["--version"]).status === 0;

/** Runs the command at a terminal and types that answer when it asks. */
async function atTerminal(
  place: Readonly<Record<string, string | undefined>>,
  answer: string,
  ...args: readonly string[]
): Promise<{ readonly code: number | null; readonly out: string }> {
  const words = [process.execPath, launcher, ...args].map((word) => `'${word}'`).join(" ");
  const command = `stty cols 200; exec ${words}`;
  const child = spawn("script", ["-qec", command, "/dev/null"], { env: { ...env, ...place } });
  let out = "";
  let isAsked = false;
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
    if (isAsked || !out.includes("Type the name")) return;
    isAsked = true;
    child.stdin.write(`${answer}\r`);
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out };
}

test.skipIf(!hasTerminal)("takes the name of the store's folder alone", { timeout }, async () => {
  const other = mkdtempSync(join(folder, "other-"));
  await makeStore(other);
  const at = (name: string): string => join(other, name);
  const place = { HOLDFAST_STORE: at("store"), HOLDFAST_STATE: at("state") };
  const { exitCode } = await rescueIn(place, at("rescue.age"));
  expect(exitCode).toBe(0);
  const asked = ["--export", at("a"), "--certificate", at("c"), "--rescue", at("rescue.age")];
  const wrong = await atTerminal(place, "stork", "erase", ...wish, ...asked);
  expect(wrong.out).toContain("That is not the name of its folder");
  expect(wrong.code).toBe(2);
  expect(existsSync(at("store/store.db"))).toBe(true);
  expect(existsSync(at("a"))).toBe(false);
  const right = await atTerminal(place, "store", "erase", ...wish, ...asked);
  expect(right.out).toContain("Start every process anew");
  expect(right.code).toBe(0);
  expect(existsSync(at("store"))).toBe(false);
});

async function rescueIn(place: Readonly<Record<string, string>>, out: string) {
  const child = spawn(process.execPath, [launcher, "rescue", "--out", out], {
    env: { ...env, ...place },
    stdio: "ignore",
  });
  const [exitCode] = (await once(child, "close")) as [number | null];
  return { exitCode };
}

test("erases, and the next run finishes what was incomplete", { timeout }, async () => {
  await run("rescue", "--out", file("rescue.age"));
  writeFileSync(file("store/strange"), "not ours");
  const asked = ["erase", "--yes", ...wish, ...outputs, "--rescue", file("rescue.age")];
  expect(await run(...asked)).toMatchObject({
    code: 3,
    rows: [{ error: { code: "erase_incomplete", details: { file: "store/strange" } } }],
  });
  expect(await run("log")).toMatchObject({
    code: 3,
    rows: [{ error: { code: "erase_unfinished" } }],
  });
  expect(await run("doctor")).toMatchObject({ code: 1, rows: [{ status: "blocked" }] });
  rmSync(file("store/strange"));
  expect(await run("erase", "--resume", "--yes", "--why", "other")).toMatchObject({ code: 2 });
  const erased = await run("erase", "--resume", "--yes");
  expect(erased).toMatchObject({ code: 0, rows: [{ restart: true, keyring_copies_left: [] }] });
  expect(existsSync(file("store"))).toBe(false);
  const certificate = JSON.parse(readFileSync(file("certificate.json"), "utf8")) as unknown;
  expect(certificate).toMatchObject({ release: "rescued", scan: { clean: true } });
  expect(await run("log")).toMatchObject({ rows: [{ error: { code: "store_missing" } }] });
});
