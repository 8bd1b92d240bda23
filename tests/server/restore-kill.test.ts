/** SIGKILL at any moment of a server's restore: the old database or the new one, and the next one finishes it. */
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  createHttpTransport,
  enrolmentProof,
  isHoldfastError,
  parseEnrolmentCode,
  silentObserver,
} from "@holdfast/core";
import { createNodeCrypto, createNodeHttp } from "@holdfast/node";
import {
  loadConfig,
  openServerBackups,
  openShards,
  startServer,
  type ServerConfig,
} from "@holdfast/server/serve";
import { createChance, createPseudonym, createPushingDevice } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createChance as killChance } from "../faults/random.ts";
import { runKilled } from "../faults/kill.ts";

const crypto = createNodeCrypto();
const child = fileURLToPath(new URL("restore.child.ts", import.meta.url));
const full = process.env["HOLDFAST_FULL"] === "1";
/** Kills that have to strike before the end, and runs that they may take: how long one lasts is the machine's. */
const runs = full ? 100 : 4;
const runsMost = runs * 10;
const timeout = 1_800_000;
const [tenantsBefore, tenantsSince] = [40, 4] as const;

const folder = mkdtempSync(join(tmpdir(), "holdfast-restore-kill-"));
/** The folder as it is before each run, and the backup. */
const kept = join(folder, "kept");
const file = join(folder, "backup.db");

const configOf = (data: string): ServerConfig =>
  loadConfig({ environment: {}, flags: { data, port: "0" } });

async function found(count: number): Promise<void> {
  const server = await startServer(configOf(kept), silentObserver);
  const http = createNodeHttp();
  const transport = createHttpTransport({ http }, server.url);
  const chance = createChance(Date.now() % 1_000_000);
  for (let n = 0; n < count; n++) {
    const { secret } = parseEnrolmentCode(await server.foundingCode());
    const proof = enrolmentProof(crypto, secret);
    const device = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
    await transport.enrol(device.enrol({ proof, digest: "" }), {});
  }
  http.close();
  await server.close();
}

beforeAll(async () => {
  await found(tenantsBefore);
  await openServerBackups(configOf(kept)).backUp(file);
  await found(tenantsSince);
}, timeout);
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let made = 0;

function ground(): string {
  made += 1;
  const data = join(folder, `run-${made}`);
  cpSync(kept, data, { recursive: true });
  return data;
}

async function logsOf(data: string): Promise<readonly number[]> {
  return (await openShards(configOf(data)).list()).map(({ log }) => log);
}

/** How long the child works when nothing disturbs it: the shorter of two runs, as the machine may be busy. */
async function undisturbed(words: () => readonly string[]): Promise<number> {
  return Math.min(await duration(words()), await duration(words()));
}

async function duration(words: readonly string[]): Promise<number> {
  let began = 0;
  let took = 0;
  const run = await runKilled({
    argv: [child, ...words],
    killAfterMs: { from: 60_000, to: 60_001, chance: killChance(0) },
    armOn: () => false,
    onLine(line) {
      if (line === "began") began = performance.now();
      else took = performance.now() - began;
    },
  });
  expect(run).toMatchObject({ killed: false, code: 0, stderr: "" });
  return took;
}

async function struck(words: readonly string[], within: number, seed: number): Promise<boolean> {
  const run = await runKilled({
    argv: [child, ...words],
    killAfterMs: { from: 0, to: within, chance: killChance(seed) },
    armOn: (line) => line === "began",
  });
  expect(run.stderr).toBe("");
  return !run.lines.includes("done");
}

describe("kill -9", () => {
  test(
    "while a backup is put in place: the old database or the new one, whole",
    { timeout },
    async () => {
      const within = await undisturbed(() => [ground(), file]);
      let hits = 0;
      for (let run = 0; hits < runs && run < runsMost; run++) {
        const data = ground();
        if (await struck([data, file], within, run)) hits += 1;
        const database = join(data, "server.db");
        const isUnfinished = existsSync(`${database}.restoring`);
        if (existsSync(database)) {
          const logs = await logsOf(data);
          const isOld = logs.length === tenantsBefore + tenantsSince;
          expect(logs.length).toBe(isOld ? tenantsBefore + tenantsSince : tenantsBefore);
          expect(logs.every((log) => (log === 1) === isOld)).toBe(true);
        } else expect(isUnfinished).toBe(true);
        if (isUnfinished) {
          const refused = startServer(configOf(data)).catch((error: unknown) => error);
          expect(isHoldfastError(await refused, "server_restore_unfinished")).toBe(true);
        }
        await openServerBackups(configOf(data)).restore(file);
        const logs = await logsOf(data);
        expect(logs).toHaveLength(tenantsBefore);
        expect(logs.every((log) => log > 1)).toBe(true);
        const drilled = await openServerBackups(configOf(data)).drill();
        expect(drilled.shards.flatMap(({ problems }) => problems)).toEqual([]);
        const left = readdirSync(data).filter((name) => name.includes("restoring"));
        expect(left).toEqual([]);
        // What was replaced is there still.
        expect(readdirSync(data).some((name) => name.startsWith("replaced-"))).toBe(true);
        rmSync(data, { recursive: true });
      }
      expect(hits).toBe(runs);
      console.log(`kill -9 restore of a server: ${hits} struck before the end`);
    },
  );

  test("while logs go on where they are: each once, whoever finishes it", { timeout }, async () => {
    const within = await undisturbed(() => [ground()]);
    let hits = 0;
    for (let run = 0; hits < runs && run < runsMost; run++) {
      const data = ground();
      if (await struck([data], within, 1_000 + run)) hits += 1;
      const first = await logsOf(data);
      const logs = await openServerBackups(configOf(data)).restore();
      const already = logs.filter(({ status }) => status === "already").length;
      expect(already).toBe(first.filter((log) => log > 1).length);
      expect(logs.every(({ last }) => last.log.endsWith("/1"))).toBe(true);
      expect((await logsOf(data)).every((log) => log > 1)).toBe(true);
      rmSync(data, { recursive: true });
    }
    expect(hits).toBe(runs);
    console.log(`kill -9 restore in place: ${hits} struck before the end`);
  });

  test("a backup that is not what its manifest says, or of another server, is refused", async () => {
    const data = ground();
    const other = join(folder, "other.db");
    cpSync(file, other);
    cpSync(`${file}.manifest.json`, `${other}.manifest.json`);
    rmSync(file);
    cpSync(join(kept, "server.db"), file);
    const backups = openServerBackups(configOf(data));
    for (const act of [backups.restore(file), backups.drill(file)]) {
      await expect(act).rejects.toThrow("server_backup_wrong");
    }
    cpSync(other, file);
    const strangers = join(folder, "strangers");
    const started = await startServer(configOf(strangers));
    await started.close();
    await expect(openServerBackups(configOf(strangers)).restore(file)).rejects.toThrow(
      "server_backup_wrong",
    );
    expect((await logsOf(data)).every((log) => log === 1)).toBe(true);
    await expect(backups.backUp(file)).rejects.toThrow("output_exists");
    await expect(backups.restore(join(folder, "nothing"))).rejects.toThrow("input_unreadable");
  });
});
