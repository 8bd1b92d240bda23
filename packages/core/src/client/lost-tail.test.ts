/**
 * What a device does when its server was put back to an older copy and restored: real stores and engines at the real
 * engine, whose database is exchanged for a copy of before.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeCrypto, openPlainSqlite, systemRandom } from "@holdfast/node";
import {
  callerOf,
  createInvitationCode,
  createNoteDraft as note,
  createTestDevices,
  createTestServer,
  rawOf,
  settle,
  type TestServer,
} from "@holdfast/testkit";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { assertRelease, proveDrained } from "../lifecycle/interlock.ts";
import { base64, base64url } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { lostGrantPrefix } from "../sync/lost-grants.ts";
import { localValues } from "../sync/local-values.ts";
import { createSyncTables } from "../sync/sync-tables.ts";
import type { Transport } from "../sync/transport.ts";
import { grantStoreOf, lifeOf } from "./grant-store.ts";

const crypto = createNodeCrypto();
const folder = mkdtempSync(join(tmpdir(), "holdfast-lost-tail-"));
const devices = createTestDevices({
  crypto,
  random: systemRandom,
  openFile: openPlainSqlite,
  lifeOf,
});
afterAll(() => {
  devices.remove();
  rmSync(folder, { recursive: true });
});

type Device = Awaited<ReturnType<typeof device>>;

let files = 0;
let here: TestServer;
/** Which server answers, and its database. */
let server: TestServer["server"];
let database: SqliteDriver;
/** Methods that no answer comes to. */
let silent: ReadonlySet<keyof Transport>;
let a: Device;
let b: Device;

async function device() {
  const { clock, tenant, founder } = here;
  const made = await devices.make({ clock, joins: { tenant, founder: founder.device } });
  await enrolled(made);
  await here.store.write(tenant, (tx) => tx.setAccess(tenant, made.store.status().device, ["*"]));
  return made;
}

/** Enrols a store with a code of its own, once or once more. */
async function enrolled(made: Awaited<ReturnType<typeof devices.make>>): Promise<void> {
  const { clock, founder } = here;
  const code = createInvitationCode({ crypto, chance: here.chance });
  const expires = clock.now() + 60_000;
  await server.addCode(callerOf(founder), { digest: code.digest, role: "device", expires });
  const binding = base64url(here.chance.bytes(32));
  const answer = await server.enrol({ ...made.sync.enrolment(), proof: code.proof, binding });
  const fingerprint = base64url(crypto.sha256(here.spki));
  await made.sync.enrolled("https://server.test", await server.hello(), answer, fingerprint);
}

function doorsOf({ sync, store }: Device): Transport {
  const caller = () => ({
    tenant: here.tenant,
    device: store.status().device,
    incarnation: sync.origin().incarnation,
  });
  const doors: Partial<Transport> = {
    endpoint: "https://server.test",
    hello: () => server.hello(),
    token: async () => ({ accessToken: "token", expiresInMs: 600_000 }),
    push: (request) => server.push(caller(), request, rawOf(request)),
    pull: (request) => server.pull(caller(), request),
    epoch: (request) => server.epoch(caller(), request),
    present: (request) => server.present(caller(), request),
    grants: async () => ({ grants: [], more: false }),
    sendGrants: async () => undefined,
    devices: async () => [],
    tail: () => () => undefined,
  };
  return new Proxy(doors as Transport, {
    get: (of, name: keyof Transport) =>
      silent.has(name) ? () => Promise.reject(new HoldfastError("network_unreachable")) : of[name],
  });
}

/** Syncs until nothing fails, for a while. */
async function synced(of: Device, times = 8) {
  const engine = of.store.sync(doorsOf(of), { tail: false });
  let report = await settle(of.clock, engine.syncNow());
  for (let n = 0; n < times && report.status !== "drained" && report.status !== "halted"; n++) {
    of.clock.advance(60_000);
    report = await settle(of.clock, engine.syncNow());
  }
  await settle(of.clock, engine.close());
  return report;
}

/** What was recorded, by id: sections of others stay closed here, nothing is granted. */
const recorded = new Map<string, string>();

async function record(of: Device, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    const result = await of.store.append(note("x", text));
    if (result.status !== "appended") throw new Error(result.status);
    for (const { id } of result.events) recorded.set(id, text);
  }
}

/** A copy of the server's database as it is now; what it answers puts the server back to it, restored. */
function keep(): (restore?: boolean) => Promise<void> {
  files += 1;
  const path = join(folder, `${files}.copy.db`);
  database.prepare("VACUUM INTO ?").run(path);
  return async (restore = true) => {
    database = openPlainSqlite({ path, readOnly: false });
    server = here.over(database);
    if (restore) await server.restoreLogs();
  };
}

const tablesOf = (of: Device) => createSyncTables(of.life.current().driver);
const textsOf = ({ store }: Device) =>
  store
    .read({ type: "NoteTaken" })
    .map(({ header }) => recorded.get(header.id))
    .toSorted();
const problemsOf = ({ store }: Device) => store.verify().problems.map(({ code }) => code);
const drainOf = (of: Device) => {
  const { driver } = of.life.current();
  return proveDrained({ crypto, driver, keyring: of.life.deps.keyring });
};

beforeEach(async () => {
  files += 1;
  database = openPlainSqlite({ path: join(folder, `${files}.db`), readOnly: false });
  here = await createTestServer({ crypto, driver: database });
  server = here.server;
  silent = new Set();
  a = await device();
  b = await device();
  await record(a, "a1", "a2");
  await record(b, "b1");
  for (const each of [a, b, a]) await synced(each);
  return async () => {
    for (const { store } of [a, b]) await settle(here.clock, store.close());
  };
});

/** What the server had taken by then, then as much again that it loses. */
async function lose(): Promise<void> {
  const putBack = keep();
  await record(a, "a3", "a4");
  await record(b, "b2");
  for (const each of [a, b, a, b]) expect(await synced(each)).toMatchObject({ status: "drained" });
  await putBack();
}

describe("what a restored server lost", () => {
  it("is undelivered again, and pulls go on from where the server ended", async () => {
    const before = a.sync.watermarks();
    await lose();
    expect(a.sync.watermarks().receiptedSize).toBe(before.receiptedSize + 2);
    silent = new Set(["push"]);
    await synced(a, 2);
    const after = a.sync.watermarks();
    expect(after).toMatchObject({ receiptedSize: before.receiptedSize, waiting: 2 });
    expect(after.pulledThrough).toBeLessThanOrEqual(before.pulledThrough ?? 0);
    expect(problemsOf(a)).toContain("log_tail_lost");
    expect(textsOf(a)).toHaveLength(6);
    silent = new Set();
    for (const each of [a, b, a, b]) {
      expect(await synced(each)).toMatchObject({ status: "drained", failure: undefined });
    }
    for (const each of [a, b]) {
      expect(textsOf(each)).toEqual(["a1", "a2", "a3", "a4", "b1", "b2"]);
      expect(problemsOf(each)).toEqual([]);
    }
    const lost = await server.lost();
    expect(lost.map(({ receipted, restored }) => receipted - restored).toSorted()).toEqual([1, 2]);
    expect(lost.every(({ missing, owed }) => missing === 0 && owed === 0)).toBe(true);
    // What comes afterwards is met once by everybody.
    await record(a, "a5");
    for (const each of [a, b]) await synced(each);
    expect(textsOf(b)).toContain("a5");
  });

  it("proves nothing of what the server holds", async () => {
    await lose();
    const drained = drainOf(a);
    if (drained.status !== "drained") throw new Error(drained.status);
    const assertProof = () => {
      const { driver: connection } = a.life.current();
      const deps = { crypto, driver: connection, keyring: a.life.deps.keyring };
      assertRelease(deps, drained.proof);
    };
    assertProof();
    silent = new Set(["push"]);
    await synced(a, 2);
    expect(drainOf(a)).toMatchObject({ status: "undrained", undelivered: 2 });
    expect(assertProof).toThrow("interlock_stale");
    // Not even where nothing waits: the receipts themselves are of no log that there is.
    const { driver } = a.life.current();
    driver.exec("BEGIN; DELETE FROM outbox");
    expect(drainOf(a)).toMatchObject({ status: "undrained", undelivered: 0 });
    driver.exec("ROLLBACK");
    silent = new Set();
    await synced(a);
    expect(drainOf(a).status).toBe("drained");
  });

  it("may be a device: it enrols again with the store that it has", async () => {
    const putBack = keep();
    const c = await device();
    await record(c, "c1", "c2");
    for (const each of [c, a]) expect(await synced(each)).toMatchObject({ status: "drained" });
    await putBack();
    await record(c, "c3");
    expect(await synced(c, 2)).toMatchObject({ status: "needs-auth" });
    await enrolled(c);
    for (const each of [c, a, b]) expect(await synced(each)).toMatchObject({ status: "drained" });
    for (const each of [a, b]) {
      expect(textsOf(each)).toEqual(["a1", "a2", "b1", "c1", "c2", "c3"]);
      expect(problemsOf(each)).toEqual([]);
    }
    expect(problemsOf(c)).toEqual([]);
    await settle(here.clock, c.store.close());
  });

  it("may be a grant: it is given once more", async () => {
    const putBack = keep();
    const hpke = base64(here.chance.bytes(32));
    const keys = [{ key: "k".repeat(22), generation: 1, grant: base64url(here.chance.bytes(32)) }];
    const pub = { device: b.store.status().device, hpke, keys };
    await grantStoreOf(a.store).append([{ type: "KeyGranted", pub }]);
    await synced(a);
    const values = () => localValues(a.life.current().driver).list(lostGrantPrefix);
    expect(values()).toEqual([]);
    await putBack();
    silent = new Set(["push"]);
    await synced(a, 1);
    const name = `${lostGrantPrefix}${pub.device}/${hpke}/${keys[0]?.key}/1`;
    expect(values().map((value) => value.name)).toEqual([name]);
  });

  it("is lost once more by another restore, and comes back all the same", async () => {
    await lose();
    await synced(b);
    const putBack = keep();
    here.clock.advance(10_000);
    await record(b, "b3");
    for (const each of [a, b]) await synced(each);
    await putBack();
    for (const each of [b, a, b, a])
      expect(await synced(each)).toMatchObject({ status: "drained" });
    for (const each of [a, b]) {
      expect(textsOf(each)).toEqual(["a1", "a2", "a3", "a4", "b1", "b2", "b3"]);
      expect(problemsOf(each)).toEqual([]);
    }
  });
});

describe("a foreign log that came back", () => {
  const logOfA = () => a.sync.origin();
  const notesOf = (of: Device) => {
    const { device: id, incarnation } = logOfA();
    const number = tablesOf(of).log(id, incarnation)?.number ?? 0;
    return of.life
      .current()
      .driver.prepare("SELECT size FROM commits WHERE incarnation = ? ORDER BY size")
      .all<{ size: number }>(number)
      .map(({ size }) => size);
  };

  it("is taken as before once it is as long as it was held, and not sooner", async () => {
    await lose();
    const held = notesOf(b);
    expect(await synced(b)).toMatchObject({ status: "drained" });
    expect(tablesOf(b).lostLogs()).toMatchObject([{ size: held.at(-1) }]);
    expect(problemsOf(b)).toEqual(["log_tail_lost"]);

    // One of the two commits that were lost.
    silent = new Set(["push"]);
    await synced(a, 2);
    silent = new Set();
    here.clock.advance(600_000);
    const plan = await a.sync.planPush({ bodies: 1, bytes: 1_000_000, leaves: 1_000 });
    if (plan === undefined) throw new Error("nothing is due");
    const { device: id, incarnation, tenant } = logOfA();
    const answer = await server.push(
      { tenant, device: id, incarnation },
      plan.request,
      rawOf(plan.request),
    );
    expect(await a.sync.takePush(plan, answer)).toMatchObject({ status: "receipted" });
    await synced(b);
    expect(notesOf(b)).toEqual(held);
    expect(tablesOf(b).lostLogs()).toHaveLength(1);

    await record(a, "a5");
    for (const each of [a, b]) expect(await synced(each)).toMatchObject({ status: "drained" });
    expect(tablesOf(b).lostLogs()).toEqual([]);
    expect(textsOf(b)).toEqual(["a1", "a2", "a3", "a4", "a5", "b1", "b2"]);
    expect(problemsOf(b)).toEqual([]);
  });

  it("brings what was not fetched before it was lost", async () => {
    const putBack = keep();
    await record(a, "a3", "a4");
    await synced(a);
    // The note of all is here, and one event.
    const request = b.sync.planPull({ events: 1, bytes: 1_000_000 });
    if (request === undefined) throw new Error("not enrolled");
    const { tenant } = here;
    const caller = { tenant, device: b.store.status().device, incarnation: "" };
    await b.sync.takePull(request, await server.pull(caller, request));
    expect(textsOf(b)).not.toContain("a4");
    await putBack();
    for (const each of [b, a, b]) await synced(each);
    expect(textsOf(b)).toEqual(["a1", "a2", "a3", "a4", "b1"]);
    expect(problemsOf(b)).toEqual([]);
  });

  it("a log that came back as another one halts", async () => {
    const copy = await devices.clone(a);
    await lose();
    await synced(b);
    for (const text of ["c3", "c4", "c5"]) await copy.store.append(note("x", text));
    await synced(copy);
    const report = await synced(b);
    expect(report).toMatchObject({ status: "halted", failure: "server_log_rewound" });
    await settle(here.clock, copy.store.close());
  });
});

describe("a server that was put back and not restored", () => {
  it("is waited for, and takes nothing", async () => {
    const putBack = keep();
    await record(a, "a3");
    await synced(a);
    await putBack(false);
    await record(a, "a4");
    const report = await synced(a, 2);
    expect(report).toMatchObject({ status: "failed", failure: "server_put_back" });
    expect(a.sync.watermarks().waiting).toBe(1);
    // The other one has seen no more than the server: it is told as well.
    await record(b, "b2");
    expect(await synced(b, 2)).toMatchObject({ status: "failed", failure: "server_put_back" });
    expect(tablesOf(a).evidence()).toEqual([]);
    await server.restoreLogs();
    for (const each of [a, b, a]) expect(await synced(each)).toMatchObject({ status: "drained" });
    expect(textsOf(a)).toEqual(["a1", "a2", "a3", "a4", "b1", "b2"]);
  });
});
