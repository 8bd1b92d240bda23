/**
 * Two nodes on a PostgreSQL that dies, is replaced by its standby, or promises more than it keeps; and nodes that are
 * restarted one after the other while devices go on.
 */
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { EventReceipt, SyncReport } from "@holdfast/core";
import { expect, test } from "vitest";
import {
  asOwner,
  createGate,
  createInstance,
  createStandby,
  type Gate,
} from "../postgres/instance.ts";
import { full, startServer } from "./servers.ts";
import { type Device, inWorld, type World, type WorldOptions } from "./world.ts";

const budget = { timeout: full ? 3_600_000 : 240_000 };
const database = "events";

interface Ground {
  readonly folder: string;
  readonly gate: Gate;
  readonly url: string;
  /** Ended after the test, in reverse order. */
  readonly ends: (() => Promise<unknown>)[];
}

/** A folder for PostgreSQL, and what ends all that a test starts in it. */
async function onGround(work: (ground: Ground) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-pg-"));
  // PostgreSQL runs as somebody else, where tests run as root.
  await chmod(folder, 0o755);
  const gate = createGate(join(folder, "gate"));
  const ends: (() => Promise<unknown>)[] = [
    () => rm(folder, { recursive: true, force: true, maxRetries: 3 }),
  ];
  try {
    await work({ folder, gate, url: gate.url(database), ends });
  } finally {
    for (const end of ends.toReversed()) await end();
  }
}

/** A primary and its standby, the database made, the gate open. */
async function startPair({ folder, gate, ends }: Ground, synchronous: boolean) {
  const names = synchronous ? { synchronous_standby_names: "standby" } : {};
  const primary = createInstance(join(folder, "primary"), names);
  const standby = createStandby(primary.sockets, join(folder, "standby"));
  for (const one of [primary, standby]) ends.push(() => one.stop());
  await primary.start();
  await standby.start();
  gate.lead(primary);
  await prepare(gate);
  return { primary, standby };
}

async function prepare(gate: Gate): Promise<void> {
  await asOwner(gate.url("postgres"), `CREATE DATABASE ${database}`);
}

const on = (url: string, more: WorldOptions = {}): WorldOptions => ({
  backend: "PostgreSQL",
  databaseUrl: url,
  breakerMs: 250,
  ...more,
});

async function append(device: Device, from: number, count: number): Promise<readonly string[]> {
  const notes = Array.from({ length: count }, (_, at) => ({ n: from + at }));
  return (await device.ask<{ ids: string[] }>("append", { notes })).ids;
}

/** Every event is there once, every receipt is a leaf that is still there, and the device finds its log whole. */
async function checkAll({ founder, server }: World, ids: readonly string[]): Promise<void> {
  const receipts = await founder.ask<EventReceipt[]>("receipts", { ids });
  const log = await server.read();
  expect(log.copiesOf(ids)).toEqual({ once: ids.length, never: 0, more: 0 });
  expect(receipts.length).toBe(ids.length);
  for (const { statement, proof } of receipts) expect(log.leaf(proof.index)).toBe(statement);
  expect(log.receiptsOfNotes().filter((count) => count > 1)).toEqual([]);
  expect(await founder.ask("verify")).toMatchObject({ ok: true, problems: [] });
}

test("a killed PostgreSQL has every leaf that was receipted", budget, async () => {
  const rounds = full ? 30 : 2;
  await onGround(async (ground) => {
    const instance = createInstance(join(ground.folder, "primary"));
    ground.ends.push(() => instance.stop());
    await instance.start();
    ground.gate.lead(instance);
    await prepare(ground.gate);
    await inWorld(on(ground.url), async (world) => {
      const { founder, chance } = world;
      const ids: string[] = [];
      for (let round = 0; round < rounds; round++) {
        ids.push(...(await append(founder, round * 100, 20)));
        const syncing = founder.ask<SyncReport>("sync");
        await sleep(chance.below(200));
        await instance.kill();
        await syncing;
        await instance.start();
        await founder.drain();
      }
      await checkAll(world, ids);
      console.log(`${rounds} kills of PostgreSQL: ${ids.length} events, 0 lost`);
    });
  });
});

test("a failover to a synchronous standby loses nothing that was receipted", budget, async () => {
  const rounds = full ? 5 : 1;
  let events = 0;
  for (let round = 0; round < rounds; round++) {
    await onGround(async (ground) => {
      const { primary, standby } = await startPair(ground, true);
      const settings = { HOLDFAST_DURABILITY: "replicated" };
      await inWorld(on(ground.url, { settings }), async (world) => {
        const { founder, chance } = world;
        const ids: string[] = [];
        for (let at = 0; at < 5; at++) {
          ids.push(...(await append(founder, at * 100, 10)));
          await founder.drain();
        }
        ids.push(...(await append(founder, 1_000, 50)));
        const syncing = founder.ask<SyncReport>("sync");
        await sleep(chance.below(200));
        await primary.kill();
        await syncing;
        await asOwner(standby.url("postgres"), "SELECT pg_promote()");
        ground.gate.lead(standby);
        // There is no second machine now: nothing is acknowledged until an operator says that one is enough.
        const late = await append(founder, 2_000, 5);
        expect((await founder.ask<SyncReport>("sync")).status).not.toBe("drained");
        expect((await world.server.read()).copiesOf(late)).toMatchObject({ once: 0 });
        await restartWith(world, { HOLDFAST_DURABILITY: "local" });
        await founder.drain();
        await checkAll(world, [...ids, ...late]);
        events += ids.length + late.length;
      });
    });
  }
  console.log(`${rounds} failovers to a synchronous standby: ${events} events, 0 lost`);
});

test("durability that is promised and not there is refused", budget, async () => {
  await onGround(async (ground) => {
    await startPair(ground, false);
    const settings = { HOLDFAST_DURABILITY: "replicated" };
    const folder = join(ground.folder, "server");
    await expect(startServer(folder, { ...on(ground.url), settings })).rejects.toThrow(
      "durability_unmet",
    );
  });
});

/** Restarts every node with those settings. */
async function restartWith({ server }: World, settings: Readonly<Record<string, string>>) {
  server.settings(settings);
  for (const _ of server.nodes) {
    await server.kill();
    await server.start();
  }
}

test("nodes restarted one after the other fail no acknowledged push", budget, async () => {
  const restarts = full ? 20 : 2;
  const settings = { HOLDFAST_DRAIN_SECONDS: "1" };
  await inWorld({ backend: "PostgreSQL", breakerMs: 250, settings }, async (world) => {
    const { founder, server } = world;
    const ids: string[] = [];
    const took: number[] = [];
    const work = { done: false };
    let failed = 0;
    const restarting = (async () => {
      for (let at = 0; at < restarts; at++) await server.restart(at);
      work.done = true;
    })();
    for (let n = 0; !work.done || n < 10; n++) {
      const began = performance.now();
      ids.push(...(await append(founder, n, 1)));
      for (;;) {
        const { status } = await founder.ask<SyncReport>("sync");
        if (status === "drained") break;
        failed += 1;
        await sleep(10);
      }
      took.push(performance.now() - began);
    }
    await restarting;
    await checkAll(world, ids);
    const stated = (await server.read()).receiptsOfNodes();
    expect(stated.size).toBe(2);
    const sorted = took.toSorted((a, b) => a - b);
    const p = (part: number) => Math.round(sorted[Math.floor(sorted.length * part)] ?? 0);
    console.log(
      `${restarts} restarts under load: ${ids.length} events, 0 lost, ${failed} tries failed; ` +
        `p50 ${p(0.5)} ms, p99 ${p(0.99)} ms`,
    );
  });
});
