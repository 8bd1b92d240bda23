/**
 * Failures, lost answers, silence, delays, expired tokens, lost leases, cancels and restarts in any order, under
 * every interleaving that fast-check's scheduler finds. Whatever happens meanwhile: once the network is well, all
 * is delivered, each event once.
 */
import {
  createChance,
  createFakeTransport,
  createManualClock,
  createMemorySyncServer,
  createMemorySyncStore,
  createRecordingObserver,
  type Fate,
} from "@holdfast/testkit";
import fc from "fast-check";
import { expect, test } from "vitest";
import { HoldfastError } from "../std/errors.ts";
import { createSyncEngine } from "./create-engine.ts";
import { limits } from "../std/limits.ts";
import { closedBreaker, admit, afterAttempt, breakerDefault } from "../outbox/breaker.ts";

const fates: fc.Arbitrary<Fate> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Fate>("answered") },
  fc.constantFrom<Fate>("dropped", "lost", "hangs"),
  fc
    .constantFrom("network_unreachable", "token_refused", "message_too_large", "network_timeout")
    .map((code) => new HoldfastError(code, { status: statusOf(code) })),
  fc.record({
    delayMs: fc.integer({ min: 1, max: 90_000 }),
    fate: fc.constantFrom("answered" as const, "lost" as const),
  }),
);

function statusOf(code: string): number {
  return code === "token_refused" ? 401 : code === "message_too_large" ? 413 : 503;
}

const acts = fc.oneof(
  fc.record({ act: fc.constant("record" as const), count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ act: fc.constant("publish" as const), count: fc.integer({ min: 1, max: 40 }) }),
  fc.record({ act: fc.constant("pass" as const), count: fc.integer({ min: 0, max: 120_000 }) }),
  fc
    .constantFrom(
      "start",
      "cancel",
      "syncNow",
      "abort",
      "restart",
      "expire",
      "leases",
      "online",
      "offline",
      "jump",
      "tails",
      "breathe",
    )
    .map((act) => ({ act: act as string, count: 0 })),
);

async function breathe(turns = 4): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A breaker as the store keeps it, in memory. */
function breakerOver(clock: { now(): number }) {
  let breaker = closedBreaker(clock.now());
  return {
    admit() {
      const verdict = admit(breaker, clock.now(), breakerDefault);
      if (!verdict.admitted) return verdict;
      breaker = verdict.breaker;
      return { admitted: true as const, probe: verdict.probe };
    },
    ended(outcome: Parameters<typeof afterAttempt>[1]) {
      breaker = afterAttempt(breaker, outcome, clock.now(), breakerDefault);
    },
  };
}

/** Store calls that end when the scheduler says so: a process may stand still, or be ended, at every one. */
function scheduled<T extends object>(
  scheduler: fc.Scheduler,
  real: T,
  names: readonly (keyof T)[],
): T {
  const slow = Object.create(real) as T;
  for (const name of names) {
    const call = real[name] as (...parameters: unknown[]) => Promise<unknown>;
    const late = async (...parameters: unknown[]): Promise<unknown> => {
      await scheduler.schedule(Promise.resolve(), `before ${String(name)}`);
      const answer = await call(...parameters);
      await scheduler.schedule(Promise.resolve(), `after ${String(name)}`);
      return answer;
    };
    Object.defineProperty(slow, name, { value: late });
  }
  return slow;
}

function world(scheduler: fc.Scheduler, script: readonly Fate[]) {
  const clock = createManualClock();
  const store = createMemorySyncStore({ clock });
  const server = createMemorySyncServer({ clock });
  const observer = createRecordingObserver();
  let at = 0;
  const state = { well: false };
  const transport = createFakeTransport({
    over: server.transport,
    timers: clock,
    fate: () => (state.well ? "answered" : (script[at++ % script.length] as Fate)),
  });
  const slow = scheduled(scheduler, store, ["planPush", "takePush", "pushFailed", "takePull"]);
  const breaker = breakerOver(clock);
  const engine = () =>
    createSyncEngine({
      store: slow,
      transport,
      breaker,
      clock,
      timers: clock,
      random: createChance(3),
      observer,
    });
  return { clock, store, server, observer, engine, state };
}

type World = ReturnType<typeof world>;

/** Runs what is ready, in an order of the scheduler's, and lets time pass. */
async function drive(scheduler: fc.Scheduler, clock: World["clock"], milliseconds: number) {
  const parts = 8;
  for (let part = 0; part < parts; part++) {
    await breathe();
    while (scheduler.count() > 0) {
      await scheduler.waitOne();
      await breathe(2);
    }
    clock.advance(milliseconds / parts);
  }
  await breathe();
}

test("random failures and cancels at every await lose nothing and deliver nothing twice", async () => {
  const plays = fc.asyncProperty(
    fc.scheduler(),
    fc.array(fates, { minLength: 1, maxLength: 40 }),
    fc.array(acts, { maxLength: 25 }),
    async (scheduler, script, moves) => {
      const parts = world(scheduler, script);
      const { clock, store, server, state } = parts;
      let engine = parts.engine();
      let recorded = 0;
      let published = 0;
      const running: Promise<unknown>[] = [];
      const abort = { aborted: false, listeners: new Set<() => void>() };
      const signal = {
        get aborted() {
          return abort.aborted;
        },
        addEventListener: (_: "abort", listener: () => void) => abort.listeners.add(listener),
      };
      const act: Readonly<Record<string, (count: number) => void>> = {
        record(count) {
          store.record(count);
          recorded += count;
          engine.wake();
        },
        publish(count) {
          server.publish(count);
          published += count;
        },
        start: () => engine.start(),
        cancel: () => running.push(engine.cancel()),
        syncNow: () => running.push(engine.syncNow(signal)),
        abort() {
          abort.aborted = true;
          for (const listener of abort.listeners) listener();
        },
        restart() {
          running.push(engine.close());
          engine = parts.engine();
        },
        expire: () => server.expireTokens(),
        leases: () => store.takeLeasesOver(),
        online: () => engine.connectivity("online"),
        offline: () => engine.connectivity("offline"),
        jump: () => clock.setWall(clock.now() + 3_600_000),
        tails: () => server.endTails(new HoldfastError("network_unreachable")),
        breathe: () => undefined,
        pass: () => undefined,
      };
      for (const { act: name, count } of moves) {
        act[name]?.(count);
        await (name === "pass" ? drive(scheduler, clock, count) : breathe(2));
        if (scheduler.count() > 0) await scheduler.waitOne();
      }
      state.well = true;
      engine.start();
      // The longest waits there are: backoff, breaker, then the poll beside a tail.
      for (let round = 0; round < 8; round++) {
        // A lease that a killed process left behind expires in the end.
        if (round === 4) store.takeLeasesOver();
        await drive(scheduler, clock, limits.backoffMostMs);
      }
      const ones = (count: number) => Array.from({ length: count }, (_, at) => at + 1);
      // One body alone that was refused as too large is held; everything else is delivered, and once.
      const settled = [...store.delivered, ...store.dead].toSorted((a, b) => a - b);
      expect(settled).toEqual(ones(recorded));
      for (const position of store.delivered) expect(server.taken.has(position - 1)).toBe(true);
      expect(store.pulled).toEqual(ones(published));
      expect(parts.observer.total("sync_lane_restarts")).toBe(0);
      running.push(engine.close());
      await drive(scheduler, clock, 1_000);
      await Promise.all(running);
      expect(store.leased).toBe(0);
      expect(clock.pending).toBe(0);
    },
  );
  await fc.assert(plays, { numRuns: 200, endOnFailure: true });
});
