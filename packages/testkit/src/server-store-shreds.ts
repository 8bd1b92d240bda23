/** Part of the conformance suite of server stores: what shreds put in force, and what they take away. */
import type { EventToPlace } from "@holdfast/server/engine";
import { createPseudonym } from "./sealed-batches.ts";
import { addTenant, eventsFor, same, type SuiteTest } from "./server-store-ground.ts";

export function shreds(test: SuiteTest): void {
  test("shreds stand once, of their tenant only, and are unfinished until they are ended", async (here) => {
    const { tenant, reads, write } = await addTenant(here);
    const others = await addTenant(here);
    const { check } = here;
    const row = { scope: "a", section: "", shred: "one" };
    const part = { scope: "b", section: "content", shred: "two" };
    await write((tx) => tx.addShreds(tenant, [row, part]));
    await write((tx) => tx.addShreds(tenant, [{ ...row, shred: "another" }]));
    check(same(await reads.shreds(tenant, ["a", "c"]), [row]), "by scope");
    check(same(await reads.shreds(tenant, []), []), "of no scope");
    check(same(await reads.unfinishedShreds(tenant), [row, part]), "unfinished");
    await write((tx) => tx.endShred(tenant, row));
    check(same(await reads.unfinishedShreds(tenant), [part]), "ended");
    check(same(await reads.shreds(tenant, ["a", "b"]), [row, part]), "in force for good");
    check(same(await others.reads.shreds(others.tenant, ["a"]), []), "foreign");
    check(same(await others.reads.unfinishedShreds(others.tenant), []), "foreign, unfinished");
  });

  test("frames are put in place of others, and nothing else of an event", async (here) => {
    const names = await addTenant(here);
    const { tenant, reads, write } = names;
    const { check } = here;
    const scope = createPseudonym(here.chance);
    const events = eventsFor(here, names, 3).map((event): EventToPlace => ({ ...event, scope }));
    await write((tx) => tx.placeEvents(tenant, events));
    const frames = Uint8Array.of(1, 2, 3);
    await write((tx) => tx.setFrames(tenant, [{ position: 2, frames }]));
    const found = await reads.events(tenant, [scope], 0, 9);
    const headers = events.map(({ header }) => header);
    check(
      same(
        found.map(({ header }) => header),
        headers,
      ),
      "headers",
    );
    check(
      found.every((one) => one.scope === scope),
      "scopes",
    );
    const wanted = events.map((event, at) => (at === 1 ? frames : event.frames));
    check(
      same(
        found.map((one) => [...one.frames]),
        wanted.map((one) => [...one]),
      ),
      "frames",
    );
  });

  test("grants of a tenant are listed to whomever they are, and dropped by their numbers", async (here) => {
    const { tenant, reads, write } = await addTenant(here);
    const others = await addTenant(here);
    const { check } = here;
    const keys = ["k1", "k2", "k3"];
    const grants = keys.map((key, at) => ({
      recipient: `r${at % 2}`,
      key,
      generation: 1,
      grant: `grant of ${key}`,
    }));
    await write((tx) => tx.addGrants(tenant, grants));
    const found = await reads.grantsOf(tenant, 0, 9);
    check(
      same(
        found.map(({ grant }) => grant),
        grants.map(({ grant }) => grant),
      ),
      "all of them",
    );
    const [first, second] = found.map(({ number }) => number) as [number, number];
    check(same(await reads.grantsOf(tenant, first, 1), [found[1]]), "a page");
    await write((tx) => tx.dropGrantsAt(tenant, [first, second]));
    check(same(await reads.grantsOf(tenant, 0, 9), [found[2]]), "what is left");
    check(same(await others.reads.grantsOf(others.tenant, 0, 9), []), "foreign");
  });
}
