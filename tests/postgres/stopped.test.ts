/** A node that stops in the middle of a write does not keep the others from writing, and is too late afterwards. */
import { fileURLToPath } from "node:url";
import { setTimeout as wait } from "node:timers/promises";
import { addTenant, createChance, eventsFor } from "@holdfast/testkit";
import { expect, it } from "vitest";
import { startTalker } from "../e2e/processes.ts";
import { createDatabase } from "./cluster.ts";

const script = fileURLToPath(new URL("holder.child.ts", import.meta.url));

it.skipIf(process.platform === "win32")(
  "a node that is stopped while it holds the head row is passed by, and fenced",
  async () => {
    const database = await createDatabase();
    const store = database.open();
    const chance = createChance(1);
    const names = await addTenant({ store, chance });
    const { tenant, device, incarnation, shard } = names;
    const words = JSON.stringify({ tenant, device, incarnation });
    const holder = await startTalker([script, database.url, words]);
    try {
      const late = holder.ask<{ tries: number; position: number }>("write");
      while (!holder.said.some((one) => "holding" in one)) await wait(5);
      holder.process.kill("SIGSTOP");
      // It holds the lock: this waits until the database ends the other's transaction.
      const log = { device, incarnation };
      const position = await names.write((tx) =>
        tx.placeEvents(tenant, eventsFor({ chance }, log, 1, 1)),
      );
      expect(position).toBe(1);
      expect((await names.reads.head(shard)).events).toBe(1);
      holder.process.kill("SIGCONT");
      // What it had written is gone; it begins again behind the other.
      expect(await late).toEqual({ tries: 2, position: 2 });
      expect((await names.reads.head(shard)).events).toBe(2);
    } finally {
      holder.process.kill("SIGCONT");
      await holder.kill();
      await store.close();
      await database.close();
    }
  },
);
