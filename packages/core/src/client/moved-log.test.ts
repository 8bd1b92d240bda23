/**
 * A device whose server log goes on in another one: it follows what is proven, keeps what joins the two, and halts
 * with evidence where anything else is shown. Real engine, real store; the server is the reference server.
 */
import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft as note,
  createRecordingObserver,
  createReferenceServer,
  type ReferenceServer,
  settle,
  createTestDevices,
  enrolAt,
  testTenant as tenant,
} from "@holdfast/testkit";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseEpoch } from "../proof/server-epoch.ts";
import { parseCheckpoint } from "../proof/checkpoint.ts";
import { parseNote } from "../proof/note.ts";
import { base64 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { EpochAnswer, EpochRequest } from "../sync/messages/epoch.ts";
import type { PresentRequest } from "../sync/messages/present.ts";
import type { PullRequest } from "../sync/messages/pull.ts";
import type { PushRequest } from "../sync/messages/push.ts";
import { createSyncTables } from "../sync/sync-tables.ts";
import type { Transport } from "../sync/transport.ts";
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

async function device() {
  const observer = createRecordingObserver();
  return { ...(await devices.make({ clock, observer })), observer };
}

type Device = Awaited<ReturnType<typeof device>>;

/** What the route answers instead of the truth; `undefined`: it knows of nothing. */
type Lie = (answer: EpochAnswer | undefined, request: EpochRequest) => EpochAnswer | undefined;

let clock: ReturnType<typeof createManualClock>;
let first: ReferenceServer;
let a: Device;
let b: Device;

/** What was shown or presented. */
let shown: PresentRequest[] = [];

/** The doors of a server that says `server_behind` as the real one does. */
function doorsOf(of: Device, server: () => ReferenceServer, lie?: Lie): Transport {
  const me = of.store.status().device;
  const counted = <Answer>(request: PushRequest | PullRequest, answer: () => Answer): Answer => {
    const size = sizeOf(server());
    if (request.checkpoint > size) {
      throw new HoldfastError("server_behind", { part: "checkpoint", size });
    }
    return answer();
  };
  const doors: Partial<Transport> = {
    endpoint: "https://server.test",
    hello: async () => server().hello(),
    token: async () => ({ accessToken: me, expiresInMs: 600_000 }),
    push: async (request) => counted(request, () => server().push(request)),
    pull: async (request) => counted(request, () => server().pull(me, request)),
    async epoch(request) {
      const truth = server().epoch(request);
      const answer = lie === undefined ? truth : lie(truth, request);
      if (answer === undefined) throw new HoldfastError("not_found");
      return answer;
    },
    async present(request) {
      shown.push(request);
    },
    grants: async () => ({ grants: [], more: false }),
    sendGrants: async () => undefined,
    devices: async () => [],
    tail: () => () => undefined,
  };
  return doors as Transport;
}

function sizeOf(server: ReferenceServer): number {
  const page = server.pull("", { ...nothing, after: server.events.length });
  return parseCheckpoint(parseNote(page.checkpoint).text).size;
}

const nothing = { scopes: "*", after: 0, events: 1, bytes: 1, checkpoint: 0, held: {} } as const;

function syncOver(of: Device, server: ReferenceServer, lie?: Lie) {
  return settle(
    clock,
    of.store
      .sync(
        doorsOf(of, () => server, lie),
        { tail: false },
      )
      .syncNow(),
  );
}

/** Syncs until nothing fails or sync has stopped. */
async function drained(of: Device, server: ReferenceServer) {
  let report = await syncOver(of, server);
  for (let times = 0; times < 10 && report.status === "failed"; times++) {
    clock.advance(60_000);
    report = await syncOver(of, server);
  }
  return report;
}

function evidenceOf(of: Device): readonly { readonly code: string }[] {
  return of.life
    .current()
    .driver.prepare("SELECT value FROM sync WHERE name GLOB 'evidence/*' ORDER BY name")
    .all<{ value: string }>()
    .map(({ value }) => JSON.parse(value) as { readonly code: string });
}

const heldBy = (of: Device) => createSyncTables(of.life.current().driver).checkpoint();

beforeEach(async () => {
  shown = [];
  clock = createManualClock();
  first = createReferenceServer({ crypto, tenant, now: () => clock.now() });
  a = await device();
  b = await device();
  await enrolAt(first, a);
  await enrolAt(first, b);
  for (const text of ["1", "2", "3"]) {
    await a.store.append(note("x", text));
    await syncOver(a, first);
  }
  await syncOver(b, first);
});
afterEach(async () => {
  for (const { store } of [a, b]) await settle(clock, store.close());
});

describe("a server log that goes on in another shard", () => {
  it("is followed by whoever pushes and whoever pulls, and both sides verify", async () => {
    const moved = first.copy({ log: 1, shard: "s2" });
    await a.store.append(note("x", "4"));
    expect(await drained(a, moved)).toMatchObject({ status: "drained", failure: undefined });
    expect(await drained(b, moved)).toMatchObject({ status: "drained", failure: undefined });
    for (const each of [a, b]) {
      expect(heldBy(each)?.log).toBe("server.test/holdfast/s2/1");
      expect(each.sync.server()?.log).toBe("server.test/holdfast/s2/1");
      expect(each.store.verify().problems).toEqual([]);
      expect(each.observer.total("sync_logs_followed", { result: "whole" })).toBe(1);
    }
    expect(b.store.read({ type: "NoteTaken" })).toHaveLength(4);
    expect(Math.max(...moved.placed.values(), ...first.placed.values())).toBe(1);
  });

  it("keeps receipts, watermarks and drain proofs of the log before", async () => {
    const events = a.store.read({ type: "NoteTaken" });
    const before = events.map(({ header }) => a.store.receipt(header.id));
    const marks = a.sync.watermarks();
    const moved = first.copy({ log: 1, shard: "s2" });
    await drained(a, moved);
    expect(events.map(({ header }) => a.store.receipt(header.id))).toEqual(before);
    expect({ ...a.sync.watermarks(), pulledThrough: 0 }).toEqual({ ...marks, pulledThrough: 0 });
    expect(a.store.verify().problems).toEqual([]);
  });

  it("is followed through several moves that happened meanwhile", async () => {
    let moved = first;
    for (const shard of ["s2", "s3", "s4"]) moved = moved.copy({ log: 1, shard });
    await a.store.append(note("x", "4"));
    expect(await drained(a, moved)).toMatchObject({ status: "drained" });
    expect(await drained(b, moved)).toMatchObject({ status: "drained" });
    expect(heldBy(b)?.log).toBe("server.test/holdfast/s4/1");
    for (const each of [a, b]) expect(each.store.verify().problems).toEqual([]);
  });

  it("takes an answer of the log before, which was under way, for overtaken", async () => {
    const moved = first.copy({ log: 1, shard: "s2" });
    const request = b.sync.planPull({ events: 10, bytes: 1_000_000 });
    if (request === undefined) throw new Error("not enrolled");
    const late = first.pull(b.store.status().device, request);
    await drained(b, moved);
    expect(await b.sync.takePull(request, late)).toEqual({
      status: "stored",
      events: 0,
      more: true,
    });
    expect(evidenceOf(b)).toEqual([]);
  });

  it("halts where the sealed log has grown all the same", async () => {
    const moved = first.copy({ log: 1, shard: "s2" });
    await drained(b, moved);
    await a.store.append(note("x", "behind the seal"));
    await syncOver(a, first);
    const request = b.sync.planPull({ events: 10, bytes: 1_000_000 });
    if (request === undefined) throw new Error("not enrolled");
    const page = first.pull(b.store.status().device, request);
    expect(await b.sync.takePull(request, page)).toEqual({
      status: "contradiction",
      code: "server_checkpoint_forked",
    });
    expect(evidenceOf(b)).toMatchObject([{ code: "server_checkpoint_forked" }]);
  });

  it("is enrolled at once more without a new chain", async () => {
    const moved = first.copy({ log: 1, shard: "s2" });
    const again = moved.enrol(b.sync.enrolment());
    await b.sync.enrolled("https://server.test", moved.hello(), again, moved.fingerprint);
    expect(heldBy(b)?.log).toBe("server.test/holdfast/s1/1");
    expect(await drained(b, moved)).toMatchObject({ status: "drained" });
    expect(b.store.verify().problems).toEqual([]);
  });
});

describe("a restored server", () => {
  it("is followed when it knows the whole log before", async () => {
    const restored = first.copy({ log: 2 });
    expect(await drained(b, restored)).toMatchObject({ status: "drained" });
    expect(heldBy(b)?.log).toBe("server.test/holdfast/s1/2");
    expect(b.store.verify().problems).toEqual([]);
  });

  it("that lost a tail is followed, with evidence and a finding; receipts beyond it are kept", async () => {
    const held = heldBy(a)?.size ?? 0;
    const id = a.store.read({ type: "NoteTaken" }).at(-1)?.header.id ?? "";
    const receipt = a.store.receipt(id);
    // Not a size that this device has a checkpoint of, so that it asks once more.
    const asked: number[] = [];
    const restored = first.copy({ log: 2, proven: held - 1 });
    const report = await syncOver(a, restored, (answer, { size }) => {
      asked.push(size);
      return answer;
    });
    expect(report.status).toBe("drained");
    expect(asked[0]).toBe(held);
    expect(heldBy(a)?.log).toBe("server.test/holdfast/s1/2");
    expect(evidenceOf(a)).toMatchObject([{ code: "server_log_tail_lost" }]);
    // What the lost receipt stated was stated again, in the log that goes on.
    expect(a.store.verify().problems).toEqual([]);
    expect(a.store.receipt(id)?.checkpoint).toMatch(/^server\.test\/holdfast\/s1\/2\n/);
    const kept = a.life
      .current()
      .driver.prepare("SELECT count(*) AS n FROM server_leaves WHERE leaf = ?")
      .get<{ n: number }>(receipt?.statement ?? "");
    expect(kept?.n).toBeGreaterThan(0);
    expect(shown[0]?.receipts.map((each) => each.receipt.text)).toEqual([receipt?.statement]);
    expect(a.observer.logged("sync_log_tail_lost")).toBe(1);
  });

  it("that lost a tail and does not agree below it halts sync", async () => {
    const held = heldBy(a)?.size ?? 0;
    const restored = first.copy({ log: 2, proven: held - 1 });
    const report = await syncOver(
      a,
      restored,
      (answer) => answer && { ...answer, consistency: [...answer.consistency, new Uint8Array(32)] },
    );
    expect(report).toMatchObject({ status: "halted", failure: "server_checkpoint_forked" });
    expect(heldBy(a)).toMatchObject({ size: held, log: "server.test/holdfast/s1/1" });
  });
});

describe("a log that nothing joins to the one that is held", () => {
  /** A server whose log has moved, and has grown beyond what anybody held of the one before. */
  async function moved(): Promise<ReferenceServer> {
    await a.store.append(note("x", "4"));
    await drained(a, first);
    const server = first.copy({ log: 1, shard: "s2" });
    for (const text of ["5", "6", "7", "8", "9"]) {
      await a.store.append(note("x", text));
      await drained(a, server);
    }
    expect(sizeOf(server)).toBeGreaterThan(heldBy(b)?.size ?? 0);
    return server;
  }

  async function expectHalt(server: ReferenceServer, lie: Lie | undefined, code: string) {
    await b.store.append(note("y", "kept"));
    const log = heldBy(b);
    const before = b.store.read({ type: "NoteTaken" }).length;
    const report = await syncOver(b, server, lie);
    expect(report).toMatchObject({ status: "halted", failure: code });
    expect(evidenceOf(b).map((each) => each.code)).toContain(code);
    expect(heldBy(b)).toEqual(log);
    expect(b.store.read({ type: "NoteTaken" })).toHaveLength(before);
    expect(b.store.verify().problems).toEqual([]);
  }

  const restate = (answer: EpochAnswer, changes: object): EpochAnswer => ({
    ...answer,
    epoch: {
      ...answer.epoch,
      text: canonicalJson({ ...parseEpoch(answer.epoch.text), ...changes }),
    },
  });

  const lies: readonly (readonly [string, (answer: EpochAnswer) => EpochAnswer | undefined])[] = [
    ["nothing at all", () => undefined],
    ["an epoch that is not in the log", (answer) => restate(answer, { received: 5 })],
    ["an epoch of another root", (answer) => restate(answer, { root: base64(new Uint8Array(32)) })],
    [
      "an epoch of another log",
      (answer) => restate(answer, { origin: "server.test/holdfast/s9/1" }),
    ],
    ["an epoch of another kind", (answer) => restate(answer, { kind: "receipt" })],
    [
      "an epoch at another place",
      (answer) => ({ ...answer, epoch: { ...answer.epoch, index: 1 } }),
    ],
    [
      "a path that proves nothing",
      (answer) => ({ ...answer, epoch: { ...answer.epoch, path: [] } }),
    ],
    ["another checkpoint as the last one", (answer) => ({ ...answer, last: answer.checkpoint })],
  ];

  it.each(lies)("halts at %s, and keeps what was shown", async (_, lie) => {
    await expectHalt(
      await moved(),
      (answer) => (answer === undefined ? undefined : lie(answer)),
      "server_epoch_wrong",
    );
  });

  it("halts when the last checkpoint does not continue the held one", async () => {
    await expectHalt(
      await moved(),
      (answer) =>
        answer === undefined ? undefined : { ...answer, consistency: [new Uint8Array(32)] },
      "server_checkpoint_forked",
    );
  });

  it("halts when the log before is said to have ended below what is held: a sealed log loses nothing", async () => {
    const held = heldBy(b)?.size ?? 0;
    const short = first.copy({ log: 1, shard: "s2", proven: held - 1 });
    await expectHalt(short, undefined, "server_checkpoint_forked");
  });

  it("halts at another key", async () => {
    const strangers = createReferenceServer({ crypto, tenant, now: () => clock.now() });
    for (const of of [a, b]) strangers.enrol(of.sync.enrolment());
    const forged = strangers.copy({ log: 1, shard: "s2" });
    const request = b.sync.planPull({ events: 1, bytes: 1 });
    if (request === undefined) throw new Error("not enrolled");
    const page = forged.pull(b.store.status().device, request);
    const shown = { ...page, next: request.after, head: request.after, events: [], logs: [] };
    expect(await b.sync.takePull(request, shown)).toEqual({
      status: "contradiction",
      code: "server_checkpoint_forged",
    });
    const epoch = { log: "server.test/holdfast/s1/1", size: heldBy(b)?.size ?? 0 };
    const answer = forged.epoch(epoch);
    expect(await b.sync.takeEpoch(epoch, answer)).toEqual({
      status: "contradiction",
      code: "server_checkpoint_forged",
    });
  });

  it("waits, and does not halt, where the server is only behind", async () => {
    const backup = first.copy();
    await a.store.append(note("x", "4"));
    await drained(a, first);
    await drained(b, first);
    await b.store.append(note("y", "kept"));
    const report = await syncOver(b, backup);
    expect(report).toMatchObject({ status: "failed", failure: "server_behind" });
    expect(evidenceOf(b)).toEqual([]);
    // The server was shown what it had signed.
    const { log, size } = heldBy(b) ?? { log: "", size: 0 };
    const checkpoint = createSyncTables(b.life.current().driver).checkpointNote(log, size);
    expect(shown[0]).toEqual({ checkpoint, receipts: [] });
  });
});

describe("verify", () => {
  it("finds the step between two logs missing, and an altered one", async () => {
    await drained(b, first.copy({ log: 1, shard: "s2" }));
    const { driver } = b.life.current();
    const name = "epoch/server.test/holdfast/s2/1";
    const kept = driver
      .prepare("SELECT value FROM sync WHERE name = ?")
      .get<{ value: string }>(name);
    const put = driver.prepare("UPDATE sync SET value = ? WHERE name = ?");
    const row = JSON.parse(kept?.value ?? "{}") as Readonly<Record<string, unknown>>;
    for (const altered of [
      "nothing",
      JSON.stringify({ ...row, path: "" }),
      JSON.stringify({ ...row, last: "" }),
      JSON.stringify({ ...row, size: 1 }),
      JSON.stringify({ ...row, leaf: String(row["leaf"]).replace(/"size":\d+/, '"size":1') }),
    ]) {
      put.run(altered, name);
      expect(b.store.verify().problems).toMatchObject([{ code: "checkpoint_unjoined" }]);
    }
    put.run(kept?.value ?? "", name);
    expect(b.store.verify().problems).toEqual([]);
  });
});
