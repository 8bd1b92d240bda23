/** A tenant moves to another shard: what is sealed, what goes on, and what each proves. */
import {
  base64,
  checkConsistency,
  checkProvenLeaf,
  type Checkpoint,
  createNoteVerifier,
  endsAfter,
  isHoldfastError,
  noteDigest,
  openNote,
  parseCheckpoint,
  parseEpoch,
  parseNote,
  parseStatement,
  silentObserver,
  verifySignature,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  beginNextLog,
  createSqliteServerStore,
  createSyncServer,
  type ServerStore,
} from "@holdfast/server/engine";
import {
  callerOf,
  createInvitationCode,
  createPseudonym,
  createPushingDevice,
  createRecordingObserver,
  createTestEngine,
  type PushingDevice,
  type TestEngine,
  testHost,
} from "@holdfast/testkit";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../postgres/cluster.ts";

const crypto = createNodeCrypto();
let here: TestEngine;

/** Where a server keeps its log. */
interface Medium {
  readonly name: string;
  begin(): Promise<void>;
  /** An empty store. */
  open(): Promise<ServerStore>;
  end(): Promise<void>;
}

function onSqlite(): Medium {
  return {
    name: "SQLite",
    begin: () => Promise.resolve(),
    open() {
      const driver = openPlainSqlite({ path: ":memory:", readOnly: false });
      return Promise.resolve(createSqliteServerStore({ crypto, driver }));
    },
    end: () => Promise.resolve(),
  };
}

function onPostgres(): Medium {
  let database: TestDatabase | undefined;
  const made = (): TestDatabase => {
    if (database === undefined) throw new Error("there is no database");
    return database;
  };
  return {
    name: "PostgreSQL",
    async begin() {
      database = await createDatabase();
    },
    async open() {
      await made().empty();
      return made().open();
    },
    end: () => made().close(),
  };
}

function openSigned(note: string): Checkpoint {
  const statement = parseCheckpoint(parseNote(note).text);
  const name = statement.origin;
  const verifier = createNoteVerifier(crypto, { name, algorithm: "ed25519", spki: here.spki });
  const opened = openNote(note, [verifier], (...args) => verifySignature(crypto, ...args));
  expect(opened.status).toBe("verified");
  return statement;
}

async function newest(log?: string): Promise<Checkpoint> {
  const { checkpoint } = await here.server.checkpoint(callerOf(here.founder), log);
  return openSigned(checkpoint);
}

async function leavesOf(log?: string): Promise<readonly string[]> {
  const answer = await here.server.leaves(callerOf(here.founder), 0, 1_000, log);
  return answer.leaves;
}

async function refusalOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
  throw new Error("it was not refused");
}

const everything = { scopes: "*", after: 0, events: 1_000, bytes: 1_000_000, held: {} } as const;

/** Every log of the page, with what the newest checkpoint proves of it. */
async function pullProven(by: PushingDevice, after = 0) {
  const page = await here.server.pull(callerOf(by), { ...everything, after, checkpoint: 0 });
  const tree = openSigned(page.checkpoint);
  for (const { receipt, enrolment, note } of page.logs) {
    expect(checkProvenLeaf(crypto, receipt, tree)).toBe(true);
    expect(checkProvenLeaf(crypto, enrolment, tree)).toBe(true);
    expect(parseStatement(receipt.text).note).toBe(noteDigest(crypto, note));
    expect(parseStatement(enrolment.text).kind).toBe("enrol");
  }
  return page;
}

describe.each([onSqlite(), onPostgres()])("on $name", (medium) => {
  beforeAll(() => medium.begin());
  afterAll(() => medium.end());
  beforeEach(async () => {
    here = await createTestEngine(await medium.open(), { crypto });
  });
  afterEach(() => here.close());

  describe("a tenant that moves", () => {
    test("has its log sealed, and the next one begins with its epoch and every device log", async () => {
      const { founder, server, tenant } = here;
      const [kept, ended] = [await here.join(), await here.join()];
      kept.record([{}, {}]);
      for (const device of [founder, kept, ended]) await here.receipted(device, 0);
      await server.revoke(callerOf(founder), { device: ended.device, why: "lost" });
      const before = await newest();
      const old = await leavesOf();
      const answer = await server.moveTenant({ tenant, shard: "second" });
      expect(answer).toEqual({
        tenant,
        sealed: { log: before.origin, size: old.length },
        log: `${testHost}/holdfast/second/1`,
        deviceLogs: 4,
      });
      const after = await newest();
      expect(after.origin).toBe(answer.log);
      const [first = "", ...rest] = await leavesOf();
      const last = await server.checkpoint(callerOf(founder), before.origin);
      expect(parseEpoch(first)).toMatchObject({
        origin: before.origin,
        size: old.length,
        root: base64(before.root),
        note: noteDigest(crypto, last.checkpoint),
      });
      // The node, which pushed nothing, is enrolled; the others are receipted too, and one revoked.
      expect(rest.map((text) => parseStatement(text).kind)).toEqual([
        "enrol",
        "enrol",
        "receipt",
        "enrol",
        "receipt",
        "enrol",
        "revoke",
        "receipt",
      ]);
      expect(rest.every((text) => old.includes(text))).toBe(true);
      expect(after.size).toBe(1 + rest.length);
    });

    test("goes on at the next position, and pages across the move have neither gap nor repetition", async () => {
      const { founder, server, tenant } = here;
      const reader = await here.join();
      await here.receipted(founder, 0);
      founder.record([{}, {}]);
      await here.receipted(founder, 1);
      const shown = await pullProven(reader);
      for (const shard of ["second", "third"]) {
        await server.moveTenant({ tenant, shard });
        founder.record([{}]);
        await here.receipted(founder, founder.events.length - 1);
      }
      const next = await pullProven(reader, shown.next);
      const all = await pullProven(reader);
      const positions = all.events.map(({ position }) => position);
      expect(positions).toEqual(positions.map((_, at) => at + 1));
      expect([...shown.events, ...next.events].map(({ body }) => body.header)).toEqual(
        all.events.map(({ body }) => body.header),
      );
    });

    test("has receipts of before the move answered with those of the new log", async () => {
      const { founder, server, tenant } = here;
      const before = await here.receipted(founder, 0);
      await server.moveTenant({ tenant });
      const again = await here.receipted(founder, 0);
      expect(again.receipt.text).toBe(before.receipt.text);
      const tree = openSigned(again.checkpoint);
      expect(tree.origin).not.toBe(openSigned(before.checkpoint).origin);
      expect(checkProvenLeaf(crypto, again.receipt, tree)).toBe(true);
      // What was proven in the sealed log stays proven by its own checkpoint.
      expect(checkProvenLeaf(crypto, before.receipt, openSigned(before.checkpoint))).toBe(true);
      const late = { ...founder.push(0), checkpoint: 1_000 };
      expect(await refusalOf(here.push(founder, late))).toBe("server_behind");
    });

    test("keeps the cut-off of a revoked device", async () => {
      const { founder, server, tenant } = here;
      const ended = await here.join();
      await here.receipted(ended, 0);
      await server.revoke(callerOf(founder), { device: ended.device, why: "lost" });
      await server.moveTenant({ tenant });
      ended.record([{}]);
      const answer = await here.receipted(ended, 1);
      expect(answer.dispositions).toMatchObject([{ disposition: "quarantined" }]);
      expect((await pullProven(founder)).events.map(({ index }) => index)).toEqual([0]);
    });

    test("has its former logs read by origin and by shard, and nobody else has", async () => {
      const { founder, server, tenant, chance } = here;
      await here.receipted(founder, 0);
      const first = await newest();
      const shard = first.origin.split("/")[2] ?? "";
      const old = await leavesOf();
      await server.moveTenant({ tenant, shard: "second" });
      const stranger = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
      const code = createInvitationCode({ crypto, chance });
      await server.addFoundingCode(code.digest, here.clock.now() + 60_000);
      await server.enrol(stranger.enrol(code));
      for (const log of [first.origin, shard]) {
        expect(await newest(log)).toEqual(first);
        expect(await leavesOf(log)).toEqual(old);
        const caller = callerOf(founder);
        const { leaf } = await server.inclusion(caller, { index: 1, size: first.size, log });
        expect(checkProvenLeaf(crypto, leaf, first)).toBe(true);
        const { path } = await server.consistency(caller, { before: 1, size: first.size, log });
        expect(path.length).toBeGreaterThan(0);
        const theirs = callerOf(stranger);
        const asked = [
          server.checkpoint(theirs, log),
          server.inclusion(theirs, { index: 0, size: 1, log }),
          server.consistency(theirs, { before: 1, size: 1, log }),
          server.leaves(theirs, 0, 1, log),
          server.epoch(theirs, { log, size: 0 }),
        ];
        const refusals = await Promise.all(asked.map(refusalOf));
        expect(new Set(refusals)).toEqual(new Set(["not_found"]));
      }
      expect(await refusalOf(server.checkpoint(callerOf(founder), "nowhere"))).toBe("not_found");
    });

    test("shows how each log goes on, from any size, one step at a time", async () => {
      const { founder, server, tenant } = here;
      const sizes = [await newest()];
      await here.receipted(founder, 0);
      sizes.push(await newest());
      founder.record([{}]);
      await here.receipted(founder, 1);
      const moves = [];
      for (const shard of ["second", "third"])
        moves.push(await server.moveTenant({ tenant, shard }));
      const caller = callerOf(founder);
      for (const held of sizes) {
        const request = { log: held.origin, size: held.size };
        const answer = await server.epoch(caller, request);
        const [last, next] = [openSigned(answer.last), openSigned(answer.checkpoint)];
        expect(next.origin).toBe(moves[0]?.log);
        expect(answer.epoch.index).toBe(0);
        expect(checkProvenLeaf(crypto, answer.epoch, next)).toBe(true);
        expect(endsAfter(crypto, held, last, answer.consistency)).toBe(true);
        const beyond = await server.epoch(caller, { ...request, size: 1_000 });
        expect(beyond.consistency).toEqual([]);
      }
      const second = await server.epoch(caller, { log: moves[0]?.log ?? "", size: 1 });
      expect(openSigned(second.checkpoint).origin).toBe(moves[1]?.log);
      const third = server.epoch(caller, { log: moves[1]?.log ?? "", size: 1 });
      expect(await refusalOf(third)).toBe("not_found");
    });

    test("takes pushes at the same moment wholly before or wholly after", async () => {
      const { founder, server, tenant, reads } = here;
      const devices = [founder, await here.join(), await here.join(), await here.join()];
      const pushes = devices.slice(0, 2).map((device) => here.receipted(device, 0));
      const move = server.moveTenant({ tenant, shard: "second" });
      pushes.push(...devices.slice(2).map((device) => here.receipted(device, 0)));
      const [answers, moved] = [await Promise.all(pushes), await move];
      const trees = answers.map(({ checkpoint }) => openSigned(checkpoint));
      expect(trees.map(({ origin }) => origin)).toEqual([
        moved.sealed.log,
        moved.sealed.log,
        moved.log,
        moved.log,
      ]);
      for (const [at, { receipt }] of answers.entries()) {
        expect(checkProvenLeaf(crypto, receipt, trees[at] as Checkpoint)).toBe(true);
      }
      const last = await newest(moved.sealed.log);
      expect((await leavesOf(moved.sealed.log)).length).toBe(last.size);
      expect((await reads.events(tenant, "*", 0, 99)).map(({ position }) => position)).toEqual([
        1, 2, 3, 4,
      ]);
    });

    test("has a push judged again that was judged before another node moved it", async () => {
      const { founder, store, reads, tenant, clock, chance, spki } = here;
      const row = await reads.tenant(tenant);
      await here.server.moveTenant({ tenant, shard: "second" });
      let stale = 1;
      // Another node's transaction that saw the tenant where it was.
      const behind: ServerStore = {
        ...store,
        write: (of, work) =>
          store.write(of, (tx) =>
            work({ ...tx, tenant: (name) => (stale-- > 0 ? row : tx.tenant(name)) }),
          ),
      };
      const key = { spki, sign: () => new Uint8Array(64) };
      const node = createSyncServer({
        store: behind,
        crypto,
        clock,
        timers: clock,
        random: chance,
        observer: silentObserver,
        host: testHost,
        key,
        reads: "granted",
        nodeFor() {
          const own = here.nodes.get(tenant);
          if (own === undefined) throw new Error("no tenant is founded here");
          return Promise.resolve({ device: own.device, ...own.firstWords() });
        },
      });
      stale = 3;
      const answer = await node.push(callerOf(founder), founder.push(0), new Uint8Array(1));
      expect(answer.status).toBe("receipted");
      expect((await reads.head("second")).events).toBe(1);
      await node.close();
    });

    test("is refused for tenants that are not there, and shards that are", async () => {
      const { server, tenant, reads } = here;
      const { shard = "" } = (await reads.tenant(tenant)) ?? {};
      expect(await refusalOf(server.moveTenant({ tenant: createPseudonym(here.chance) }))).toBe(
        "tenant_unknown",
      );
      for (const name of [shard, "", "a/b", "a b", "x".repeat(65)]) {
        expect(await refusalOf(server.moveTenant({ tenant, shard: name }))).toBe("shard_taken");
      }
      await server.moveTenant({ tenant, shard: "second" });
      expect(await refusalOf(server.moveTenant({ tenant, shard }))).toBe("shard_taken");
      expect(await server.shards()).toMatchObject([
        { tenant, shard, sealed: true },
        { tenant, shard: "second", sealed: false },
      ]);
    });

    test("is counted and told", async () => {
      const observer = createRecordingObserver();
      const watched = await createTestEngine(await onSqlite().open(), { crypto, observer });
      await watched.server.moveTenant({ tenant: watched.tenant });
      expect(observer.total("server_logs_begun")).toBe(1);
      await watched.close();
    });
  });

  describe("the next log of the same shard", () => {
    test("begins in the same way: what a restored server does", async () => {
      const { founder, server, store, reads, tenant, clock, spki } = here;
      await here.receipted(founder, 0);
      const before = await newest();
      const row = await reads.tenant(tenant);
      if (row === undefined) throw new Error("no tenant");
      const signing = { crypto, host: testHost, observer: silentObserver, now: () => clock.now() };
      const key = { spki, sign: () => new Uint8Array(64) };
      const to = { shard: row.shard, log: 2 };
      await store.write(tenant, (tx) =>
        beginNextLog({ ...signing, key }, tx, row, { to, node: row.node }),
      );
      // The next exchange signs the checkpoint of what stands there.
      const again = await here.receipted(founder, 0);
      const after = openSigned(again.checkpoint);
      expect(after.origin).toBe(before.origin.replace(/1$/, "2"));
      expect(checkProvenLeaf(crypto, again.receipt, after)).toBe(true);
      const answer = await server.epoch(callerOf(founder), { log: before.origin, size: 1 });
      const last = openSigned(answer.last);
      expect(last).toEqual(before);
      const claim = { oldSize: 1, newSize: last.size, newRoot: last.root };
      const { leaf } = await server.inclusion(callerOf(founder), {
        index: 0,
        size: 1,
        log: before.origin,
      });
      const oldRoot = crypto.sha256(new Uint8Array([0, ...Buffer.from(leaf.text)]));
      expect(checkConsistency(crypto, { ...claim, oldRoot, path: answer.consistency })).toBe(true);
      expect(parseEpoch(answer.epoch.text)).toMatchObject({ origin: before.origin });
    });
  });
});
