import {
  createChance,
  createFakeTransport,
  createManualClock,
  createMemorySyncServer,
  createMemorySyncStore,
  createRecordingObserver,
  type Fate,
  type FakeCall,
  settle,
} from "@holdfast/testkit";
import { afterEach, describe, expect, test } from "vitest";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { createAbort } from "./abort.ts";
import { createSyncEngine, type SyncOptions } from "./create-engine.ts";
import type { SyncEngine } from "./engine.ts";
import type { EndpointBreaker } from "./exchange.ts";

const engines: SyncEngine[] = [];

afterEach(async () => {
  for (const engine of engines.splice(0)) await engine.close();
});

interface Parts {
  readonly fate?: (call: FakeCall) => Fate;
  readonly options?: SyncOptions;
  readonly breaker?: EndpointBreaker;
  readonly enrolled?: boolean;
  readonly limits?: Parameters<typeof createMemorySyncServer>[0]["hello"];
}

const alwaysClosed: EndpointBreaker = {
  admit: () => ({ admitted: true, probe: false }),
  ended: () => undefined,
};

function made(parts: Parts = {}) {
  const clock = createManualClock();
  const random = createChance(7);
  const observer = createRecordingObserver();
  const store = createMemorySyncStore({ clock, enrolled: parts.enrolled ?? true });
  const server = createMemorySyncServer({ clock, hello: parts.limits ?? {} });
  let fate = parts.fate ?? (() => "answered" as const);
  const transport = createFakeTransport({
    over: server.transport,
    timers: clock,
    fate: (call) => fate(call),
  });
  const engine = createSyncEngine({
    store,
    transport,
    breaker: parts.breaker ?? alwaysClosed,
    clock,
    timers: clock,
    random,
    observer,
    options: parts.options ?? {},
  });
  engines.push(engine);
  const suffer = (next: (call: FakeCall) => Fate): void => {
    fate = next;
  };
  return { clock, observer, store, server, engine, suffer };
}

/** Lets what is ready run; no time passes. */
async function breathe(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

async function pass(clock: ReturnType<typeof createManualClock>, milliseconds: number) {
  for (let passed = 0; passed < milliseconds; passed += 250) {
    clock.advance(250);
    await breathe();
  }
}

const ones = (count: number): readonly number[] => Array.from({ length: count }, (_, at) => at + 1);

describe("syncNow", () => {
  test("pushes and pulls until nothing is left, and leaves nothing running", async () => {
    const { store, server, engine, clock } = made();
    store.record(500);
    server.publish(2_500);
    const report = await settle(clock, engine.syncNow());
    expect(report).toEqual({
      pushed: 500,
      pulled: 2_500,
      rejected: 0,
      status: "drained",
      failure: undefined,
    });
    expect(store.delivered).toEqual(ones(500));
    expect(store.pulled).toEqual(ones(2_500));
    expect(engine.state()).toMatchObject({ push: "stopped", pull: "stopped" });
    expect(clock.pending).toBe(0);
    expect(server.calls("token")).toBe(1);
  });

  test("a push that fails does not keep the pull from its events", async () => {
    const { store, server, engine, clock } = made({
      fate: ({ method }) => (method === "push" ? "dropped" : "answered"),
    });
    store.record(3);
    server.publish(10);
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ status: "failed", pulled: 10, failure: "network_unreachable" });
    expect(store.leased).toBe(0);
    expect(store.watermarks().waiting).toBe(3);
  });

  test("rejected bodies do not hold back the others", async () => {
    const { store, server, engine, clock } = made();
    store.record(5);
    server.reject(2, 4);
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ pushed: 3, rejected: 2 });
    expect(store.delivered).toEqual([1, 3, 5]);
    expect(store.dead).toEqual([2, 4]);
  });

  test("a store that is not enrolled asks for it and sends nothing", async () => {
    const { store, server, engine, clock } = made({ enrolled: false });
    store.record(1);
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ status: "needs-auth", failure: "sync_not_enrolled" });
    expect(server.calls("hello")).toBe(0);
  });

  test("ends at the signal, gives its lease back, and goes on later where it was", async () => {
    const { store, engine, clock, suffer } = made({
      fate: ({ method }) => (method === "push" ? "hangs" : "answered"),
    });
    store.record(3);
    const abort = createAbort();
    const running = engine.syncNow(abort.signal);
    await breathe();
    expect(store.leased).toBe(3);
    abort.abort();
    expect(await settle(clock, running)).toMatchObject({ status: "cancelled" });
    expect(store.leased).toBe(0);
    suffer(() => "answered");
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "drained", pushed: 3 });
  });
});

describe("tokens", () => {
  test("a refused token is replaced once, for both lanes together", async () => {
    const { store, server, engine, clock } = made();
    await settle(clock, engine.syncNow());
    server.expireTokens();
    store.record(3);
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ status: "drained", pushed: 3 });
    expect(server.calls("token")).toBe(2);
    expect(store.attempts).toBe(0);
  });

  test("refused again: needs-auth, and the outbox is as it was", async () => {
    const { store, server, engine, clock, observer } = made();
    await settle(clock, engine.syncNow());
    store.record(3);
    server.expireTokens();
    server.refuseDevice(true);
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "needs-auth" });
    expect(store.watermarks().waiting).toBe(3);
    expect([store.attempts, store.leased, store.dead.length]).toEqual([0, 0, 0]);
    expect(observer.total("auth_refreshes", { result: "refused" })).toBeGreaterThan(0);
    server.refuseDevice(false);
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "drained", pushed: 3 });
  });

  test("a device clock that is years off changes nothing", async () => {
    for (const off of [-20, 20]) {
      const { store, engine, clock } = made();
      clock.setWall(clock.now() + off * 365 * 86_400_000);
      store.record(1);
      expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "drained" });
    }
  });

  test("a server with another key gets neither assertion nor token", async () => {
    const { store, server, engine, clock } = made();
    const real = store.server;
    Object.assign(store, { server: () => ({ ...real(), key: "b3RoZXI=" }) });
    store.record(1);
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ status: "halted", failure: "server_key_changed" });
    expect(server.calls("token")).toBe(0);
  });
});

describe("sizes", () => {
  test("an exchange that is too large is halved until it goes through", async () => {
    const { store, server, engine, clock } = made();
    store.record(200, 1_000);
    server.takeAtMost(7_000);
    const report = await settle(clock, engine.syncNow());
    expect(report).toMatchObject({ status: "drained", pushed: 200 });
    expect(store.delivered).toEqual(ones(200));
  });

  test("one body that is too large alone goes to the dead letters, the others are delivered", async () => {
    const { store, server, engine, clock } = made();
    store.record(3, 100);
    store.record(1, 50_000);
    store.record(3, 100);
    server.takeAtMost(10_000);
    await settle(clock, engine.syncNow());
    expect(store.dead).toEqual([4]);
    expect(store.delivered.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 5, 6, 7]);
  });

  test("what the server advertises wins", async () => {
    const { store, engine, clock } = made({ limits: { pushBodies: 10 } });
    store.record(100);
    await settle(clock, engine.syncNow());
    expect(Math.max(...store.bounds)).toBe(10);
  });

  test("silence is ended after the bound and answered by fewer at once", async () => {
    const { store, engine, clock, suffer } = made({
      fate: ({ method }) => (method === "push" ? "hangs" : "answered"),
    });
    store.record(64);
    const running = engine.syncNow();
    await breathe();
    clock.advance(limits.exchangeMsMax);
    expect(await settle(clock, running)).toMatchObject({ failure: "network_timeout" });
    suffer(() => "answered");
    await settle(clock, engine.syncNow());
    expect(store.bounds[1]).toBe(32);
  });
});

describe("automatic sync", () => {
  test("a commit is pushed, a hint is pulled, without a timer", async () => {
    const { store, server, engine } = made();
    engine.start();
    await breathe();
    store.record(2);
    engine.wake();
    server.publish(3);
    await breathe();
    expect(store.delivered).toEqual([1, 2]);
    expect(store.pulled).toEqual([1, 2, 3]);
    expect(engine.state()).toMatchObject({ push: "idle", pull: "idle", connectivity: "online" });
  });

  test("without a tail it polls, and opens the tail again", async () => {
    const { store, server, engine, clock, suffer } = made();
    engine.start();
    await breathe();
    expect(server.tails).toBe(1);
    suffer(({ method }) => (method === "tail" ? "dropped" : "answered"));
    server.endTails();
    server.publish(1);
    await pass(clock, limits.pollMs * 1.2);
    expect(store.pulled).toEqual([1]);
    suffer(() => "answered");
    await pass(clock, limits.backoffMostMs);
    expect(server.tails).toBe(1);
  });

  test("backs off while everything fails, and recovers by itself", async () => {
    const { store, engine, clock, suffer, observer } = made({ fate: () => "dropped" });
    store.record(1);
    engine.start();
    await pass(clock, 60_000);
    expect(engine.state()).toMatchObject({ push: "backing-off", connectivity: "offline" });
    const tries = observer.total("sync_backoffs", { lane: "push" });
    expect(tries).toBeGreaterThan(2);
    expect(tries).toBeLessThan(40);
    suffer(() => "answered");
    await pass(clock, limits.backoffMostMs * 1.1);
    expect(store.delivered).toEqual([1]);
  });

  test("an offline hint stops nothing", async () => {
    const { store, engine } = made();
    engine.start();
    await breathe();
    engine.connectivity("offline");
    store.record(1);
    engine.wake();
    await breathe();
    expect(store.delivered).toEqual([1]);
  });

  test("an online hint ends a backoff, but flapping hints do not make a storm", async () => {
    const { store, engine, suffer, observer } = made({ fate: () => "dropped" });
    store.record(1);
    engine.start();
    await breathe();
    const before = observer.total("sync_backoffs");
    for (let flap = 0; flap < 50; flap++) {
      engine.connectivity("offline");
      engine.connectivity("online");
      await breathe();
    }
    expect(observer.total("sync_backoffs") - before).toBeLessThanOrEqual(2);
    suffer(() => "answered");
  });

  test("a lost lease is an ordinary outcome", async () => {
    const { store, engine, clock, suffer } = made({
      fate: ({ method }) => (method === "push" ? { delayMs: 1_000 } : "answered"),
    });
    store.record(3);
    engine.start();
    await breathe();
    store.takeLeasesOver();
    suffer(() => "answered");
    await pass(clock, 5_000);
    expect(store.delivered).toEqual([1, 2, 3]);
  });

  test("an open breaker is waited for, and a probe of the other lane is enough", async () => {
    let open = true;
    const { store, engine, clock } = made({
      breaker: {
        admit: () =>
          open
            ? { admitted: false, retryAt: clock.now() + 10_000 }
            : { admitted: true, probe: true },
        ended: () => undefined,
      },
    });
    store.record(1);
    engine.start();
    await breathe();
    expect(engine.state()).toMatchObject({ push: "open", pull: "open" });
    open = false;
    await pass(clock, 10_000);
    expect(store.delivered).toEqual([1]);
  });

  test("cancel ends what is under way, and start begins again", async () => {
    const { store, engine, suffer } = made({
      fate: ({ method }) => (method === "push" ? "hangs" : "answered"),
    });
    store.record(1);
    engine.start();
    await breathe();
    const cancelled = engine.cancel();
    engine.start();
    suffer(() => "answered");
    await cancelled;
    await breathe();
    expect(store.delivered).toEqual([1]);
    await engine.cancel();
    expect(engine.state()).toMatchObject({ push: "stopped", pull: "stopped" });
    store.record(1);
    engine.wake();
    await breathe();
    expect(store.delivered).toEqual([1]);
  });

  test("listeners hear of changes of state, in order", async () => {
    const { engine } = made();
    const heard: string[] = [];
    engine.subscribe(({ push }) => {
      if (heard.at(-1) !== push) heard.push(push);
    });
    engine.start();
    await breathe();
    expect(heard).toEqual(["running", "idle"]);
  });

  test("the watchdog restarts a lane that forgot itself, and counts it", async () => {
    const { store, engine, clock, observer } = made();
    const { after } = clock;
    let swallow = false;
    // A timer that never fires: what a platform does to a tab in the background.
    clock.after = (milliseconds, run, background) =>
      swallow && milliseconds !== limits.watchdogMs
        ? () => undefined
        : after(milliseconds, run, background);
    engine.start();
    await breathe();
    expect(observer.total("sync_lane_restarts")).toBe(0);
    swallow = true;
    store.record(1);
    await pass(clock, limits.watchdogMs * 2);
    swallow = false;
    expect(store.delivered).toEqual([1]);
  });
});

describe("halt", () => {
  test("a contradiction stops both lanes until a person resumes, restarts included", async () => {
    const parts = made();
    const { store, server, engine, clock, observer } = parts;
    store.record(1);
    store.contradict("server_log_rewound");
    engine.start();
    await breathe();
    expect(engine.state()).toMatchObject({
      push: "halted",
      pull: "halted",
      evidence: "server_log_rewound",
    });
    expect(observer.logged("sync_halted")).toBe(1);
    expect(server.tails).toBe(0);
    const calls = server.calls("push") + server.calls("pull");
    engine.start();
    engine.wake();
    engine.connectivity("online");
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "halted" });
    await pass(clock, limits.backoffMostMs);
    expect(server.calls("push") + server.calls("pull")).toBe(calls);
    await expect(engine.resume("", "looked at it")).rejects.toThrow("sync_reason_missing");
    await engine.resume("admin/1", "the operator restored a backup");
    await pass(clock, 1_000);
    expect(store.resumptions).toEqual([
      { actor: "admin/1", reason: "the operator restored a backup" },
    ]);
    expect(engine.state()).toMatchObject({ evidence: undefined });
    expect(store.delivered).toEqual([1]);
    await expect(engine.resume("admin/1", "again")).rejects.toThrow("sync_not_halted");
  });

  test("goes on when a person has ended the halt in another process", async () => {
    for (const how of ["asked", "watchdog"] as const) {
      const { store, engine, clock } = made();
      store.record(1);
      store.contradict("server_log_rewound");
      engine.start();
      await breathe();
      expect(engine.state().push).toBe("halted");
      await store.resumed("admin/1", "in another process");
      expect(engine.state().evidence).toBe("server_log_rewound");
      if (how === "asked") await settle(clock, engine.syncNow());
      else await pass(clock, limits.watchdogMs * 2);
      expect(engine.state()).toMatchObject({ evidence: undefined, push: "idle" });
      expect(store.delivered).toEqual([1]);
      await expect(engine.resume("admin/1", "again")).rejects.toThrow("sync_not_halted");
    }
  });

  test("a halt that cannot be kept stands until this engine is resumed", async () => {
    const { store, engine, clock } = made();
    Object.assign(store, { halt: () => Promise.reject(new HoldfastError("store_full")) });
    store.record(1);
    store.contradict("server_log_rewound");
    Object.assign(store, { evidence: () => undefined });
    engine.start();
    await breathe();
    expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "halted" });
    await pass(clock, limits.watchdogMs * 2);
    expect(engine.state().push).toBe("halted");
    await engine.resume("admin/1", "looked at it");
    await pass(clock, 1_000);
    expect(store.delivered).toEqual([1]);
  });

  test("an engine over a halted store begins halted", async () => {
    const { store, server, clock, observer } = made();
    Object.assign(store, { evidence: () => "server_log_rewound" });
    const engine = createSyncEngine({
      store,
      transport: server.transport,
      breaker: alwaysClosed,
      clock,
      timers: clock,
      random: createChance(1),
      observer,
    });
    engines.push(engine);
    engine.start();
    await breathe();
    expect(engine.state()).toMatchObject({ push: "halted", pull: "halted" });
    expect(server.calls("hello")).toBe(0);
  });
});

test("a closed engine refuses, and has nothing left running", async () => {
  const { engine, clock } = made();
  engine.start();
  await breathe();
  await engine.close();
  expect(clock.pending).toBe(0);
  await expect(engine.syncNow()).rejects.toThrow(HoldfastError);
  expect(() => {
    engine.start();
  }).toThrow("sync_closed");
});
