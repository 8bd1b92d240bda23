import { describe, expect, it } from "vitest";
import { createChance } from "../chance.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";
import { startProcess } from "./sim-process.ts";

const forever = { at: Number.MAX_SAFE_INTEGER };

/** Steps that plan steps, some of them at one moment. */
async function wander(seed: number): Promise<{ readonly times: number[]; readonly hash: string }> {
  const scheduler = createScheduler(createChance(seed));
  const chance = createChance(seed + 1);
  const times: number[] = [];
  const plan = (depth: number): void => {
    scheduler.after(chance.integer(3), `depth ${depth}`, () => {
      times.push(scheduler.now);
      if (depth > 0) for (let at = 0; at < 3; at++) plan(depth - 1);
    });
  };
  for (let at = 0; at < 5; at++) plan(4);
  expect(await scheduler.run(forever)).toBe("empty");
  return { times, hash: scheduler.hash() };
}

describe("the scheduler", () => {
  it("never goes back, and runs every step", async () => {
    const { times } = await wander(1);
    expect(times).toHaveLength(5 * (1 + 3 + 9 + 27 + 81));
    expect(times).toEqual(times.toSorted((a, b) => a - b));
  });

  it("gives the same trace for the same seed, and another for another", async () => {
    const hashes = await Promise.all([1, 1, 2].map(async (seed) => (await wander(seed)).hash));
    expect(hashes[0]).toBe(hashes[1]);
    expect(hashes[0]).not.toBe(hashes[2]);
  });

  it("orders what is due at one moment as the seed draws it", async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 60; seed++) {
      const scheduler = createScheduler(createChance(seed));
      let order = "";
      for (const name of ["a", "b", "c"]) {
        scheduler.after(5, name, () => {
          order += name;
        });
      }
      await scheduler.run(forever);
      orders.add(order);
    }
    expect(orders.size).toBe(6);
  });

  it("lets promises run on between two steps, forgets what was cancelled, and stops in time", async () => {
    const scheduler = createScheduler(createChance(3));
    const seen: string[] = [];
    scheduler.after(1, "first", () => {
      void Promise.resolve()
        .then(() => undefined)
        .then(() => seen.push("settled"));
    });
    scheduler.after(2, "second", () => seen.push("second"));
    scheduler.after(2, "cancelled", () => seen.push("cancelled"))();
    scheduler.after(9, "late", () => seen.push("late"));
    expect(await scheduler.run({ at: 5 })).toBe("time");
    expect(seen).toEqual(["settled", "second"]);
    expect(scheduler.now).toBe(5);
  });
});

function start(scheduler: Scheduler, offset = 0, drift = 0) {
  const wall = { offset, drift };
  return { wall, it: startProcess({ name: "a/1", scheduler, wall, running: new Set() }) };
}

describe("a simulated process", () => {
  it("has a wall clock that jumps and a clock that does not", async () => {
    const scheduler = createScheduler(createChance(1));
    const { wall, it: process } = start(scheduler, 1_000, 0.01);
    await scheduler.run({ at: 100 });
    scheduler.after(100, "later", () => undefined);
    await scheduler.run(forever);
    expect(process.clock.monotonic()).toBeCloseTo(101);
    expect(process.clock.now()).toBe(1_101);
    wall.offset -= 86_400_000;
    expect(process.clock.now()).toBe(1_101 - 86_400_000);
    expect(process.clock.monotonic()).toBeCloseTo(101);
  });

  it("gets nothing once it is dead, and everything later while it is paused", async () => {
    const scheduler = createScheduler(createChance(1));
    const { it: process } = start(scheduler);
    const seen: string[] = [];
    process.timers.after(10, () => seen.push("due while paused"));
    process.timers.after(30, () => seen.push("due when dead"));
    process.atDeath(() => seen.push("buried"));
    process.pause();
    await scheduler.run({ at: 20 });
    expect(seen).toEqual([]);
    process.resume();
    await scheduler.run({ at: 25 });
    process.kill();
    process.deliver("answer", () => seen.push("answer"));
    await scheduler.run(forever);
    expect(seen).toEqual(["due while paused", "buried"]);
    expect(process.identity.isGone("a/1")).toBe(true);
  });
});
