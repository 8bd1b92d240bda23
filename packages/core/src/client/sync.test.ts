import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createFakeTransport,
  createManualClock,
  createNoteDraft as note,
  createReferenceServer,
  type Fate,
  type FakeCall,
  type ReferenceServer,
  settle,
  createTestDevices,
  enrolAt,
  testTenant as tenant,
} from "@holdfast/testkit";
import { afterAll, expect, test } from "vitest";
import { fromBase64url, fromUtf8, utf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Transport } from "../sync/transport.ts";
import { createSyncDesk } from "./create-sync-desk.ts";
import { lifeOf } from "./grant-store.ts";

const crypto = createNodeCrypto();
const devices = createTestDevices({
  crypto,
  random: systemRandom,
  openFile: openPlainSqlite,
  lifeOf,
});
afterAll(() => {
  devices.remove();
});

type Device = Awaited<ReturnType<typeof devices.make>>;

/** The doors of a server that knows who asks by the assertion, whose signature it checks. */
function doorsOf(server: ReferenceServer, of: Pick<Device, "store" | "life">): Partial<Transport> {
  const { device: name } = of.store.status();
  return {
    endpoint: "https://server.test",
    hello: async () => server.hello(),
    async token({ assertion }) {
      const [header = "", claims = "", signature = ""] = assertion.split(".");
      const spki = of.life.deps.keyring.signingKeys().at(-1)?.spki ?? new Uint8Array();
      const signed = utf8(`${header}.${claims}`);
      const bytes = fromBase64url(signature) ?? new Uint8Array();
      expect(JSON.parse(fromUtf8(fromBase64url(header) ?? bytes))).toEqual({
        alg: "EdDSA",
        typ: "JWT",
      });
      expect(crypto.verify("ed25519", spki, signed, bytes)).toBe(true);
      return { accessToken: name, expiresInMs: 60_000 };
    },
    push: async (request) => server.push(request),
    pull: async (request, { token = "" }) => server.pull(token, request),
    // Nothing is granted here: the keys of both are made alike.
    grants: async () => ({ grants: [], more: false }),
    sendGrants: async () => undefined,
    devices: async () => [],
    tail: () => () => undefined,
  };
}

async function enrolled(
  clock: ReturnType<typeof createManualClock>,
  server: ReferenceServer,
  fate: (call: FakeCall) => Fate = () => "answered",
) {
  const made = await devices.make({ clock });
  await enrolAt(server, made);
  const over = doorsOf(server, made) as Transport;
  const engine = made.store.sync(createFakeTransport({ over, timers: clock, fate }));
  return { ...made, engine };
}

test("what one store records another one has, through lost answers, and each event once", async () => {
  const clock = createManualClock();
  const server = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  let pushes = 0;
  const a = await enrolled(clock, server, ({ method }) =>
    method === "push" && (pushes += 1) % 2 === 1 ? "lost" : "answered",
  );
  const b = await enrolled(clock, server);
  for (let times = 0; times < 20; times++) {
    await a.store.append([note("ada", `${times}`), note(`bob ${times}`, "x")]);
  }
  expect(await settle(clock, a.engine.syncNow())).toMatchObject({ status: "failed" });
  for (let times = 0; times < 20 && a.store.status().sync.waiting > 0; times++) {
    clock.advance(1_000);
    await settle(clock, a.engine.syncNow());
  }
  expect(a.store.status()).toMatchObject({ sync: { waiting: 0, owed: [] } });
  expect(Math.max(...server.placed.values())).toBe(1);
  const report = await settle(clock, b.engine.syncNow());
  expect(report).toMatchObject({ status: "drained", failure: undefined });
  expect(b.store.read({ type: "NoteWritten" })).toHaveLength(
    a.store.read({ type: "NoteWritten" }).length,
  );
  for (const { store } of [a, b]) {
    expect(store.verify().problems).toEqual([]);
    await settle(clock, store.close());
  }
});

test("an open store pushes after a commit, and closing it ends its engine", async () => {
  const clock = createManualClock();
  const server = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  const { store, engine } = await enrolled(clock, server);
  engine.start();
  await store.append([note("ada", "1")]);
  for (let turn = 0; turn < 200 && store.status().sync.waiting > 0; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(store.status()).toMatchObject({ sync: { waiting: 0, owed: [] } });
  await settle(clock, store.close());
  await expect(engine.syncNow()).rejects.toThrow("sync_closed");
});

test("endpoints that fail again and again are left alone, and the breaker outlives the engine", async () => {
  const clock = createManualClock();
  const server = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  let calls = 0;
  const { store, engine } = await enrolled(clock, server, () => {
    calls += 1;
    return new HoldfastError("network_unreachable");
  });
  for (let times = 0; times < 8; times++) await settle(clock, engine.syncNow());
  expect(engine.state().lastFailure).toBe("breaker_open");
  const before = calls;
  expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "failed" });
  expect(calls).toBe(before);
  await settle(clock, store.close());
});

test("waits end on a device whose clock is from before 1970", async () => {
  const clock = createManualClock();
  const server = createReferenceServer({ crypto, tenant, now: () => Date.UTC(2026, 0, 1) });
  let down = true;
  const { store, engine } = await enrolled(clock, server, () =>
    down ? new HoldfastError("network_unreachable") : "answered",
  );
  clock.setWall(Date.UTC(1946, 0, 1));
  await store.append([note("ada", "1")]);
  for (let times = 0; times < 8; times++) await settle(clock, engine.syncNow());
  expect(engine.state().lastFailure).toBe("breaker_open");
  down = false;
  clock.advance(600_000);
  expect(await settle(clock, engine.syncNow())).toMatchObject({ status: "drained" });
  await settle(clock, store.close());
});

test("a halt outlives the engine and ends with actor and reason", async () => {
  const clock = createManualClock();
  const server = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  const { store, engine, sync, life } = await enrolled(clock, server);
  await sync.halt("server_log_rewound");
  const next = store.sync(
    createFakeTransport({
      over: doorsOf(server, { store, life }) as Transport,
      timers: clock,
      fate: () => "answered",
    }),
  );
  expect(await settle(clock, next.syncNow())).toMatchObject({ status: "halted" });
  const desk = createSyncDesk(store, () => {
    throw new Error("nothing is asked of a server");
  });
  expect(desk.standing()).toMatchObject({
    state: "halted",
    halt: { code: "server_log_rewound" },
    resumes: [],
  });
  const nobody = settle(clock, desk.resume(" ", "looked at it"));
  await expect(nobody).rejects.toMatchObject({ code: "sync_reason_missing" });
  await settle(clock, desk.resume("admin/1", "the operator restored a backup"));
  expect(desk.standing()).toMatchObject({
    halt: undefined,
    resumes: [
      {
        actor: "admin/1",
        reason: "the operator restored a backup",
        halted: { code: "server_log_rewound" },
      },
    ],
  });
  const again = settle(clock, desk.resume("admin/1", "once more"));
  await expect(again).rejects.toMatchObject({ code: "sync_not_halted" });
  expect(sync.evidence()).toBeUndefined();
  expect(await settle(clock, next.syncNow())).toMatchObject({ status: "drained" });
  expect(engine.state().push).toBe("stopped");
  await settle(clock, store.close());
});

test("archived dead letters leave the outbox after their retention, by the engine; events stay", async () => {
  const clock = createManualClock();
  const server = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  const { store, engine, life } = await enrolled(clock, server);
  server.rules.refuse = ({ seq }) => (seq > 1 ? "event_too_large" : undefined);
  await store.append([note("x", "1"), note("y", "2")]);
  await settle(clock, engine.syncNow());
  const [first] = store.outbox.deadLetters();
  await settle(clock, store.outbox.archive(first?.id ?? ""));
  const letters = (): readonly number[] => [
    store.outbox.deadLetters().length,
    store.outbox.deadLetters({ archived: true }).length,
  ];
  expect(letters()).toEqual([1, 1]);
  clock.advance(limits.deadLetterRetentionMs - limits.purgeEveryMs);
  await settle(clock, engine.syncNow());
  expect(letters()).toEqual([1, 1]);
  clock.advance(limits.purgeEveryMs);
  await settle(clock, engine.syncNow());
  expect(letters()).toEqual([1, 0]);
  expect(store.read({ type: "NoteTaken" })).toHaveLength(2);
  expect(life.current().outbox.check(10)).toEqual([]);
  await settle(clock, store.close());
});
