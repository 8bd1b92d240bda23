/** Part of the conformance suite of server stores: a tenant's server log goes on in another one. */
import {
  createTreeBuilder,
  equalBytes,
  isHoldfastError,
  leafHash,
  rangeFromTiles,
  rootOf,
  utf8,
} from "@holdfast/core";
import type { ServerWrites } from "@holdfast/server/engine";
import { addTenant, eventsFor, failureOf, same, type SuiteTest } from "./server-store-ground.ts";

export function successions(test: SuiteTest): void {
  test("a tenant's log goes on in another shard: positions go on, leaves begin anew", async (here) => {
    const names = await addTenant(here);
    const { store, check } = here;
    const { tenant, device, incarnation } = names;
    const old = names.shard;
    const shard = `${old.slice(0, -1)}_`;
    const row = (size: number, note: string) => ({
      size,
      root: here.chance.bytes(32),
      note,
      at: 1,
    });
    await store.write(async (tx) => {
      await tx.placeEvents(tenant, eventsFor(here, names, 3));
      await tx.addServerLeaves(old, ["a", "b"]);
      await tx.addReceipt(tenant, device, incarnation, "digest", 1);
      await tx.addCheckpoint(old, row(2, "last"));
      await tx.succeedLog(tenant, { shard, log: 1 });
      check((await tx.addServerLeaves(shard, ["c"])) === 0, "leaves begin at 0");
      await tx.addCheckpoint(shard, row(1, "first"));
    });
    check((await store.tenant(tenant))?.shard === shard, "the tenant is in the new shard");
    check(same(await store.head(shard), { shard, log: 1, events: 3, leaves: 1 }), "its head");
    const first = await store.write((tx) => tx.placeEvents(tenant, eventsFor(here, names, 2, 3)));
    check(first === 4, "positions go on");
    check((await store.events(tenant, "*", 0, 9)).length === 5, "events of both are one sequence");
    check(
      (await store.receiptOf(tenant, device, incarnation, "digest")) === undefined,
      "no receipt in the new log",
    );
    await store.write((tx) => tx.addReceipt(tenant, device, incarnation, "digest", 0));
    check(
      (await store.receiptOf(tenant, device, incarnation, "digest")) === 0,
      "until it is there",
    );
    check(same(await store.serverLeaves(old, 0, 9), ["a", "b"]), "former leaves stay readable");
    check((await store.checkpoint(old))?.note === "last", "and the last checkpoint");
    check((await store.checkpoint(shard))?.note === "first", "the new log has its own");
    const step = { from: { shard: old, log: 1 }, size: 2, to: { shard, log: 1 } };
    check(same(await store.successions(tenant), [step]), "the step is kept");
    const mine = (await store.shards()).filter((each) => each.tenant === tenant);
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
    const { tenant, shard } = await addTenant(here);
    const { store, check } = here;
    await store.write((tx) => tx.addServerLeaves(shard, ["a"]));
    await store.write((tx) => tx.succeedLog(tenant, { shard: `${shard}-2`, log: 1 }));
    const row = { size: 1, root: here.chance.bytes(32), note: "n", at: 1 };
    const acts: readonly ((tx: ServerWrites) => unknown)[] = [
      (tx) => tx.addServerLeaves(shard, ["b"]),
      (tx) => tx.addCheckpoint(shard, row),
    ];
    for (const act of acts) {
      const failure = await failureOf(() => store.write(async (tx) => act(tx)));
      check(isHoldfastError(failure, "server_log_sealed"), "it is refused with its code");
    }
    check((await store.head(shard)).leaves === 1, "and changes nothing");
    const { tamper } = here.made;
    if (tamper === undefined) return;
    const failure = await failureOf(() => tamper("shards", "update"));
    check(isHoldfastError(failure, "store_constraint"), "its row does not change either");
  });

  test("a shard goes on with a later log, and both are read by their numbers", async (here) => {
    const { tenant, shard } = await addTenant(here);
    const { store, crypto, check } = here;
    const texts = Array.from({ length: 300 }, (_, at) => `first ${at}`);
    const row = (note: string) => ({ size: 1, root: here.chance.bytes(32), note, at: 1 });
    await store.write(async (tx) => {
      await tx.addServerLeaves(shard, texts);
      await tx.addCheckpoint(shard, row("one"));
      await tx.succeedLog(tenant, { shard, log: 3 });
      await tx.addServerLeaves(shard, ["second"]);
      await tx.addCheckpoint(shard, row("three"));
    });
    check(same(await store.head(shard), { shard, log: 3, events: 0, leaves: 1 }), "the head");
    check(same(await store.serverLeaves(shard, 0, 1), ["second"]), "the newest log");
    check(same(await store.serverLeaves(shard, 0, 1, 1), ["first 0"]), "the former one");
    check((await store.checkpoint(shard))?.note === "three", "checkpoint, newest log");
    check((await store.checkpoint(shard, 1, 1))?.note === "one", "checkpoint, former log");
    const whole = createTreeBuilder(crypto);
    for (const text of texts) whole.append(leafHash(crypto, utf8(text)));
    const range = rangeFromTiles(crypto, store.serverTree(shard, 1), 300);
    check(equalBytes(rootOf(crypto, range), whole.root()), "the former tree is whole");
    check((await store.serverRange(shard)).size === 1, "the newest range is its own");
  });
}
