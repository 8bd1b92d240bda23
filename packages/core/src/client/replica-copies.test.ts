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
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { limits } from "../std/limits.ts";
import { silentObserver } from "../telemetry/observer.ts";
import type { PushBounds } from "../sync/sync-store.ts";
import { storeOver } from "./store.ts";
import { StoreLife } from "./store-life.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-copies-"));
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

/** The same store file under the same keyring and marks: a copy that nobody noticed. */
async function cloneOf(of: Device): Promise<Device> {
  files += 1;
  const path = join(folder, `${files}.db`);
  // An idle writer has given its lease back.
  of.clock.advance(2 * limits.leaseIdleMs);
  of.life.current().driver.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
  copyFileSync(of.path, path);
  const { marks, medium } = of.test;
  const copies = new Map(
    [...marks].map(([name, mark]) => {
      const { slots } = mark;
      return [name, { ...mark, slots: slots && ([...slots] satisfies typeof slots) }] as const;
    }),
  );
  const test: TestStore = {
    ...of.test,
    medium: {
      openDriver: (_, options) => openPlainSqlite({ path, ...options }),
      place: medium.place,
      markFile: (incarnation) => copies.get(incarnation) ?? medium.markFile(`copy/${incarnation}`),
    },
  };
  const ports = { clock: of.clock, timers: of.clock };
  return { ...of, test, path, ...(await openAgain(test, ports)) };
}

/** Keeps the file as it is now; what it answers puts it back. */
async function snapshotOf(of: Device): Promise<() => void> {
  await Promise.resolve();
  of.clock.advance(2 * limits.leaseIdleMs);
  of.life.current().driver.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
  copyFileSync(of.path, `${of.path}.kept`);
  return () => {
    for (const end of ["-wal", "-shm"]) rmSync(`${of.path}${end}`, { force: true });
    copyFileSync(`${of.path}.kept`, of.path);
  };
}

async function reopened(of: Device): Promise<Device> {
  return { ...of, ...(await openAgain(of.test, { clock: of.clock, timers: of.clock })) };
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
    if (outcome.status !== "stored") throw new Error(outcome.status);
    events += outcome.events;
    if (!outcome.more) return events;
  }
  throw new Error("pulling does not end");
}

describe("a replica and its copies", () => {
  it("opens an incarnation when a copy of it has gone on, and holds its branch", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    const copy = await cloneOf(a);
    await copy.store.append(note("x", "of the copy"));
    await pushAll(copy, server);
    await a.store.append([note("x", "of the original"), note("y", "too")]);
    const before = a.store.status().incarnation;
    const [forked, ...rest] = await pushAll(a, server);
    expect(forked).toEqual({ status: "reopened", reason: "fork" });
    expect(rest.map(({ status }) => status)).toEqual(["receipted"]);
    expect(a.store.status().incarnation).not.toBe(before);
    expect(a.sync.watermarks()).toMatchObject({ waiting: 0, dead: 2, receiptedSize: 1 });
    expect(a.store.read({ type: "NoteTaken" })).toHaveLength(3);
    expect(a.store.verify().problems).toEqual([]);
    const opening = a.store.read({ type: "IncarnationOpened" }).at(-1)?.header.pub;
    expect(opening).toMatchObject({ reason: "fork", predecessor: before, size: 4 });
    // Another replica takes the new incarnation on its predecessor's word.
    const b = await device();
    await enrol(b, server);
    await pullAll(b, server);
    expect(b.store.verify().problems).toEqual([]);
    for (const each of [a, copy, b]) await each.life.close();
  });

  it("finds out where a copy of it has gone on, also when it offers what both have first", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await pushAll(a, server);
    for (const text of ["1", "2", "3", "4"]) await a.store.append(note("x", text));
    const copy = await cloneOf(a);
    for (const text of ["5", "6"]) await copy.store.append(note("x", `${text} of the copy`));
    await pushAll(copy, server);
    await a.store.append([note("x", "of the original"), note("y", "too"), note("z", "too")]);
    const outcomes = await pushAll(a, server, { ...bounds, bodies: 2 });
    expect(outcomes.map(({ status }) => status)).toEqual([
      "replan",
      "replan",
      "reopened",
      "receipted",
    ]);
    expect(a.sync.watermarks()).toMatchObject({ waiting: 0, dead: 3, receiptedSize: 1 });
    expect(a.sync.evidence()).toBeUndefined();
    expect(a.store.read({ type: "IncarnationOpened" }).at(-1)?.header.pub).toMatchObject({
      reason: "fork",
    });
    expect(a.store.verify().problems).toEqual([]);
    for (const each of [a, copy]) await each.life.close();
  });

  it("goes on after an incarnation that a copy has taken over before it was receipted here", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await pushAll(a, server);
    const first = await cloneOf(a);
    await first.store.append(note("x", "of the first copy"));
    await pushAll(first, server);
    await a.store.append(note("x", "of the original"));
    const plan = await a.sync.planPush(bounds);
    if (plan === undefined) throw new Error("nothing to push");
    // A new incarnation begins, of which the server has not heard yet, and is copied at once.
    expect(await a.sync.takePush(plan, server.push(plan.request))).toMatchObject({
      reason: "fork",
    });
    const second = await cloneOf(a);
    for (const text of ["1", "2"]) await second.store.append(note("y", text));
    await pushAll(second, server);
    await a.store.append(note("z", "own"));
    const forked = await a.sync.planPush(bounds);
    if (forked === undefined) throw new Error("nothing to push");
    expect(await a.sync.takePush(forked, server.push(forked.request))).toMatchObject({
      status: "reopened",
    });
    // Urgent entries name the newest log; nothing of the one before is left to push.
    await a.store.append(note("fall", "now", { lane: "urgent" }));
    await pushAll(a, server);
    expect(a.sync.watermarks()).toMatchObject({ waiting: 0, receiptedSize: 2, owed: [] });
    expect(a.sync.evidence()).toBeUndefined();
    expect(a.store.verify().problems).toEqual([]);
    for (const each of [a, first, second]) await each.life.close();
  });

  it("halts when the receipt is about another log than what was offered", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await pushAll(a, server);
    const copy = await cloneOf(a);
    await a.store.append(note("x", "of the original"));
    await copy.store.append(note("x", "of the copy"));
    const [own, other] = [await a.sync.planPush(bounds), await copy.sync.planPush(bounds)];
    if (own === undefined || other === undefined) throw new Error("nothing to push");
    const outcome = await a.sync.takePush(own, server.push(other.request));
    expect(outcome).toEqual({ status: "contradiction", code: "server_receipt_wrong" });
    expect(a.sync.watermarks()).toMatchObject({ waiting: 1, dead: 0, receiptedSize: 1 });
    for (const each of [a, copy]) await each.life.close();
  });

  it("opens an incarnation when the server holds more of its log", async () => {
    const server = serverFor();
    const a = await device();
    await enrol(a, server);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    const copy = await cloneOf(a);
    await a.store.append(note("x", "2"));
    await pushAll(a, server);
    // What the copy lost is the newest event; it has something of its own to say only afterwards.
    const driver = copy.life.current().driver;
    driver.exec(
      "INSERT INTO outbox (position, lane, state, enqueued_at) VALUES (1, 'normal', 'waiting', 0)",
    );
    driver.exec("DELETE FROM pushed");
    const outcomes = await pushAll(copy, server);
    expect(outcomes[0]).toEqual({ status: "reopened", reason: "rewound" });
    const opening = copy.store.read({ type: "IncarnationOpened" }).at(-1)?.header.pub;
    expect(opening).toMatchObject({ reason: "restored", size: 2 });
    for (const each of [a, copy]) await each.life.close();
  });

  it("is found to be an older copy by what was pulled", async () => {
    const server = serverFor();
    const a = await device();
    const b = await device();
    await enrol(a, server);
    await enrol(b, server);
    await b.store.append(note("own", "1"));
    const older = await snapshotOf(b);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    expect(await pullAll(b, server)).toBe(2);
    expect(b.store.verify().ok).toBe(true);
    await b.life.close();
    older();
    const again = await reopened(b);
    expect(again.store.status().findings.map(({ code }) => code)).toContain("store_rolled_back");
    await expect(again.store.append(note("own", "2"))).rejects.toMatchObject({
      code: "store_rolled_back",
    });
    await again.life.close();
    await a.life.close();
  });
});
