/** Part of the conformance suite of server stores: events are found by scope and stream, however they were placed. */
import type { EventToPlace, PlacedEvent } from "@holdfast/server/engine";
import { createPseudonym } from "./sealed-batches.ts";
import { addTenant, emptyLog, eventsFor, same, type SuiteTest } from "./server-store-ground.ts";

export function places(test: SuiteTest): void {
  test("pages of some scopes pass over nothing, however the events were placed", async (here) => {
    const names = await addTenant(here);
    const { check, chance } = here;
    const other = { ...names, device: createPseudonym(chance) };
    await names.write((tx) => tx.addDeviceLog(names.tenant, emptyLog(other)));
    const scopes = [0, 1, 2].map(() => createPseudonym(chance));
    const stream = createPseudonym(chance);
    const placed: EventToPlace[] = [];
    await names.write(async (tx) => {
      for (let round = 0; round < 150; round++) {
        const log = round % 3 === 0 ? other : names;
        const events = eventsFor(here, log, 1 + chance.integer(4), placed.length).map((event) => {
          const one = { ...event, scope: scopes[chance.integer(3)] ?? "", stream };
          return { ...one, header: JSON.stringify({ id: one.id, stream }) };
        });
        await tx.placeEvents(names.tenant, events);
        placed.push(...events);
      }
    });
    const headers = (events: readonly { readonly header: string }[]): readonly string[] =>
      events.map(({ header }) => header);
    for (const except of [undefined, other.device]) {
      const wanted = placed.filter(({ scope, device }) => scope !== scopes[2] && device !== except);
      for (const limit of [3, 100]) {
        const read: PlacedEvent[] = [];
        for (;;) {
          const after = read.at(-1)?.position ?? 0;
          const page = await names.reads.events(
            names.tenant,
            scopes.slice(0, 2),
            after,
            limit,
            except,
          );
          read.push(...page);
          if (page.length < limit) break;
        }
        check(same(headers(read), headers(wanted)), `pages of ${limit}`);
      }
    }
    for (const limit of [1, 7, 1_000]) {
      const newest = await names.reads.headersOfStream(names.tenant, stream, limit);
      check(same(headers(newest), headers(placed.slice(-limit))), `the newest ${limit} headers`);
    }
  });
}
