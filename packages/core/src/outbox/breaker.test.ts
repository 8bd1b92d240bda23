import fc from "fast-check";
import { createNodeCrypto, openSqlite } from "@holdfast/node";
import { createOutboxBench } from "@holdfast/testkit";
import { describe, expect, it } from "vitest";
import {
  admit,
  afterAttempt,
  type AttemptOutcome,
  type Breaker,
  breakerDefault as policy,
  closedBreaker,
} from "./breaker.ts";
import { createBreakers } from "./breakers.ts";
import { failureClasses } from "./retry.ts";

const failing = (times: number, from: Breaker, now = 0): Breaker =>
  Array.from({ length: times }).reduce<Breaker>(
    (breaker) => afterAttempt(breaker, "server", now, policy),
    from,
  );

describe("breaker", () => {
  it("opens at the threshold of the class of the last failure", () => {
    expect(failing(4, closedBreaker(0))).toMatchObject({ state: "closed", failures: 4 });
    expect(failing(5, closedBreaker(0), 7)).toEqual({
      state: "open",
      failures: 5,
      trips: 1,
      changedAt: 7,
      retryAt: 7 + policy.cooldownFirstMs,
    });
    const busy = afterAttempt(failing(4, closedBreaker(0)), "busy", 0, policy);
    expect(busy).toMatchObject({ state: "closed", failures: 5 });
  });

  it("does not wait longer for late failures of attempts that began before it opened", () => {
    const open = failing(5, closedBreaker(0));
    expect(failing(3, open, 9_000)).toBe(open);
  });

  it("admits nothing while open, then one probe, whose answer closes it", () => {
    const open = failing(5, closedBreaker(0));
    const at = policy.cooldownFirstMs;
    expect(admit(open, at - 1, policy)).toEqual({ admitted: false, retryAt: at });
    const probe = admit(open, at, policy);
    expect(probe).toMatchObject({ admitted: true, probe: true });
    if (!probe.admitted) return;
    const end = at + policy.probeMs;
    expect(admit(probe.breaker, at, policy)).toEqual({ admitted: false, retryAt: end });
    // A probe that never ended is given up.
    expect(admit(probe.breaker, end, policy)).toMatchObject({ admitted: true, probe: true });
    expect(afterAttempt(probe.breaker, "answered", at + 5, policy)).toEqual({
      ...closedBreaker(at + 5),
      trips: 1,
    });
  });

  it("waits twice as long after each failed probe, up to the cap", () => {
    const waits: number[] = [];
    let breaker = failing(5, closedBreaker(0));
    for (let times = 0; times < 6; times++) {
      const now = breaker.retryAt ?? 0;
      const probe = admit(breaker, now, policy);
      if (!probe.admitted) throw new Error("a probe was due");
      breaker = afterAttempt(probe.breaker, "server", now, policy);
      waits.push((breaker.retryAt ?? 0) - now);
    }
    expect(waits).toEqual([60_000, 120_000, 240_000, 300_000, 300_000, 300_000]);
    expect(breaker.trips).toBe(7);
  });

  it("takes any answer for a sign of life, and what happened here for none", () => {
    const open = failing(5, closedBreaker(0));
    for (const outcome of ["answered", "auth", "size", "refused", "stale"] as const)
      expect(afterAttempt(open, outcome, 1, policy).state).toBe("closed");
    for (const outcome of ["cancelled", "local"] as const) {
      expect(afterAttempt(open, outcome, 1, policy)).toBe(open);
      const probe = admit(open, policy.cooldownFirstMs, policy);
      if (!probe.admitted) throw new Error("a probe was due");
      const after = afterAttempt(probe.breaker, outcome, 9, policy);
      expect(after).toMatchObject({ state: "open", retryAt: 9 });
    }
  });

  it("does not wait for years after the clock went back", () => {
    const open = failing(5, closedBreaker(0), 1e12);
    expect(admit(open, 1e11, policy)).toMatchObject({ admitted: true, probe: true });
  });

  it("never has two probes under way, and never keeps an endpoint out for longer than its cap", () => {
    const outcome = fc.constantFrom<AttemptOutcome>("answered", "cancelled", ...failureClasses);
    const step = fc.record({ wait: fc.integer({ min: 0, max: 400_000 }), outcome });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let breaker = closedBreaker(0);
        let now = 0;
        for (const { wait, outcome: ended } of steps) {
          now += wait;
          const verdict = admit(breaker, now, policy);
          if (!verdict.admitted) {
            expect(verdict.retryAt).toBeGreaterThan(now);
            expect(verdict.retryAt - now).toBeLessThanOrEqual(policy.cooldownMostMs);
            continue;
          }
          expect(verdict.probe).toBe(breaker.state !== "closed");
          if (verdict.probe) {
            const second = admit(verdict.breaker, now, policy);
            expect(second.admitted).toBe(false);
          }
          const after = afterAttempt(verdict.breaker, ended, now, policy);
          expect(after.trips - breaker.trips).toBe(
            after.state === "open" && after.failures > breaker.failures ? 1 : 0,
          );
          expect(after.state === "half-open").toBe(false);
          breaker = after;
        }
      }),
    );
  });
});

function made() {
  const driver = openSqlite({
    path: ":memory:",
    pageKey: undefined,
    readOnly: false,
    create: true,
  });
  return createOutboxBench(createNodeCrypto(), driver);
}

describe("breakers of a store", () => {
  it("keeps each endpoint's across restarts, counts and logs", () => {
    const bench = made();
    const open = () => createBreakers(bench);
    for (let times = 0; times < 5; times++) {
      expect(open().admit("https://a")).toEqual({ admitted: true, probe: false });
      open().ended("https://a", "network");
    }
    const retryAt = bench.clock.now() + policy.cooldownFirstMs;
    expect(open().admit("https://a")).toEqual({ admitted: false, retryAt });
    expect(open().admit("https://b")).toEqual({ admitted: true, probe: false });
    bench.clock.advance(policy.cooldownFirstMs);
    expect(open().admit("https://a")).toEqual({ admitted: true, probe: true });
    expect(open().admit("https://a")).toMatchObject({ admitted: false });
    expect(open().list()).toMatchObject([{ endpoint: "https://a", state: "half-open" }]);
    open().ended("https://a", "answered");
    expect(open().get("https://a")).toMatchObject({ state: "closed", failures: 0, trips: 1 });
    expect(bench.observer.total("breaker_trips")).toBe(1);
    expect(bench.observer.logged("breaker_opened")).toBe(1);
    expect(bench.observer.logged("breaker_closed")).toBe(1);
  });

  it("takes thresholds from configuration and refuses what cannot be one", () => {
    const { driver, clock } = made();
    const eager = createBreakers({ driver, clock, options: { thresholds: { server: 1 } } });
    expect(eager.ended("e", "server").state).toBe("open");
    for (const options of [{ probeMs: 0 }, { thresholds: { server: -1 } }, { cooldownMostMs: 0.5 }])
      expect(() => createBreakers({ driver, clock, options })).toThrow(/^outbox_option_invalid/);
  });
});
