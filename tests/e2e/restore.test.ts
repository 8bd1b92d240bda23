/**
 * A server whose database was put back to a backup, with real processes: the operator's commands, a server, and devices
 * that hold more than it does. Nothing that was acknowledged is lost while a device has it.
 */
import { copyFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { SyncReport } from "@holdfast/core";
import { expect, test } from "vitest";
import { runChild } from "../faults/child.ts";
import { copyDatabase, createEmpty, replaceDatabase } from "../postgres/cluster.ts";
import { type Device, converge, inWorld } from "./world.ts";
import type { ServerProcess } from "./servers.ts";

const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

interface Said {
  readonly status: number | null;
  readonly rows: readonly Readonly<Record<string, unknown>>[];
  readonly code: string | undefined;
}

/** The operator's command; its rows, or the code that it refuses with. */
function operator(server: ServerProcess, ...args: readonly string[]): Promise<Said> {
  return operatorOf(server.folder, ...args);
}

async function operatorOf(folder: string, ...args: readonly string[]): Promise<Said> {
  const argv = [main, "server", ...args, "--data", folder, "--json"];
  const { code: status, stdout, stderr } = await runChild({ argv });
  const lines = (text: string): readonly Readonly<Record<string, unknown>>[] =>
    text
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
  const error = lines(stderr).at(-1)?.["error"] as { readonly code: string } | undefined;
  return { status, rows: lines(stdout), code: error?.code };
}

interface Recording {
  readonly devices: readonly Device[];
  readonly ids: string[];
  append(round: number): Promise<void>;
}

function recording(devices: readonly Device[]): Recording {
  const ids: string[] = [];
  return {
    devices,
    ids,
    async append(round) {
      for (const [at, device] of devices.entries()) {
        const notes = [0, 1, 2].map((n) => ({ n: round * 100 + at * 10 + n }));
        ids.push(...(await device.ask<{ ids: string[] }>("append", { notes })).ids);
      }
    },
  };
}

/** Every event once at the server and once on every device, and every store verifies. */
async function expectWhole(server: ServerProcess, { devices, ids }: Recording): Promise<void> {
  const log = await server.read();
  expect(log.copiesOf(ids)).toEqual({ once: ids.length, never: 0, more: 0 });
  for (const device of devices) {
    expect(await device.ask("verify")).toMatchObject({ ok: true, problems: [] });
    const held = await device.ask<readonly string[]>("ids");
    expect(held.toSorted()).toEqual(ids.toSorted());
  }
}

async function readiness(server: ServerProcess): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${server.port()}/readyz`);
  return `${answer.status} ${await answer.text()}`;
}

test(
  "devices push again what a server lost that was put back to a backup",
  { timeout: 240_000 },
  async () => {
    await inWorld({}, async ({ folder, founder, join: joined, server, follow }) => {
      const other = await joined("other");
      const recorded = recording([founder, other]);
      await recorded.append(0);
      await converge(recorded.devices);

      const file = join(folder, "backup.db");
      const made = await operator(server, "backup", "--out", file);
      expect(made).toMatchObject({ status: 0, rows: [{ shards: [{ log: 1 }] }] });
      expect(await operator(server, "backup", "--out", file)).toMatchObject({
        code: "output_exists",
      });
      expect(await operator(server, "drill", "--from", file)).toMatchObject({
        status: 0,
        rows: [{ shards: [{ problems: [] }], restored: [{ status: "begun" }] }],
      });

      // Acknowledged after the backup, and fetched by the others.
      await recorded.append(1);
      await converge(recorded.devices);
      await recorded.append(2);
      await converge(recorded.devices);
      expect(await operator(server, "restore", "--from", file, "--yes")).toMatchObject({
        code: "server_running",
      });
      await server.kill();
      // Nobody types the server's name, and nobody says that it is meant.
      expect(await operator(server, "restore", "--from", file)).toMatchObject({ status: 2 });
      const restored = await operator(server, "restore", "--from", file, "--yes");
      expect(restored).toMatchObject({ status: 0, rows: [{ status: "begun" }] });
      await server.start();
      follow();

      // Recorded by somebody who does not know it yet.
      await recorded.append(3);
      await converge(recorded.devices);
      await expectWhole(server, recorded);
      const lost = await operator(server, "lost");
      expect(lost.status).toBe(0);
      expect(lost.rows.length).toBeGreaterThanOrEqual(2);
      for (const row of lost.rows) {
        expect(row["back"]).toBe(Number(row["receipted"]) - Number(row["restored"]));
        expect(row).toMatchObject({ missing: 0, owed: 0 });
      }
      for (const device of recorded.devices) {
        const { evidence } = await device.ask<{ evidence: readonly string[] }>("standing");
        expect(evidence.join(" ")).toContain("server_log_tail_lost");
      }
    });
  },
);

test(
  "a server that comes up on an older copy signs nothing that contradicts it, and goes on after the restore",
  { timeout: 240_000 },
  async () => {
    await inWorld({}, async ({ folder, founder, join: joined, server, follow }) => {
      const other = await joined("other");
      const recorded = recording([founder, other]);
      await recorded.append(0);
      await converge(recorded.devices);
      const file = join(folder, "backup.db");
      await operator(server, "backup", "--out", file);
      await recorded.append(1);
      await converge(recorded.devices);

      await server.kill();
      const database = join(server.folder, "server.db");
      for (const suffix of ["", "-wal", "-shm"]) await rm(`${database}${suffix}`, { force: true });
      await copyFile(file, database);
      await server.start();
      follow();
      expect(await readiness(server)).toMatch(/^200 /);
      await recorded.append(2);
      for (const device of recorded.devices) {
        const report = await device.ask<SyncReport>("sync");
        expect(report).toMatchObject({ status: "failed", failure: "server_put_back" });
      }
      expect(await readiness(server)).toMatch(/^503 .*server_put_back/);
      const { rows } = await operator(server, "drill");
      expect(rows).toMatchObject([{ shards: [{ problems: [] }] }]);

      await server.kill();
      const restored = await operator(server, "restore", "--yes");
      expect(restored).toMatchObject({ status: 0, rows: [{ status: "begun" }] });
      expect(await operator(server, "restore", "--yes")).toMatchObject({
        rows: [{ ...restored.rows[0], status: "already" }],
      });
      await server.start();
      follow();
      await converge(recorded.devices);
      expect(await readiness(server)).toMatch(/^200 /);
      await expectWhole(server, recorded);
    });
  },
);

test("nodes on a PostgreSQL that was put back go on like that", { timeout: 240_000 }, async () => {
  const databaseUrl = await createEmpty();
  const options = { backend: "PostgreSQL", databaseUrl } as const;
  await inWorld(options, async ({ founder, join: joined, server, follow }) => {
    const other = await joined("other");
    const recorded = recording([founder, other]);
    const kill = async (): Promise<void> => {
      for (const _ of server.nodes) await server.kill();
    };
    const start = async (): Promise<void> => {
      await server.start();
      follow();
    };
    // Both nodes are known in the tenant by then.
    for (const round of [0, 1]) {
      await recorded.append(round);
      await converge(recorded.devices);
    }
    await kill();
    const copy = await copyDatabase(databaseUrl);
    await start();
    await recorded.append(2);
    await converge(recorded.devices);
    await kill();
    await replaceDatabase(databaseUrl, copy);
    const place = ["--database-url", databaseUrl] as const;
    const [node] = server.nodes;
    const restored = await operatorOf(node?.folder ?? "", "restore", ...place, "--yes");
    expect(restored).toMatchObject({ status: 0, rows: [{ status: "begun" }] });
    await start();
    await recorded.append(3);
    await converge(recorded.devices);
    await expectWhole(server, recorded);
    const lost = await operatorOf(node?.folder ?? "", "lost", ...place);
    expect(lost.status).toBe(0);
    expect(lost.rows.map((row) => row["missing"])).toEqual(lost.rows.map(() => 0));
    expect(lost.rows.length).toBeGreaterThanOrEqual(2);
    const drilled = await operatorOf(node?.folder ?? "", "drill", ...place);
    expect(drilled).toMatchObject({ status: 0, rows: [{ shards: [{ problems: [] }] }] });
    const backup = await operatorOf(node?.folder ?? "", "backup", ...place, "--out", "never.db");
    expect(backup.code).toBe("config_invalid");
  });
});
