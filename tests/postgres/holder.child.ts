/** A node that stands still in the middle of a write, as a process that a test can stop: `holder.child.ts URL LOG`. */
import { setTimeout as sleep } from "node:timers/promises";
import { createNodeCrypto } from "@holdfast/node";
import { createPostgresDriver, createPostgresServerStore, prepareSession } from "@holdfast/server";
import { createChance, eventsFor } from "@holdfast/testkit";
import { listen } from "../e2e/processes.ts";

const [url = "", log = "{}", idleText = "1000"] = process.argv.slice(2);
const names = JSON.parse(log) as { tenant: string; device: string; incarnation: string };
const driver = createPostgresDriver({
  url,
  connectionsMax: 2,
  waitingMax: 10,
  waitMs: 10_000,
  answerMs: 60_000,
  prepare: (connection) =>
    prepareSession(connection, { statementMs: 30_000, idleMs: Number(idleText) }),
});
const store = createPostgresServerStore({ crypto: createNodeCrypto(), driver });

await listen(
  {
    /** Writes; in the first try it says so and waits a little, for whoever wants to stop it then. */
    async write() {
      let tries = 0;
      const position = await store.write(names.tenant, async (tx) => {
        tries += 1;
        const placed = await tx.placeEvents(
          names.tenant,
          eventsFor({ chance: createChance(77) }, names, 1, 0),
        );
        if (tries === 1) {
          process.stdout.write(`${JSON.stringify({ holding: true })}\n`);
          await sleep(500);
        }
        return placed;
      });
      return { tries, position };
    },
  },
  { started: true },
);
await store.close();
