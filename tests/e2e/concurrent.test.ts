/** Several devices and one stream, several processes and one store. */
import type { Conflict, SyncReport } from "@holdfast/core";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { startTalker } from "./processes.ts";
import { backends, full, sampledBackends } from "./servers.ts";
import { converge, deviceArgv, inWorld } from "./world.ts";

const budget = { timeout: full ? 600_000 : 300_000 };

test.each(backends)(
  "three devices edit at once, agree on the conflict, and one settles it ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend }, async ({ founder, join }) => {
      const devices = [founder, await join("second"), await join("third")];
      const stream = "diary/shared";
      await founder.ask("append", { notes: [{ n: 1, stream }] });
      await converge(devices);
      for (const device of devices) device.proxy.choose(() => ({ kind: "refuse" }));
      for (const [at, device] of devices.entries()) {
        expect(await device.ask("amend", { stream, minutes: 10 * (at + 1) })).toBe("appended");
        await device.ask("append", { notes: [{ n: 100 + at }] });
        await device.ask("sync");
      }
      for (const device of devices) device.proxy.choose(() => ({ kind: "pass" }));
      await converge(devices);
      const lists = await Promise.all(devices.map((device) => device.ask<Conflict[]>("conflicts")));
      expect(lists[0]).toHaveLength(1);
      expect(lists[0]?.[0]).toMatchObject({ status: "open" });
      expect(lists[0]?.[0]?.sides).toHaveLength(3);
      expect(lists[1]).toEqual(lists[0]);
      expect(lists[2]).toEqual(lists[0]);
      expect(await devices[2]?.ask("resolve", { stream })).toBe("appended");
      await converge([...devices].toReversed());
      for (const device of devices) {
        expect(await device.ask("conflicts")).toEqual([]);
        expect(await device.ask("leaves")).toEqual(await founder.ask("leaves"));
        expect(await device.ask("rows")).toEqual(await founder.ask("rows"));
        expect(await device.ask("verify")).toMatchObject({ ok: true, problems: [] });
      }
    });
  },
);

test.skipIf(process.platform === "win32").each(sampledBackends)(
  "a process that sleeps past its lease is fenced: another delivers, nothing twice ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend, leaseExpiryMs: 1_000 }, async ({ founder, server }) => {
      let held: (() => void) | undefined;
      const reached = new Promise<void>((resolve) => (held = resolve));
      // The first push stays on its way until the other process has delivered.
      let first = true;
      founder.proxy.choose(({ path }) => {
        if (!first || path !== "/v1/push") return { kind: "pass" };
        first = false;
        held?.();
        return { kind: "pass", delayMs: 6_000 };
      });
      const notes = Array.from({ length: 50 }, (_, n) => ({ n }));
      const { ids } = await founder.ask<{ ids: string[] }>("append", { notes });
      const sleeping = founder.ask<SyncReport>("sync");
      await reached;
      // Idle meanwhile, it gives the right to write back: only its lease of entries is left.
      await sleep(1_500);
      founder.talker().process.kill("SIGSTOP");
      const other = await startTalker(deviceArgv(founder, { leaseExpiryMs: 1_000 }));
      try {
        let report = await other.ask<SyncReport>("sync");
        for (let more = 0; more < 50 && report.status !== "drained"; more++) {
          await sleep(100);
          report = await other.ask<SyncReport>("sync");
        }
        expect(report.status).toBe("drained");
      } finally {
        await other.end();
        founder.talker().process.kill("SIGCONT");
      }
      const late = await sleeping;
      expect(late.pushed).toBe(0);
      await founder.drain();
      const log = await server.read();
      expect(log.copiesOf(ids)).toEqual({ once: 50, never: 0, more: 0 });
      expect(log.receiptsOfNotes().filter((count) => count > 1)).toEqual([]);
      expect(await founder.ask("verify")).toMatchObject({ ok: true, problems: [] });
    });
  },
);
