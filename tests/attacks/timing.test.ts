/**
 * Row 28, for every route: how long it takes says no more than what is answered. What is another's and what is not
 * there take the same time, but for less than a look-up that only one of both makes; such a look-up is found. In
 * `npm test` 40 pairs of requests each may show no difference; with `HOLDFAST_FULL=1` 2,000 or more show that there
 * is none.
 */
import { setTimeout as wait } from "node:timers/promises";
import type { ServerReads, ServerStore } from "@holdfast/server";
import { createChance } from "@holdfast/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Attack, attacks, grounds, type Others } from "./others.ts";
import { classMs, compared, compareTimes, type Comparison } from "./timing.ts";

const full = process.env["HOLDFAST_FULL"] === "1";
const least = full ? 2_000 : 40;
const most = full ? 20_000 : least;
const verdicts = full ? ["alike"] : ["alike", "open"];
/** What a look-up costs that is to be found: in the short run one that few pairs show on a loaded machine too. */
const plantedMs = full ? 2 : 5;
const endless = { perSecond: 1_000_000, burst: 1_000_000_000 };
const bounds = { addressRate: endless, deviceRate: endless };

/** Foreign minus absent, to the last byte of the answer. */
function times(
  here: Others,
  { foreign, absent }: Attack,
  bounded: { readonly seed: number; readonly most: number },
): Promise<Comparison> {
  const chance = createChance(bounded.seed);
  const whole = (ask: Attack["foreign"]) => async () => (await ask(here)).arrayBuffer();
  return compareTimes(whole(foreign), whole(absent), { ...bounded, chance, least });
}

describe.each(grounds)("row 28: what is another's takes no other time, on $name", (ground) => {
  let here: Others;
  const seen: Comparison[] = [];
  beforeAll(async () => {
    here = await ground.start({ bounds });
  });
  afterAll(async () => {
    await here.end();
    const medians = seen.map(({ medianMs }) => Math.abs(medianMs));
    const pairs = seen.reduce((sum, each) => sum + each.pairs, 0);
    console.log(
      `${ground.name}: ${seen.length} comparisons, ${pairs} pairs, ` +
        `largest median difference ${Math.max(...medians).toFixed(3)} ms`,
    );
  });

  it.each(attacks.map((attack, at) => [attack.route, at, attack] as const))(
    "%s, attack %i",
    { timeout: 1_800_000 },
    async (_route, at, attack) => {
      const comparison = await times(here, attack, { seed: at, most });
      seen.push(comparison);
      expect(verdicts, JSON.stringify(comparison)).toContain(comparison.verdict);
    },
  );
});

describe("a look-up that only what is another's costs", () => {
  it(`is found: ${plantedMs} ms`, { timeout: 1_800_000 }, async () => {
    const planted = { id: "" };
    const ground = grounds.find(({ name }) => name === "PostgreSQL");
    const here = await ground?.start({ bounds, through: (store) => slowed(store, planted) });
    if (here === undefined) throw new Error("there is no such ground");
    try {
      planted.id = here.theirs.device;
      const revoke = attacks.find(({ route }) => route === "revoke");
      expect(revoke && (await times(here, revoke, { seed: 1, most: 20_000 }))).toMatchObject({
        verdict: "apart",
      });
    } finally {
      await here.end();
    }
  });
});

/** Looks that id up somewhere else too, whenever it is asked for. */
function slowed(store: ServerStore, planted: { readonly id: string }): ServerStore {
  const over = <Reads extends ServerReads>(reads: Reads): Reads =>
    new Proxy(reads, {
      get(target, name) {
        const call = target[name as keyof Reads] as (...given: unknown[]) => unknown;
        return (...given: unknown[]) =>
          given.includes(planted.id) ? wait(plantedMs).then(() => call(...given)) : call(...given);
      },
    });
  return {
    ...store,
    read: (tenant, work, seen) => store.read(tenant, (reads) => work(over(reads)), seen),
    write: (tenant, work) => store.write(tenant, (tx) => work(over(tx))),
  };
}

describe("the comparison", () => {
  const chance = createChance(5);
  /** Mostly short, now and then long: what a loaded machine makes of a request. */
  const noise = (): number => (chance.oneIn(20) ? chance.integer(100) : chance.integer(30) / 10);
  const pairs = (count: number, moreMs: number) =>
    Array.from({ length: count }, () => noise() + moreMs - noise());

  it("sees no difference where there is none, and one of two milliseconds, through noise", () => {
    expect(compared(pairs(5_000, 0))).toMatchObject({ verdict: "alike" });
    expect(compared(pairs(5_000, 2))).toMatchObject({ verdict: "apart" });
    expect(compared(pairs(5_000, -2))).toMatchObject({ verdict: "apart" });
    expect(compared(pairs(5_000, classMs))).toMatchObject({ verdict: "open" });
  });

  it("finds a plain look-up in the pairs of the short run, and says nothing of a difference by chance", () => {
    expect(compared(pairs(40, 5))).toMatchObject({ verdict: "apart" });
    expect(compared(pairs(40, -5))).toMatchObject({ verdict: "apart" });
    expect(compared(pairs(40, 0)).verdict).not.toBe("apart");
  });

  it("judges nothing by few pairs", () => {
    expect(compared(pairs(20, 50))).toMatchObject({ verdict: "open" });
    expect(compared([])).toMatchObject({ verdict: "open" });
  });
});
