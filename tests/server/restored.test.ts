/** A database that was put back to an older copy: what the server may still sign, and how its logs go on. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  base64,
  type Checkpoint,
  isHoldfastError,
  noteDigest,
  openSignedCheckpoint,
  parseEpoch,
  parseStatement,
  type PresentRequest,
  silentObserver,
} from "@holdfast/core";
import { createNodeCrypto, openPlainSqlite } from "@holdfast/node";
import {
  createSqliteServerStore,
  createSyncServer,
  nextLog,
  type ServerStore,
  type SyncServer,
} from "@holdfast/server/engine";
import {
  callerOf,
  createChance,
  createInvitationCode,
  createManualClock,
  createPseudonym,
  createPushingDevice,
  type PushingDevice,
  rawOf,
  testHost,
} from "@holdfast/testkit";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { copyDatabase, createDatabase, openDatabase } from "../postgres/cluster.ts";

const crypto = createNodeCrypto();

/** Where a server keeps its log, and how an older copy of it is made. */
interface Medium {
  readonly name: string;
  begin(): Promise<void>;
  /** An empty store, by a name. */
  open(name: string): Promise<ServerStore>;
  /** A copy of what is committed, under another name. */
  copy(name: string, to: string): Promise<void>;
  end(): Promise<void>;
}

function onSqlite(): Medium {
  let folder = "";
  const at = (name: string): string => join(folder, `${name}.db`);
  return {
    name: "SQLite",
    begin() {
      folder = mkdtempSync(join(tmpdir(), "holdfast-put-back-"));
      return Promise.resolve();
    },
    open(name) {
      const driver = openPlainSqlite({ path: at(name), readOnly: false });
      return Promise.resolve(createSqliteServerStore({ crypto, driver }));
    },
    copy(name, to) {
      const driver = openPlainSqlite({ path: at(name), readOnly: true });
      driver.prepare("VACUUM INTO ?").run(at(to));
      driver.close();
      return Promise.resolve();
    },
    end() {
      rmSync(folder, { recursive: true });
      return Promise.resolve();
    },
  };
}

function onPostgres(): Medium {
  const urls = new Map<string, string>();
  return {
    name: "PostgreSQL",
    begin: () => Promise.resolve(),
    async open(name) {
      const known = urls.get(name);
      if (known !== undefined) return openDatabase(known);
      const made = await createDatabase();
      await made.close();
      urls.set(name, made.url);
      return openDatabase(made.url);
    },
    async copy(name, to) {
      urls.set(to, await copyDatabase(urls.get(name) ?? ""));
    },
    end: () => Promise.resolve(),
  };
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

let made = 0;

describe.each([onSqlite(), onPostgres()])("on $name", (medium) => {
  beforeAll(() => medium.begin());
  afterAll(() => medium.end());

  const chance = createChance(7);
  const clock = createManualClock();
  let key: ReturnType<typeof crypto.generateSigningKey>;
  let nodes: Map<string, PushingDevice>;
  let tenant: string;
  let founder: PushingDevice;
  let server: SyncServer;
  let store: ServerStore;
  let copy: string;
  /** Checkpoints of the database that went on, by size of the founder's log. */
  let ahead: { readonly note: string; readonly receipt: PresentRequest["receipts"][number] };

  function over(of: ServerStore): SyncServer {
    return createSyncServer({
      store: of,
      crypto,
      clock,
      timers: clock,
      random: chance,
      observer: silentObserver,
      host: testHost,
      key: { spki: key.spki, sign: crypto.signer("ed25519", key.privateKey) },
      reads: "granted",
      nodeFor(of) {
        const node = nodes.get(of) ?? createPushingDevice({ crypto, chance, tenant: of });
        nodes.set(of, node);
        return Promise.resolve({ device: node.device, ...node.firstWords() });
      },
    });
  }

  const push = (device: PushingDevice, from: number) => {
    const request = device.push(from);
    return server.push(callerOf(device), request, rawOf(request));
  };

  async function receipted(device: PushingDevice, from: number) {
    const answer = await push(device, from);
    if (answer.status !== "receipted") throw new Error(answer.status);
    return answer;
  }

  function opened(note: string): Checkpoint {
    const checkpoint = openSignedCheckpoint(crypto, note, { algorithm: "ed25519", spki: key.spki });
    if (checkpoint === undefined) throw new Error("not signed by the server");
    return checkpoint;
  }

  async function newest(): Promise<Checkpoint> {
    return opened((await server.checkpoint(callerOf(founder))).checkpoint);
  }

  const shown = (): PresentRequest => ({ checkpoint: ahead.note, receipts: [] });
  const present = (request: PresentRequest) => server.present(callerOf(founder), request);

  /** Opens the older copy in place of the database. */
  async function putBack(to = copy): Promise<void> {
    await server.close();
    await store.close();
    store = await medium.open(to);
    server = over(store);
  }

  beforeEach(async () => {
    made += 1;
    const name = `live-${made}`;
    copy = `copy-${made}`;
    key = crypto.generateSigningKey("ed25519");
    nodes = new Map();
    tenant = createPseudonym(chance);
    store = await medium.open(name);
    server = over(store);
    founder = createPushingDevice({ crypto, chance, tenant });
    const code = createInvitationCode({ crypto, chance });
    await server.addFoundingCode(code.digest, clock.now() + 60_000);
    await server.enrol(founder.enrol(code));
    founder.record([{}, {}]);
    await receipted(founder, 0);
    await server.close();
    await store.close();
    await medium.copy(name, copy);
    await medium.copy(name, `${copy}-twin`);
    store = await medium.open(name);
    server = over(store);
    founder.record([{}]);
    founder.record([{}, {}]);
    const answer = await receipted(founder, 3);
    ahead = {
      note: answer.checkpoint,
      receipt: { receipt: answer.receipt, checkpoint: answer.checkpoint },
    };
    await putBack();
    return async () => {
      await server.close();
      await store.close();
    };
  });

  describe("a copy that nobody was told of", () => {
    test("signs nothing more once a device has shown what it does not know", async () => {
      const before = await newest();
      expect(await refusalOf(present(shown()))).toBe("server_put_back");
      expect(await refusalOf(push(founder, 3))).toBe("server_put_back");
      expect(await refusalOf(server.ready())).toBe("server_put_back");
      expect(await refusalOf(server.moveTenant({ tenant, shard: `m-${made}` }))).toBe(
        "server_put_back",
      );
      expect(await newest()).toEqual(before);
      // Also after a restart, and for whoever shows nothing.
      await server.close();
      server = over(store);
      await server.ready();
      expect(await refusalOf(push(founder, 3))).toBe("server_put_back");
      expect(await refusalOf(server.ready())).toBe("server_put_back");
    });

    test("is believed of nobody: neither strangers' checkpoints nor those that it knows stop it", async () => {
      const known = (await server.checkpoint(callerOf(founder))).checkpoint;
      await present({ checkpoint: known, receipts: [] });
      const [origin = "", size = "", root = ""] = ahead.note.split("\n");
      const forged = ahead.note.replace(size, String(Number(size) + 5));
      await present({ checkpoint: forged, receipts: [] });
      await present({ checkpoint: `${origin}\n${size}\n${root}\n`, receipts: [] });
      await server.ready();
      expect((await receipted(founder, 3)).size).toBe(6);
    });

    test("is believed of nobody: another tenant's checkpoint, of whatever size, is of no log of this one", async () => {
      const other = createPushingDevice({ crypto, chance, tenant: createPseudonym(chance) });
      const code = createInvitationCode({ crypto, chance });
      await server.addFoundingCode(code.digest, clock.now() + 60_000);
      await server.enrol(other.enrol(code));
      other.record(Array.from({ length: 9 }, () => ({})));
      for (let from = 0; from < 9; from += 3) {
        const { checkpoint, receipt } = await receipted(other, 0);
        await present({ checkpoint, receipts: [{ receipt, checkpoint }] });
      }
      await server.ready();
      expect((await receipted(founder, 3)).size).toBe(6);
      await server.restoreLogs();
      const { checkpoint, receipt } = await receipted(other, 0);
      await present({ checkpoint, receipts: [{ receipt, checkpoint }] });
      expect(await server.lost()).toEqual([]);
      await server.ready();
    });

    test("that went on for itself is stopped by the tree that it contradicts", async () => {
      const reader = createPushingDevice({ crypto, chance, tenant });
      const code = createInvitationCode({ crypto, chance });
      const expires = clock.now() + 60_000;
      await server.addCode(callerOf(founder), { digest: code.digest, role: "device", expires });
      await server.enrol(reader.enrol(code));
      expect((await newest()).size).toBe(opened(ahead.note).size);
      expect(await refusalOf(present(shown()))).toBe("server_put_back");
      expect(await refusalOf(push(founder, 3))).toBe("server_put_back");
    });
  });

  describe("a restore", () => {
    test("begins the next log, which names the last checkpoint of the copy, and lets everybody go on", async () => {
      expect(await refusalOf(present(shown()))).toBe("server_put_back");
      const before = await newest();
      const { checkpoint: last } = await server.checkpoint(callerOf(founder));
      const [restored] = await server.restoreLogs();
      expect(restored).toMatchObject({
        tenant,
        status: "begun",
        last: { log: before.origin, size: before.size },
        events: 3,
      });
      await server.ready();
      const after = await newest();
      expect(after.origin).toBe(restored?.log);
      const { leaves } = await server.leaves(callerOf(founder), 0, 100);
      expect(parseEpoch(leaves[0] ?? "")).toMatchObject({
        origin: before.origin,
        size: before.size,
        root: base64(before.root),
        note: noteDigest(crypto, last),
        events: 3,
      });
      const answer = await receipted(founder, 3);
      expect(parseStatement(answer.receipt.text)).toMatchObject({ size: 6, owed: [] });
      expect((await server.shards()).map(({ sealed }) => sealed)).toEqual([false]);
    });

    test("is done once, however often it is asked for, until something was written", async () => {
      const [first] = await server.restoreLogs();
      expect(await server.restoreLogs()).toEqual([{ ...first, status: "already" }]);
      await receipted(founder, 3);
      clock.advance(5_000);
      const [next] = await server.restoreLogs();
      expect(next).toMatchObject({ status: "begun", last: { log: first?.log } });
    });

    test("of one copy, done twice, gives two logs of two names", async () => {
      const [first] = await server.restoreLogs();
      const { checkpoint, receipt } = await receipted(founder, 3);
      clock.advance(2_000);
      // The same copy, as it was: nothing in it tells of the log that was begun.
      await putBack(`${copy}-twin`);
      const [second] = await server.restoreLogs();
      expect(second).toMatchObject({ status: "begun", last: first?.last });
      expect(second?.log).not.toBe(first?.log);
      // What the first of them receipted is of no log that this one knows.
      await present({ checkpoint, receipts: [{ receipt, checkpoint }] });
      expect(await server.lost()).toEqual([]);
    });

    test("knows of a log that was begun after the copy as soon as somebody shows it", async () => {
      const [first] = await server.restoreLogs();
      const { checkpoint } = await receipted(founder, 3);
      await putBack(`${copy}-twin`);
      expect(await refusalOf(present({ checkpoint, receipts: [] }))).toBe("server_put_back");
      const [second] = await server.restoreLogs();
      const number = (log = ""): number => Number(log.split("/").at(-1));
      expect(number(second?.log)).toBeGreaterThan(number(first?.log));
    });

    test("of a copy from before a move is stopped by the lost shard once, and by nothing of it after that", async () => {
      await server.moveTenant({ tenant, shard: `lost-${made}` });
      const before = await receipted(founder, 3);
      founder.record([{}]);
      const after = await receipted(founder, 6);
      await putBack(`${copy}-twin`);
      const show = ({ checkpoint }: { readonly checkpoint: string }) =>
        present({ checkpoint, receipts: [] });
      // The log is stopped already when the shard is shown: that is remembered of it all the same.
      expect(await refusalOf(present(shown()))).toBe("server_put_back");
      expect(await refusalOf(show(before))).toBe("server_put_back");
      await server.restoreLogs();
      await show(before);
      await show(after);
      await server.ready();
      expect((await receipted(founder, 3)).size).toBe(7);
    });

    test("takes receipts beyond the end as evidence, and says what of it is back", async () => {
      await server.restoreLogs();
      const lost = { checkpoint: ahead.note, receipts: [ahead.receipt] };
      const row = { tenant, device: founder.device, incarnation: founder.incarnation };
      for (let times = 0; times < 2; times++) await present(lost);
      // Whoever presents another's receipts takes nothing of the room that its own requests have in quarantine.
      expect(await store.read(tenant, (reads) => reads.quarantined(tenant, founder.device))).toBe(
        0,
      );
      expect(await server.lost()).toEqual([
        { ...row, receipted: 6, restored: 3, back: 0, missing: 3, owed: 0 },
      ]);
      const request = founder.push(3, { leafOnly: [4] });
      await server.push(callerOf(founder), request, rawOf(request));
      expect(await server.lost()).toEqual([
        { ...row, receipted: 6, restored: 3, back: 3, missing: 0, owed: 1 },
      ]);
      const known = await receipted(founder, 3);
      const own = { receipt: known.receipt, checkpoint: known.checkpoint };
      const wrong = { ...ahead.receipt, receipt: { ...ahead.receipt.receipt, index: 0 } };
      await present({ ...lost, receipts: [own, wrong] });
      expect(await server.lost()).toMatchObject([{ missing: 0, owed: 0 }]);
    });

    test("is proven by what is stored", async () => {
      expect(await server.examine()).toMatchObject([
        { tenant, deviceLogs: 2, events: 3, problems: [] },
      ]);
      await server.restoreLogs();
      await receipted(founder, 3);
      expect(await server.examine()).toMatchObject([{ tenant, events: 6, problems: [] }]);
    });
  });
});

test("a log's number is one that no log of the shard has had", () => {
  expect(nextLog(1, 0, 1_764_500_000_999)).toBe(1_764_500_000);
  expect(nextLog(1_764_500_000, 0, 1_764_500_000_999)).toBe(1_764_500_001);
  expect(nextLog(1, 1_900_000_000, 1_764_500_000_999)).toBe(1_900_000_001);
  expect(nextLog(3, 5, 0)).toBe(6);
});
