/** A tenant moves between shards, with real processes: the operator's command, a server, and devices that go on. */
import type { EventReceipt } from "@holdfast/core";
import { expect, test } from "vitest";
import { runChild } from "../faults/child.ts";
import { fileURLToPath } from "node:url";
import { full, type ServerProcess } from "./servers.ts";
import { converge, inWorld } from "./world.ts";

const names = full ? ["second", "third"] : ["second"];
const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

interface Row {
  readonly tenant: string;
  readonly shard: string;
  readonly events: number;
  readonly leaves: number;
  readonly sealed: boolean;
}

/** The operator's command; its rows, or the code that it refuses with. */
async function shards(server: ServerProcess, ...args: readonly string[]) {
  const argv = [main, "shards", ...args, "--data", server.folder, "--json"];
  const { code: status, stdout, stderr } = await runChild({ argv });
  if (status !== 0) {
    const said = JSON.parse(stderr.trim().split("\n").at(-1) ?? "{}") as {
      error: { code: string; action: string };
    };
    const { code, action } = said.error;
    return { status, code, action, rows: [] };
  }
  const rows = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
  return { status, code: undefined, action: "", rows };
}

test(
  "devices go on syncing across moves, and what was receipted before stays proven",
  { timeout: 240_000 },
  async () => {
    await inWorld({}, async ({ founder, join, server, follow }) => {
      const other = await join("other");
      const devices = [founder, other];
      const ids: string[] = [];
      const append = async (round: number): Promise<void> => {
        for (const [at, device] of devices.entries()) {
          const notes = [0, 1, 2].map((n) => ({ n: round * 100 + at * 10 + n }));
          ids.push(...(await device.ask<{ ids: string[] }>("append", { notes })).ids);
        }
      };
      await append(0);
      await converge(devices);
      const before = await founder.ask<EventReceipt[]>("receipts", { ids: ids.slice(0, 3) });

      const listed = (await shards(server, "ls")).rows as readonly Row[];
      expect(listed).toMatchObject([{ sealed: false }]);
      const tenant = listed[0]?.tenant ?? "";
      expect(await shards(server, "split", tenant, "--yes")).toMatchObject({
        status: 3,
        code: "server_running",
        action: expect.stringContaining("Stop the server") as unknown,
      });

      for (const [round, shard] of names.entries()) {
        // Recorded before, sent after.
        await append(round + 1);
        await server.kill();
        if (full) expect(await shards(server, "split", tenant)).toMatchObject({ status: 2 });
        const moved = await shards(server, "split", tenant, "--yes", "--shard", shard);
        expect(moved.rows).toMatchObject([{ tenant, log: `e2e.test/holdfast/${shard}/1` }]);
        await server.start();
        follow();
        await converge(devices);
      }

      const rows = (await shards(server, "ls")).rows as readonly Row[];
      expect(rows.map(({ sealed }) => sealed)).toEqual([...names.map(() => true), false]);
      const log = await server.read();
      expect(log.copiesOf(ids)).toEqual({ once: ids.length, never: 0, more: 0 });
      for (const device of devices) {
        expect(await device.ask("verify")).toMatchObject({ ok: true, problems: [] });
      }
      // What was receipted before is proven by the checkpoint of its own log, and what came later by another.
      const again = await founder.ask<EventReceipt[]>("receipts", { ids: ids.slice(0, 3) });
      const origins = (receipts: readonly EventReceipt[]) =>
        receipts.map(({ checkpoint }) => checkpoint.split("\n")[0]);
      expect(origins(before)).toEqual(before.map(() => `e2e.test/holdfast/${rows[0]?.shard}/1`));
      expect(again.length).toBe(before.length);
      const late = await founder.ask<EventReceipt[]>("receipts", { ids: [ids.at(-4)] });
      expect(origins(late)).toEqual([`e2e.test/holdfast/${names.at(-1)}/1`]);
    });
  },
);
