import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createNoteDraft as note,
  createReferenceServer,
  type ReferenceServer,
  createTestDevices,
  duePush,
  enrolAt,
  pullAll,
  pushAll,
  testTenant as tenant,
} from "@holdfast/testkit";
import { afterAll, describe, expect, it } from "vitest";
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

function serverFor(now = () => 1_000): ReferenceServer {
  return createReferenceServer({ crypto, tenant, now });
}

describe("a replica and its copies", () => {
  it("opens an incarnation when a copy of it has gone on, and holds its branch", async () => {
    const server = serverFor();
    const a = await devices.make();
    await enrolAt(server, a);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    const copy = await devices.clone(a);
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
    const b = await devices.make();
    await enrolAt(server, b);
    await pullAll(b, server);
    expect(b.store.verify().problems).toEqual([]);
    for (const each of [a, copy, b]) await each.life.close();
  });

  it("finds out where a copy of it has gone on, also when it offers what both have first", async () => {
    const server = serverFor();
    const a = await devices.make();
    await enrolAt(server, a);
    await pushAll(a, server);
    for (const text of ["1", "2", "3", "4"]) await a.store.append(note("x", text));
    const copy = await devices.clone(a);
    for (const text of ["5", "6"]) await copy.store.append(note("x", `${text} of the copy`));
    await pushAll(copy, server);
    await a.store.append([note("x", "of the original"), note("y", "too"), note("z", "too")]);
    const outcomes = await pushAll(a, server, { bodies: 2 });
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
    const a = await devices.make();
    await enrolAt(server, a);
    await pushAll(a, server);
    const first = await devices.clone(a);
    await first.store.append(note("x", "of the first copy"));
    await pushAll(first, server);
    await a.store.append(note("x", "of the original"));
    const plan = await duePush(a);
    // A new incarnation begins, of which the server has not heard yet, and is copied at once.
    expect(await a.sync.takePush(plan, server.push(plan.request))).toMatchObject({
      reason: "fork",
    });
    const second = await devices.clone(a);
    for (const text of ["1", "2"]) await second.store.append(note("y", text));
    await pushAll(second, server);
    await a.store.append(note("z", "own"));
    const forked = await duePush(a);
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
    const a = await devices.make();
    await enrolAt(server, a);
    await pushAll(a, server);
    const copy = await devices.clone(a);
    await a.store.append(note("x", "of the original"));
    await copy.store.append(note("x", "of the copy"));
    const [own, other] = [await duePush(a), await duePush(copy)];
    const outcome = await a.sync.takePush(own, server.push(other.request));
    expect(outcome).toEqual({ status: "contradiction", code: "server_receipt_wrong" });
    expect(a.sync.watermarks()).toMatchObject({ waiting: 1, dead: 0, receiptedSize: 1 });
    for (const each of [a, copy]) await each.life.close();
  });

  it("opens an incarnation when the server holds more of its log", async () => {
    const server = serverFor();
    const a = await devices.make();
    await enrolAt(server, a);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    const copy = await devices.clone(a);
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
    const a = await devices.make();
    const b = await devices.make();
    await enrolAt(server, a);
    await enrolAt(server, b);
    await b.store.append(note("own", "1"));
    const older = devices.keep(b);
    await a.store.append(note("x", "1"));
    await pushAll(a, server);
    expect(await pullAll(b, server)).toBe(2);
    expect(b.store.verify().ok).toBe(true);
    await b.life.close();
    older({ marks: false });
    const again = await devices.reopen(b);
    expect(again.store.status().findings.map(({ code }) => code)).toContain("store_rolled_back");
    await expect(again.store.append(note("own", "2"))).rejects.toMatchObject({
      code: "store_rolled_back",
    });
    await again.life.close();
    await a.life.close();
  });
});
