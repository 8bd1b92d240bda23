/** Part of the conformance suite of server stores: a tenant's server log goes on in another one. */
import {
  createStoredTree,
  createTreeBuilder,
  equalBytes,
  isHoldfastError,
  leafHash,
  rangeOfNodes,
  rootOf,
  utf8,
} from "@holdfast/core";
import type { ServerWrites } from "@holdfast/server/engine";
import {
  addTenant,
  eventsFor,
  failureOf,
  type Founded,
  same,
  type SuiteTest,
} from "./server-store-ground.ts";

export function successions(test: SuiteTest): void {
  test("a tenant's log goes on in another shard: positions go on, leaves begin anew", async (here) => {
    const names = await addTenant(here);
    const { check } = here;
    const { tenant, device, incarnation, reads } = names;
    const old = names.shard;
    const shard = `${old.slice(0, -1)}_`;
    const row = (size: number, note: string) => ({
      size,
      root: here.chance.bytes(32),
      note,
      at: 1,
    });
    await names.write(async (tx) => {
      await tx.placeEvents(tenant, eventsFor(here, names, 3));
      await tx.addServerLeaves(old, ["a", "b"]);
      await tx.addReceipt(tenant, device, incarnation, "digest", 1);
      await tx.addCheckpoint(old, row(2, "last"));
      await tx.succeedLog(tenant, { shard, log: 1 });
      check((await tx.addServerLeaves(shard, ["c"])) === 0, "leaves begin at 0");
      await tx.addCheckpoint(shard, row(1, "first"));
    });
    check((await reads.tenant(tenant))?.shard === shard, "the tenant is in the new shard");
    check(same(await reads.head(shard), { shard, log: 1, events: 3, leaves: 1 }), "its head");
    const first = await names.write((tx) => tx.placeEvents(tenant, eventsFor(here, names, 2, 3)));
    check(first === 4, "positions go on");
    check((await reads.events(tenant, "*", 0, 9)).length === 5, "events of both are one sequence");
    check(
      (await reads.receiptOf(tenant, device, incarnation, "digest")) === undefined,
      "no receipt in the new log",
    );
    await names.write((tx) => tx.addReceipt(tenant, device, incarnation, "digest", 0));
    check(
      (await reads.receiptOf(tenant, device, incarnation, "digest")) === 0,
      "until it is there",
    );
    check(same(await reads.serverLeaves(old, 0, 9), ["a", "b"]), "former leaves stay readable");
    check((await reads.checkpoint(old))?.note === "last", "and the last checkpoint");
    check((await reads.checkpoint(shard))?.note === "first", "the new log has its own");
    const step = { from: { shard: old, log: 1 }, size: 2, to: { shard, log: 1 } };
    check(same(await reads.successions(tenant), [step]), "the step is kept");
    const mine = (await reads.shards()).filter((each) => each.tenant === tenant);
    check(
      same(
        mine.map((each) => [each.shard, each.sealed, each.events, each.leaves]),
        [
          [old, true, 3, 2],
          [shard, false, 5, 1],
        ],
      ),
      "both shards are listed, the first one sealed",
    );
  });

  test("nothing is written to a sealed shard", async (here) => {
    const { tenant, shard, reads, write } = await addTenant(here);
    const { check } = here;
    await write((tx) => tx.addServerLeaves(shard, ["a"]));
    await write((tx) => tx.succeedLog(tenant, { shard: `${shard}-2`, log: 1 }));
    const row = { size: 1, root: here.chance.bytes(32), note: "n", at: 1 };
    const acts: readonly ((tx: ServerWrites) => unknown)[] = [
      (tx) => tx.addServerLeaves(shard, ["b"]),
      (tx) => tx.addCheckpoint(shard, row),
    ];
    for (const act of acts) {
      const failure = await failureOf(() => write(async (tx) => act(tx)));
      check(isHoldfastError(failure, "server_log_sealed"), "it is refused with its code");
    }
    check((await reads.head(shard)).leaves === 1, "and changes nothing");
    const { tamper } = here.made;
    if (tamper === undefined) return;
    for (const act of ["update", "delete"] as const) {
      const failure = await failureOf(() => tamper("successions", act, tenant));
      check(isHoldfastError(failure, "store_constraint"), `${act}: that it is sealed stays so`);
    }
  });

  test("a shard's name is one tenant's for good, whoever asks for it at the same time", async (here) => {
    const { check, store } = here;
    const [a, b, c] = [await addTenant(here), await addTenant(here), await addTenant(here)];
    const shard = `${a.shard.slice(0, -1)}-`;
    const move = ({ tenant, write }: Founded, to: string) =>
      failureOf(() => write((tx) => tx.succeedLog(tenant, { shard: to, log: 1 })));
    const outcomes = await Promise.all([move(a, shard), move(b, shard)]);
    const refused = outcomes.filter((outcome) => outcome !== undefined);
    check(refused.length === 1, "one of two gets it");
    check(isHoldfastError(refused[0], "shard_taken"), "the other one is told");
    const names = (await store.read(undefined, (reads) => reads.shards())).map(
      (each) => each.shard,
    );
    check(names.length === 4 && new Set(names).size === 4, "no name stands twice");
    for (const taken of [shard, a.shard, b.shard]) {
      const failure = await move(c, taken);
      check(
        isHoldfastError(failure, "shard_taken"),
        "nor is one taken later, sealed ones included",
      );
    }
    const founded = await failureOf(() =>
      store.write("t", (tx) => tx.addTenant({ tenant: "t", shard, founder: "d", node: "d" })),
    );
    check(isHoldfastError(founded, "shard_taken"), "nor by who is founded");
  });

  test("a shard goes on with a later log, and both are read by their numbers", async (here) => {
    const { tenant, shard, reads, write } = await addTenant(here);
    const { crypto, check } = here;
    const texts = Array.from({ length: 300 }, (_, at) => `first ${at}`);
    const row = (note: string) => ({ size: 1, root: here.chance.bytes(32), note, at: 1 });
    await write(async (tx) => {
      await tx.addServerLeaves(shard, texts);
      await tx.addCheckpoint(shard, row("one"));
      await tx.succeedLog(tenant, { shard, log: 3 });
      await tx.addServerLeaves(shard, ["second"]);
      await tx.addCheckpoint(shard, row("three"));
    });
    check(same(await reads.head(shard), { shard, log: 3, events: 0, leaves: 1 }), "the head");
    check(same(await reads.serverLeaves(shard, 0, 1), ["second"]), "the newest log");
    check(same(await reads.serverLeaves(shard, 0, 1, 1), ["first 0"]), "the former one");
    check((await reads.checkpoint(shard))?.note === "three", "checkpoint, newest log");
    check((await reads.checkpoint(shard, 1, 1))?.note === "one", "checkpoint, former log");
    const whole = createTreeBuilder(crypto);
    for (const text of texts) whole.append(leafHash(crypto, utf8(text)));
    const former = createStoredTree(crypto, 300, (spans) => reads.serverHashes(shard, spans, 1));
    const range = await former.prove((_, hashOf) => rangeOfNodes(300, hashOf));
    check(equalBytes(rootOf(crypto, range), whole.root()), "the former tree is whole");
    check((await reads.serverRange(shard)).size === 1, "the newest range is its own");
  });

  test("a log beyond which something was shown is not signed, until a later one goes on for it", async (here) => {
    const { tenant, device, incarnation, shard, reads, write } = await addTenant(here);
    const others = await addTenant(here);
    const { check } = here;
    const code = "server_put_back";
    const kept = { tenant, device, incarnation, code, note: "n", at: 1 };
    const show = (of: string, log: number) =>
      write((tx) => tx.addQuarantine({ ...kept, from: log, bytes: utf8(`${of}/${log}`) }));
    await write((tx) => tx.addServerLeaves(shard, ["a"]));
    await show("another", 7);
    check((await reads.shownLog(shard)) === 0, "of another shard it says nothing");
    await show(shard, 1);
    await show(shard, 3);
    check((await reads.shownLog(shard)) === 3, "the greatest log counts");
    check((await others.reads.shownLog(others.shard)) === 0, "and of one tenant alone");
    const rows = await reads.quarantineOf(tenant, code);
    check(
      same(
        rows.map(({ from }) => from),
        [7, 1, 3],
      ),
      "all of it is kept, in its order",
    );
    check((await reads.quarantineOf(tenant, "another")).length === 0, "by its code");
    check((await others.reads.quarantineOf(others.tenant, code)).length === 0, "by its tenant");
    const row = { size: 1, root: here.chance.bytes(32), note: "n", at: 1 };
    const acts: readonly ((tx: ServerWrites) => unknown)[] = [
      (tx) => tx.addServerLeaves(shard, ["b"]),
      (tx) => tx.addCheckpoint(shard, row),
      (tx) => tx.succeedLog(tenant, { shard: `${shard}-3`, log: 1 }),
    ];
    for (const act of acts) {
      const failure = await failureOf(() => write(async (tx) => act(tx)));
      check(isHoldfastError(failure, "server_put_back"), "it is refused with its code");
    }
    check((await reads.head(shard)).leaves === 1, "and changes nothing");
    await write(async (tx) => {
      await tx.succeedLog(tenant, { shard, log: 4 });
      await tx.addServerLeaves(shard, ["c"]);
      await tx.addCheckpoint(shard, row);
    });
    check((await reads.head(shard)).log === 4, "a later one is");
  });
}
