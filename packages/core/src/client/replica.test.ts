import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createNoteRegistry,
  createReferenceServer,
  createTestProcess,
  createTestStore,
  type ReferenceServer,
  type TestStore,
} from "@holdfast/testkit";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { silentObserver } from "../telemetry/observer.ts";
import type { PushAnswer } from "../sync/messages/push.ts";
import type { PushBounds } from "../sync/sync-store.ts";
import { storeOver } from "./store.ts";
import { StoreLife } from "./store-life.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-replica-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
let files = 0;

const tenant = "abcdefghijklmnopqrstuA";
const bounds: PushBounds = { bodies: 64, bytes: limits.pushBytesMax, leaves: 131_072 };
const page = { events: 1_000, bytes: limits.pullBytesMax };

/** A device: a store with its life, opened anew at will. */
async function device(place = "/test") {
  files += 1;
  const path = join(folder, `${files}.db`);
  const clock = createManualClock();
  const ports = {
    crypto,
    random: systemRandom,
    clock,
    timers: clock,
    openDriver: (_: Uint8Array, options: { readonly readOnly: boolean }) =>
      openPlainSqlite({ path, ...options }),
  };
  const test = await createTestStore(ports, { tenant, founder: "f".repeat(22) });
  test.place = { folder: place, identity: "1" };
  const keyring = await test.openKeyring();
  keyring.addPseudonymKey(new Uint8Array(32).fill(7));
  keyring[Symbol.dispose]();
  return { test, clock, path, ...(await openAgain(test, ports)) };
}

async function openAgain(
  test: TestStore,
  ports: Pick<ConstructorParameters<typeof StoreLife>[0], "clock" | "timers">,
) {
  const life = new StoreLife({
    ...ports,
    crypto,
    random: systemRandom,
    observer: silentObserver,
    process: createTestProcess(),
    keyring: await test.openKeyring(),
    medium: test.medium,
    registry: createNoteRegistry(),
    projections: [],
    app: "test",
    readOnly: false,
    acceptRollback: false,
  });
  await life.start();
  return { life, sync: life.sync, store: storeOver(life) };
}

type Device = Awaited<ReturnType<typeof device>>;

function serverFor(now = () => 1_000): ReferenceServer {
  return createReferenceServer({ crypto, tenant, now });
}

async function enrol({ sync }: Device, server: ReferenceServer): Promise<void> {
  const answer = server.enrol(sync.enrolment());
  await sync.enrolled("https://server.test", server.hello(), answer, server.fingerprint);
}

/** Pushes until nothing is due; what each exchange came to. */
async function pushAll({ sync }: Device, server: ReferenceServer, wish = bounds) {
  const outcomes = [];
  for (let times = 0; times < 100; times++) {
    const plan = await sync.planPush(wish);
    if (plan === undefined) return outcomes;
    outcomes.push(await sync.takePush(plan, server.push(plan.request)));
  }
  throw new Error("pushing does not end");
}

async function pullAll({ sync, store }: Device, server: ReferenceServer, wish = page) {
  let events = 0;
  for (let times = 0; times < 200; times++) {
    const request = sync.planPull(wish);
    if (request === undefined) return events;
    const outcome = await sync.takePull(request, server.pull(store.status().device, request));
    if (outcome.status !== "stored") throw new Error(outcome.code);
    events += outcome.events;
    if (!outcome.more) return events;
  }
  throw new Error("pulling does not end");
}

describe("a replica", () => {
  it("has everything receipted, and another replica pulls and verifies it", async () => {
    const server = serverFor();
    const a = await device();
    const b = await device();
    await enrol(a, server);
    await enrol(b, server);
    for (let times = 0; times < 5; times++) {
      await a.store.append([note("ada", `${times}`), note(`bob ${times}`, "x")]);
    }
    expect(a.store.verify().problems).toEqual([]);
    const outcomes = await pushAll(a, server);
    expect(outcomes.map(({ status }) => status)).toEqual(["receipted"]);
    expect(a.sync.watermarks()).toMatchObject({ waiting: 0, receiptedSize: 11, owed: [] });
    expect(a.store.verify().problems).toEqual([]);
    expect(await pullAll(b, server)).toBe(11);
    expect(await pullAll(b, server)).toBe(0);
    await b.store.append(note("ada", "seen"));
    expect(b.store.read({ type: "NoteTaken" }).at(-1)?.header.seen?.n).toBeGreaterThan(0);
    expect(b.store.history("ada").at(-1)?.concurrentWith).toEqual([]);
    expect(b.store.verify().problems).toEqual([]);
    await a.life.close();
    await b.life.close();
  });

  it("takes an urgent event behind many others in one exchange", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    for (let times = 0; times < 10; times++) {
      await a.store.append(Array.from({ length: 50 }, (_, at) => note(`s${times}-${at}`, "x")));
    }
    await a.store.append(note("fall", "now", { lane: "urgent" }));
    const plan = await a.sync.planPush(bounds);
    if (plan === undefined) throw new Error("nothing to push");
    expect(plan.urgent).toBe(true);
    const answer = server.push(plan.request);
    expect(await a.sync.takePush(plan, answer)).toMatchObject({ status: "receipted", more: true });
    expect(server.events.some(({ index }) => index === 501)).toBe(true);
    await pushAll(a, server);
    expect(a.sync.watermarks()).toMatchObject({ waiting: 0, owed: [], acknowledgedThrough: 502 });
    expect([...server.placed.values()].every((times) => times === 1)).toBe(true);
    await a.life.close();
  });

  it("opens an incarnation when its copy has gone on before", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await a.store.append([note("x", "1"), note("x", "2")]);
    const other = serverFor();
    await pushAll(a, server);
    expect(other.events).toEqual([]);
    await a.life.close();
  });

  it("pushes again what the server has lost", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    const backup = server.copy();
    await a.store.append(note("x", "2"));
    await pushAll(a, server);
    await a.store.append(note("x", "3"));
    const plan = await a.sync.planPush(bounds);
    if (plan === undefined) throw new Error("nothing to push");
    const behind = backup.push(plan.request);
    expect(behind).toMatchObject({ status: "behind", size: 2 } satisfies Partial<PushAnswer>);
    expect(await a.sync.takePush(plan, behind)).toEqual({ status: "replan" });
    await a.life.close();
  });
});
