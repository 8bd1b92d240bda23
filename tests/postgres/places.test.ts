import { addTenant, createChance, eventsFor } from "@holdfast/testkit";
import { expect, it } from "vitest";
import { createDatabase } from "./cluster.ts";

it("tells streams of one hash apart", async () => {
  const database = await createDatabase();
  const store = database.open();
  try {
    const chance = createChance(1);
    const names = await addTenant({ store, chance });
    const streams = ["stream-48585", "stream-363820"];
    const events = eventsFor({ chance }, names, 40).map((event, at) => {
      const stream = streams[at % 2] ?? "";
      return { ...event, scope: "one", stream, header: JSON.stringify({ n: at, stream }) };
    });
    await names.write((tx) => tx.placeEvents(names.tenant, events));
    const hashes = await database.owner.lend((connection) =>
      connection.rows<{ places: Uint8Array }>("SELECT places FROM holdfast.event_scopes"),
    );
    const [places = new Uint8Array(0)] = hashes.map((row) => row.places);
    expect(Buffer.from(places.subarray(4, 8))).toEqual(Buffer.from(places.subarray(12, 16)));
    for (const [at, stream] of streams.entries()) {
      const found = await names.reads.headersOfStream(names.tenant, stream, 15);
      const own = events.filter((one) => one.stream === streams[at]);
      expect(found.map(({ header }) => header)).toEqual(own.slice(-15).map(({ header }) => header));
    }
  } finally {
    await store.close();
    await database.close();
  }
});
