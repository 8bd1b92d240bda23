/**
 * Devices and servers that are killed (SIGKILL) at random points: what was acknowledged is at the server exactly
 * once in the end, and the server still has every leaf that it gave a receipt for.
 */
import type { EventReceipt, SyncReport } from "@holdfast/core";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { backends, full, sampledBackends } from "./servers.ts";
import { inWorld } from "./world.ts";

const rounds = full ? 100 : 2;
const budget = { timeout: full ? 3_600_000 : 300_000 };

test.each(sampledBackends)(
  "a killed device loses nothing that it acknowledged ($name)",
  budget,
  async ({ backend }) => {
    // A worker that is gone keeps its entries until its lease expires: shorter here than in life.
    await inWorld({ backend, leaseExpiryMs: 500 }, async ({ founder, server, chance }) => {
      const acknowledged: string[] = [];
      for (let round = 0; round < rounds; round++) {
        await founder.ask("start");
        void founder.ask("burst", { from: round * 100_000, count: 50_000 }).catch(() => undefined);
        await sleep(20 + chance.below(400));
        const { said } = founder.talker();
        await founder.kill();
        acknowledged.push(...said.flatMap(({ acknowledged: id }) => (id as string) ?? []));
        await founder.start();
      }
      await founder.drain();
      expect(acknowledged.length).toBeGreaterThan(rounds);
      const log = await server.read();
      const all = acknowledged.length;
      expect(log.copiesOf(acknowledged)).toEqual({ once: all, never: 0, more: 0 });
      expect(await founder.ask("verify")).toMatchObject({ ok: true, problems: [] });
      console.log(`${rounds} kills of a device: ${all} acknowledged, 0 lost`);
    });
  },
);

test.each(backends)(
  "a killed server has every leaf that it gave a receipt for ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend }, async ({ founder, server, follow, chance }) => {
      const ids: string[] = [];
      let receipts: readonly EventReceipt[] = [];
      for (let round = 0; round < rounds; round++) {
        const notes = Array.from({ length: 20 }, (_, at) => ({ n: round * 100 + at }));
        ids.push(...(await founder.ask<{ ids: string[] }>("append", { notes })).ids);
        const syncing = founder.ask<SyncReport>("sync");
        await sleep(chance.below(60));
        await server.kill();
        await syncing;
        await server.start();
        follow();
        // The device itself checks that the log which comes back contains the one that it had seen.
        await founder.drain();
        receipts = await founder.ask<EventReceipt[]>("receipts", { ids });
      }
      const log = await server.read();
      expect(log.copiesOf(ids)).toEqual({ once: ids.length, never: 0, more: 0 });
      expect(receipts.length).toBe(ids.length);
      for (const { statement, proof } of receipts) expect(log.leaf(proof.index)).toBe(statement);
      expect(await founder.ask("verify")).toMatchObject({ ok: true, problems: [] });
      console.log(`${rounds} kills of the server: ${ids.length} events, 0 lost`);
    });
  },
);
