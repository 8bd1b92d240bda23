/**
 * The conformance suite of the `ServerStore` port: every storage of the server runs it in a test of a few lines.
 */
import {
  base64url,
  type Bytes,
  createStoredTree,
  createTreeBuilder,
  type Crypto,
  equalBytes,
  isHoldfastError,
  leafHash,
  type MaybePromise,
  rangeOfNodes,
  rootOf,
  utf8,
} from "@holdfast/core";
import type { EventToPlace, ServerWrites } from "@holdfast/server/engine";
import { createChance } from "./chance.ts";
import { committedReads } from "./committed-reads.ts";
import type { SuiteRunner } from "./key-provider.suite.ts";
import {
  addTenant,
  emptyLog,
  eventsFor,
  failureOf,
  same,
  type ServerStoreUnderTest,
  type SuiteTest,
} from "./server-store-ground.ts";
import { shreds } from "./server-store-shreds.ts";
import { places } from "./server-store-places.ts";
import { successions } from "./server-store-successions.ts";

/** What the conformance suite of server stores runs on. */
export interface ServerStoreSuiteOptions {
  readonly name: string;
  /** An empty store; each call another one. */
  readonly make: () => MaybePromise<ServerStoreUnderTest>;
  readonly crypto: Crypto;
}

/** Runs the suite. */
export function serverStoreSuite(runner: SuiteRunner, options: ServerStoreSuiteOptions): void {
  const test: SuiteTest = (name, body) => {
    runner.it(name, async () => {
      const made = await options.make();
      const { store } = made;
      const { crypto } = options;
      try {
        await body({ made, store, crypto, chance: createChance(1), check: runner.check });
      } finally {
        await made.close();
      }
    });
  };
  runner.describe(`server store: ${options.name}`, () => {
    transactions(test);
    deviceLogs(test);
    placing(test);
    places(test);
    serverLog(test);
    successions(test);
    shreds(test);
    rest(test);
  });
}

function transactions(test: SuiteTest): void {
  test("a write that throws leaves nothing behind, and both counters as they were", async (here) => {
    const names = await addTenant(here);
    const { store, check } = here;
    const stopped = new Error("stopped");
    const failure = await failureOf(() =>
      names.write(async (tx) => {
        await tx.placeEvents(names.tenant, eventsFor(here, names, 3));
        await tx.addServerLeaves(names.shard, ["a"]);
        throw stopped;
      }),
    );
    check(failure === stopped, "the error of the work comes through");
    const unfounded = await failureOf(() =>
      store.write("x", async (tx) => {
        await tx.addTenant({ tenant: "x", shard: "y", founder: "z", node: "z" });
        throw stopped;
      }),
    );
    check(unfounded === stopped, "also while a tenant is founded");
    const head = await names.reads.head(names.shard);
    check(head.events === 0 && head.leaves === 0, "no counter moved");
    check((await committedReads(store, "x").tenant("x")) === undefined, "no row stayed");
    check((await names.reads.events(names.tenant, "*", 0, 9)).length === 0, "no event stayed");
    const first = await names.write((tx) =>
      tx.placeEvents(names.tenant, eventsFor(here, names, 1)),
    );
    check(first === 1, "the position is given again");
  });

  test("writes run one after the other, however their work waits", async (here) => {
    const names = await addTenant(here);
    const { check } = here;
    const starts = await Promise.all(
      Array.from({ length: 5 }, (_, at) =>
        names.write(async (tx) => {
          const { events } = await tx.head(names.shard);
          for (let turn = 0; turn < at; turn++) await Promise.resolve();
          return [events, await tx.placeEvents(names.tenant, eventsFor(here, names, 2, 2 * at))];
        }),
      ),
    );
    // Which of them comes first is the medium's choice.
    check(
      same(
        starts.toSorted(([a = 0], [b = 0]) => a - b),
        [0, 2, 4, 6, 8].map((n) => [n, n + 1]),
      ),
      "positions have no gap",
    );
  });

  test("reads see committed state only, and one state at a time", async (here) => {
    const names = await addTenant(here);
    const { store, check } = here;
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const writing = names.write(async (tx) => {
      await tx.placeEvents(names.tenant, eventsFor(here, names, 2));
      await held;
      await tx.placeEvents(names.tenant, eventsFor(here, names, 2, 2));
    });
    const reading = store.read(names.tenant, async (reads) => {
      const { events } = await reads.head(names.shard);
      return [events, (await reads.events(names.tenant, "*", 0, 9)).length];
    });
    const outside = Promise.resolve(names.reads.head(names.shard));
    release();
    await writing;
    const [head, found] = await reading;
    check(head === found && (head === 0 || head === 4), "a snapshot is of one commit");
    check([0, 4].includes((await outside).events), "a read beside a write sees no half of it");
  });
}

function deviceLogs(test: SuiteTest): void {
  test("leaves that came in pieces give every span, tile and root", async (here) => {
    const names = await addTenant(here);
    const { crypto, chance, check } = here;
    const leaves = Array.from({ length: 1_100 }, () => chance.bytes(32));
    const empty = emptyLog(names);
    let { range, head } = empty;
    let at = 0;
    for (const count of [1, 254, 1, 1, 511, 2, 330]) {
      const piece = leaves.slice(at, at + count);
      const builder = createTreeBuilder(crypto, range);
      for (const leaf of piece) builder.append(leaf);
      const size = at + count;
      range = builder.range();
      head = base64url(piece.at(-1) as Bytes);
      const moved = { ...empty, size, range, head };
      const from = at;
      await names.write((tx) => tx.extendDeviceLog(names.tenant, moved, from, piece));
      at = size;
    }
    const { tenant, device, incarnation } = names;
    const stored = await names.reads.deviceLog(tenant, device, incarnation);
    check(stored?.size === 1_100 && stored.head === head, "the row moved on");
    for (const size of [0, 1, 255, 256, 257, 512, 768, 1_024, 1_100]) {
      const whole = createTreeBuilder(crypto);
      for (const leaf of leaves.slice(0, size)) whole.append(leaf);
      const tree = createStoredTree(crypto, size, (spans) =>
        names.reads.deviceHashes(tenant, device, incarnation, spans),
      );
      const stored = await tree.prove((_, hashOf) => rangeOfNodes(size, hashOf));
      check(equalBytes(rootOf(crypto, stored), whole.root()), `the root at ${size}`);
    }
    for (const [from, to] of [
      [0, 1],
      [254, 258],
      [300, 900],
      [1_099, 1_100],
      [7, 7],
    ] as const) {
      const span = await names.reads.leavesOf(tenant, device, incarnation, from, to);
      check(
        same(
          span,
          leaves.slice(from, to).map((leaf) => base64url(leaf)),
        ),
        `span ${from}-${to}`,
      );
    }
  });

  test("rows keep everything that they were given", async (here) => {
    const names = await addTenant(here);
    const { check } = here;
    const { tenant, device, incarnation } = names;
    const row = {
      ...emptyLog(names),
      note: "note",
      receipt: 7,
      enrolment: 3,
      revocation: 8,
      receivedAt: 9,
      owed: [[0, 2]] as const,
      cutoff: 0,
    };
    await names.write(async (tx) => {
      await tx.extendDeviceLog(tenant, row, 0, []);
      await tx.addReceipt(tenant, device, incarnation, "digest", 7);
      await tx.addReceipt(tenant, device, incarnation, "digest", 9);
      await tx.revokeDevice(tenant, device);
    });
    check(
      same(await names.reads.deviceLog(tenant, device, incarnation), row),
      "the row comes back",
    );
    check(same(await names.reads.deviceLogs(tenant), [row]), "and in the list");
    check((await names.reads.deviceLogs(tenant, "other")).length === 0, "of that device only");
    check(
      (await names.reads.receiptOf(tenant, device, incarnation, "digest")) === 9,
      "newest receipt",
    );
    check(
      (await names.reads.receiptOf(tenant, device, incarnation, "x")) === undefined,
      "no receipt",
    );
    check(
      (await names.reads.device(tenant, device))?.status === "revoked",
      "the device is revoked",
    );
  });
}

function placing(test: SuiteTest): void {
  test("events come back in order, by scope, stream, id and leaf, of their tenant only", async (here) => {
    const names = await addTenant(here);
    const others = await addTenant(here);
    const { check } = here;
    const events = eventsFor(here, names, 40);
    await names.write((tx) => tx.placeEvents(names.tenant, events));
    await others.write((tx) => tx.placeEvents(others.tenant, eventsFor(here, others, 3)));
    const { tenant } = names;
    const all = await names.reads.events(tenant, "*", 0, 100);
    check(
      same(
        all.map(({ position }) => position),
        events.map((_, at) => at + 1),
      ),
      "positions",
    );
    check(
      same(
        all.map(({ header }) => header),
        events.map(({ header }) => header),
      ),
      "order",
    );
    const last = all.at(-1);
    const given = events.at(-1);
    const { device, incarnation, index, scope, header } = given ?? ({} as Partial<EventToPlace>);
    const fields = { position: 40, device, incarnation, index, scope, header, frames: [] };
    check(same({ ...last, frames: [] }, fields), "fields");
    check(equalBytes(last?.frames ?? utf8("x"), given?.frames ?? utf8("")), "frames");
    for (const count of [2, 39]) {
      const scopes = events.slice(0, count).map(({ scope }) => scope);
      const page = await names.reads.events(tenant, scopes, 1, 10);
      const wanted = events.slice(1, Math.min(count, 11)).map(({ header }) => header);
      check(
        same(
          page.map(({ header }) => header),
          wanted,
        ),
        `${count} scopes after a position`,
      );
    }
    const left = await names.reads.events(tenant, "*", 0, 100, names.device);
    check(left.length === 0, "events of one device are left out");
    const one = events[5] as EventToPlace;
    const known = await names.reads.placedIds(tenant, ["id-other", one.id]);
    check(same([...known], [one.id]), "by id");
    check((await others.reads.placedIds(others.tenant, [one.id])).size === 0, "by id, foreign");
    check((await names.reads.headersOfStream(tenant, one.stream, 9)).length === 1, "by stream");
    const elsewhere = await others.reads.headersOfStream(others.tenant, one.stream, 9);
    check(elsewhere.length === 0, "stream, foreign");
    for (const asked of ["*", events.map(({ scope }) => scope)] as const) {
      const two = await names.reads.events(tenant, asked, 0, 40, undefined, 1);
      check(two.length === 2, "a bound of bytes, by which the second event is one too many");
      const most = await names.reads.events(tenant, asked, 0, 40, undefined, 1e9);
      check(most.length === 40, "a bound of bytes that is not met");
    }
  });

  test("an id is placed once in a tenant, and the transaction that tries fails whole", async (here) => {
    const names = await addTenant(here);
    const others = await addTenant(here);
    const { check } = here;
    const [event] = eventsFor(here, names, 1) as [EventToPlace];
    await names.write((tx) => tx.placeEvents(names.tenant, [event]));
    const again = { ...event, leaf: base64url(here.chance.bytes(32)) };
    const failure = await failureOf(() =>
      names.write((tx) => tx.placeEvents(names.tenant, [again])),
    );
    check(failure !== undefined, "the second is refused");
    check((await names.reads.head(names.shard)).events === 1, "and takes no position");
    const foreign = { ...again, device: others.device };
    await others.write((tx) => tx.placeEvents(others.tenant, [foreign]));
    check(
      (await others.reads.head(others.shard)).events === 1,
      "another tenant has ids of its own",
    );
  });

  test("streams that several logs extended are named, in order", async (here) => {
    const names = await addTenant(here);
    const { check } = here;
    const second = { ...names, incarnation: "fedcba9876543210" };
    await names.write((tx) => tx.addDeviceLog(names.tenant, emptyLog(second)));
    const [a, b] = [eventsFor(here, names, 4), eventsFor(here, second, 4)];
    const shared = a.slice(0, 3).map(({ stream }) => stream);
    const joined = b.map((event, at) => ({ ...event, stream: shared[at] ?? event.stream }));
    await names.write((tx) => tx.placeEvents(names.tenant, [...a, ...joined]));
    const found = await names.reads.sharedStreams(names.tenant, "", 9);
    check(same(found, shared.toSorted()), "the shared ones, by name");
    const next = await names.reads.sharedStreams(names.tenant, found[0] ?? "", 1);
    check(same(next, found.slice(1, 2)), "page by page");
  });
}

function serverLog(test: SuiteTest): void {
  test("server leaves make the tree that their range and tiles say", async (here) => {
    const names = await addTenant(here);
    const { crypto, check } = here;
    const texts = Array.from({ length: 600 }, (_, at) => `leaf ${at}`);
    const firsts: number[] = [];
    for (const [from, to] of [
      [0, 1],
      [1, 256],
      [256, 599],
      [599, 600],
    ] as const) {
      const add = (tx: ServerWrites) => tx.addServerLeaves(names.shard, texts.slice(from, to));
      firsts.push(await names.write(add));
    }
    check(same(firsts, [0, 1, 256, 599]), "indices have no gap");
    const whole = createTreeBuilder(crypto);
    for (const text of texts) whole.append(leafHash(crypto, utf8(text)));
    const range = await names.reads.serverRange(names.shard);
    check(equalBytes(rootOf(crypto, range), whole.root()), "the range");
    const tree = createStoredTree(crypto, 600, (spans) =>
      names.reads.serverHashes(names.shard, spans),
    );
    const fromTiles = await tree.prove((_, hashOf) => rangeOfNodes(600, hashOf));
    check(equalBytes(rootOf(crypto, fromTiles), whole.root()), "the tiles");
    const span = await names.reads.serverLeaves(names.shard, 254, 258);
    check(same(span, texts.slice(254, 258)), "the texts");
  });

  test("checkpoints are kept by size, the newest without one", async (here) => {
    const names = await addTenant(here);
    const { shard } = names;
    const { check } = here;
    check((await names.reads.checkpoint(shard)) === undefined, "none yet");
    for (const size of [1, 3]) {
      const row = { size, root: here.chance.bytes(32), note: `note ${size}`, at: size };
      await names.write((tx) => tx.addCheckpoint(shard, row));
    }
    check((await names.reads.checkpoint(shard))?.note === "note 3", "the newest");
    check((await names.reads.checkpoint(shard, 1))?.note === "note 1", "by size");
    check((await names.reads.checkpoint(shard, 2)) === undefined, "no other");
  });
}

function rest(test: SuiteTest): void {
  test("codes are used once, and found by their digest", async (here) => {
    const { store, check } = here;
    const names = await addTenant(here);
    const founding = { digest: "d", role: "admin", expires: 5 } as const;
    const joining = { digest: "e", role: "reader", expires: 5 } as const;
    const codes = [
      { ...founding, usedAt: undefined, tenant: undefined },
      { ...joining, usedAt: undefined, tenant: names.tenant },
    ] as const;
    await store.write(undefined, (tx) => tx.addCode(codes[0]));
    await names.write((tx) => tx.addCode(codes[1]));
    const anybody = committedReads(store, undefined);
    for (const code of codes) {
      check(same(await anybody.code(code.digest), code), "by who holds it");
      check(same(await names.reads.code(code.digest), code), "within a tenant");
      await names.write((tx) => tx.useCode(code.digest, 3));
      check(same(await anybody.code(code.digest), { ...code, usedAt: 3 }), "it says when");
      const failure = await failureOf(() => names.write((tx) => tx.useCode(code.digest, 4)));
      check(failure !== undefined, "not twice");
      check((await anybody.code(code.digest))?.usedAt === 3, "as before");
    }
    check((await anybody.code("f")) === undefined, "another one");
  });

  test("access, grants and quarantine are kept by tenant", async (here) => {
    const names = await addTenant(here);
    const { tenant, device } = names;
    const others = await addTenant(here);
    const { check } = here;
    const change = { device, kind: "granted", scopes: ["s"], by: "b", index: 2 } as const;
    const grant = { recipient: "r", key: "k", generation: 1 };
    const row = { tenant, device, incarnation: "i", code: "c", note: "n", from: 1 };
    const quarantined = { ...row, bytes: utf8("bytes"), at: 3 };
    await names.write(async (tx) => {
      await tx.addAccessChange(tenant, { ...change, position: 4 });
      await tx.setAccess(tenant, device, ["s", "t"]);
      await tx.setAccess(tenant, device, ["s"]);
      await tx.addGrants(tenant, [{ ...grant, grant: "one" }]);
      await tx.addGrants(tenant, [{ ...grant, grant: "one" }]);
      await tx.addGrants(tenant, [{ ...grant, grant: "two" }]);
      await tx.addQuarantine(quarantined);
      await tx.addQuarantine(quarantined);
    });
    check(same(await names.reads.access(tenant, device), ["s"]), "access");
    check((await others.reads.access(others.tenant, device)).length === 0, "access, foreign");
    const changes = await names.reads.accessChanges(tenant, device);
    check(same(changes[0]?.scopes, ["s"]) && changes[0]?.position === 4, "access changes");
    const grants = await names.reads.grants(tenant, "r", 0, 9);
    check(
      same(
        grants.map((one) => one.grant),
        ["two"],
      ),
      "the newest wrap of a key",
    );
    check((await others.reads.grants(others.tenant, "r", 0, 9)).length === 0, "grants, foreign");
    await names.write((tx) => tx.dropGrants(tenant, "r"));
    check((await names.reads.grants(tenant, "r", 0, 9)).length === 0, "withdrawn");
    const kept = await names.reads.quarantine(tenant, 9);
    check(kept.length === 1 && equalBytes(kept[0]?.bytes ?? utf8(""), utf8("bytes")), "once");
    check((await others.reads.quarantine(others.tenant, 9)).length === 0, "quarantine, foreign");
  });

  test("what was committed is there for the next process", async (here) => {
    if (here.made.reopen === undefined) return;
    const names = await addTenant(here);
    await names.write((tx) => tx.placeEvents(names.tenant, eventsFor(here, names, 2)));
    const again = await here.made.reopen();
    const reads = committedReads(again, names.tenant);
    here.check((await reads.head(names.shard)).events === 2, "the head");
    here.check((await reads.events(names.tenant, "*", 0, 9)).length === 2, "the events");
    await again.close();
  });

  test("what was received or signed cannot be changed", async (here) => {
    const { tamper } = here.made;
    if (tamper === undefined) return;
    const names = await addTenant(here);
    await names.write(async (tx) => {
      await tx.placeEvents(names.tenant, eventsFor(here, names, 1));
      const leaf = here.chance.bytes(32);
      const range = { size: 1, hashes: [leaf] };
      await tx.extendDeviceLog(names.tenant, { ...emptyLog(names), size: 1, range }, 0, [leaf]);
      await tx.addServerLeaves(names.shard, ["a"]);
      await tx.addReceipt(names.tenant, names.device, names.incarnation, "d", 0);
      await tx.addCheckpoint(names.shard, { size: 1, root: leaf, note: "n", at: 1 });
      await tx.succeedLog(names.tenant, { shard: names.shard, log: 2 });
    });
    for (const table of [
      "events",
      "leaves",
      "server_leaves",
      "receipts",
      "checkpoints",
      "successions",
    ]) {
      for (const act of ["update", "delete"] as const) {
        const failure = await failureOf(() => tamper(table, act, names.tenant));
        here.check(isHoldfastError(failure, "store_constraint"), `no ${act} of ${table}`);
      }
    }
  });
}
