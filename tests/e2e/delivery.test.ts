/** What a device records reaches the others once, whatever the path does meanwhile. */
import type { Breaker, EventReceipt, SyncReport, SyncState } from "@holdfast/core";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { backends, full, sampledBackends } from "./servers.ts";
import { converge, type Device, inWorld } from "./world.ts";

const noteList = (from: number, count: number) =>
  Array.from({ length: count }, (_, at) => ({ n: from + at }));

async function append(device: Device, from: number, count: number): Promise<readonly string[]> {
  const notes = noteList(from, count);
  return (await device.ask<{ ids: string[] }>("append", { notes })).ids;
}

const isPush = (path: string): boolean => path === "/v1/push";
const budget = { timeout: full ? 1_800_000 : 300_000 };

test.each(backends)(
  "offline, cut in the middle, and back: delivered once, equal everywhere ($name)",
  budget,
  async ({ backend }) => {
    await inWorld({ backend }, async ({ founder, join, server }) => {
      const other = await join("other");
      other.proxy.choose(() => ({ kind: "refuse" }));
      const ids = [...(await append(other, 1, 20))];
      const report = await other.ask<SyncReport>("sync");
      expect(report).toMatchObject({ status: "failed", failure: "network_unreachable" });
      const state = await other.ask<SyncState>("state");
      expect(state.watermarks.waiting).toBe(20);
      // Each push is cut a little later than the one before: within its head, its leaves, its bodies.
      let cuts = 0;
      other.proxy.choose(({ path }) =>
        isPush(path) && cuts < 8
          ? { kind: "cut", afterBytes: 2 ** (2 * cuts++) }
          : { kind: "pass" },
      );
      ids.push(...(await append(other, 21, 100)));
      await converge([other, founder]);
      expect(other.proxy.met.cut).toBe(8);
      expect((await founder.ask<string[]>("ids")).toSorted()).toEqual(ids.toSorted());
      expect(await founder.ask("rows")).toEqual(await other.ask("rows"));
      expect((await server.read()).copiesOf(ids)).toEqual({ once: 120, never: 0, more: 0 });
      for (const device of [founder, other]) {
        expect(await device.ask("verify")).toMatchObject({ ok: true, problems: [] });
      }
    });
  },
);

test.each(backends)(
  "dropped answers make no duplicate, and the receipts are the same ones ($name)",
  budget,
  async ({ backend }) => {
    const drops = full ? 200 : 5;
    await inWorld({ backend }, async ({ founder, server }) => {
      const ids: string[] = [];
      let armed = false;
      founder.proxy.choose(({ path }) => {
        const drop = armed && isPush(path);
        if (drop) armed = false;
        return { kind: drop ? "drop-answer" : "pass" };
      });
      for (let round = 0; round < drops; round++) {
        armed = true;
        ids.push(...(await append(founder, round, 1)));
        await founder.ask("sync");
        await founder.drain();
      }
      expect(founder.proxy.met["drop-answer"]).toBe(drops);
      const held = await founder.ask<EventReceipt[]>("receipts", { ids });
      const log = await server.read();
      expect(log.copiesOf(ids)).toEqual({ once: drops, never: 0, more: 0 });
      // A note that was pushed again is answered with the receipt that it had: none stands there twice.
      expect(log.receiptsOfNotes().filter((count) => count > 1)).toEqual([]);
      for (const { statement, proof } of held) expect(log.leaf(proof.index)).toBe(statement);
    });
  },
);

test.each(sampledBackends)(
  "server errors open the breaker, a probe closes it, nothing is lost ($name)",
  budget,
  async ({ backend }) => {
    const errors = full ? 50 : 8;
    await inWorld({ backend, breakerMs: 250 }, async ({ founder, server }) => {
      let left = errors;
      founder.proxy.choose(() =>
        left > 0 && left-- > 0 ? { kind: "answer", status: 503 } : { kind: "pass" },
      );
      const ids = await append(founder, 1, 25);
      const until = performance.now() + budget.timeout;
      while (performance.now() < until) {
        const report = await founder.ask<SyncReport>("sync");
        if (report.status === "drained") break;
        // An operator who asks again and again does not get past an open breaker; its probe does.
        await sleep(100);
      }
      expect(founder.proxy.met.answer).toBe(errors);
      const [breaker] = await founder.ask<Breaker[]>("breakers");
      expect(breaker?.trips).toBeGreaterThan(0);
      expect(breaker).toMatchObject({ state: "closed", failures: 0 });
      expect((await server.read()).copiesOf(ids)).toEqual({ once: 25, never: 0, more: 0 });
    });
  },
);

test.each(sampledBackends)(
  "over 50 ms and 5 % failures more than 99 % arrive ($name)",
  budget,
  async ({ backend }) => {
    const events = full ? 10_000 : 500;
    await inWorld({ backend }, async ({ founder, server, chance }) => {
      founder.proxy.choose(() => {
        const met = chance.next();
        if (met >= 0.05) return { kind: "pass", delayMs: 50 };
        return met < 0.025 ? { kind: "refuse", delayMs: 50 } : { kind: "drop-answer", delayMs: 50 };
      });
      const before = await founder.ask<Used>("used");
      const began = performance.now();
      const ids: string[] = [];
      for (let at = 0; at < events; at += 100) {
        ids.push(...(await append(founder, at, 100)));
        await founder.ask("sync");
      }
      await founder.drain();
      const seconds = (performance.now() - began) / 1_000;
      const after = await founder.ask<Used>("used");
      const { once, never, more } = (await server.read()).copiesOf(ids);
      const { requests, up, down } = founder.proxy.traffic;
      const perThousand = (value: number): number => Math.round((value * 1_000) / events);
      console.log(
        `${once} of ${events} delivered (${((100 * once) / events).toFixed(2)} %) in ${seconds.toFixed(1)} s; ` +
          `per 1,000 events: ${perThousand(after.wakeUps - before.wakeUps)} wake-ups, ` +
          `${perThousand(after.cpuMs - before.cpuMs)} ms CPU, ${perThousand(up)} bytes up, ` +
          `${perThousand(down)} down, ${perThousand(requests)} requests`,
      );
      expect(once / events).toBeGreaterThan(0.99);
      expect({ never, more }).toEqual({ never: 0, more: 0 });
      if (full) await reportIdle(founder);
    });
  },
);

interface Used {
  readonly cpuMs: number;
  readonly wakeUps: number;
}

/** What a device costs that is in sync and has nothing to do. */
async function reportIdle(device: Device): Promise<void> {
  const seconds = 60;
  await device.ask("start");
  await sleep(2_000);
  const before = await device.ask<Used>("used");
  const { requests } = device.proxy.traffic;
  await sleep(seconds * 1_000);
  const after = await device.ask<Used>("used");
  console.log(
    `idle for ${seconds} s: ${after.wakeUps - before.wakeUps} wake-ups, ` +
      `${Math.round(after.cpuMs - before.cpuMs)} ms CPU, ${device.proxy.traffic.requests - requests} requests`,
  );
}
