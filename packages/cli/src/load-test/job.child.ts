/** A process of the load test: opens a store, waits, does its part, says how it went. See `job.ts`. */
import { once } from "node:events";
import { type Holdfast, isHoldfastError } from "@holdfast/core";
import { openStore, syncStore } from "@holdfast/node";
import { projections, registry } from "../store.ts";
import { loadDrafts } from "./events.ts";
import type { Job, Memory, Said } from "./job.ts";
import { rest } from "./suite.ts";

const megabyte = 1e6;
const settleMs = 300;
/** How long a worker waits before it looks for more, when others hold what is left. */
const pauseMs = 50;

function say(said: Said): void {
  process.send?.(said);
}

async function memory(): Promise<Memory> {
  await rest(settleMs);
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return { rss: rss / megabyte, heap: heapUsed / megabyte };
}

async function queue(store: Holdfast, job: Extract<Job, { kind: "queue" }>): Promise<void> {
  for (let from = 0; from < job.entries; from += job.each) {
    const count = Math.min(job.each, job.entries - from);
    await store.append(loadDrafts(from, count));
    const entries = from + count;
    if (entries % job.every === 0 || entries === job.entries) {
      say({ kind: "queued", entries, rss: process.memoryUsage.rss() / megabyte });
    }
  }
}

/** Syncs until nothing waits, whoever delivers it. */
async function deliver(store: Holdfast): Promise<void> {
  const engine = syncStore(store, { tail: false });
  for (;;) {
    const { status, pushed } = await engine.syncNow();
    if (pushed > 0) say({ kind: "delivered", pushed });
    if (status === "drained") break;
    if (status === "halted" || status === "needs-auth") throw new Error(status);
    await rest(pauseMs);
  }
  await engine.close();
}

const [job] = (await once(process, "message")) as [Job];
try {
  const store = await openStore({
    ...job.place,
    registry,
    projections,
    app: "holdfast-load-test",
  });
  say({ kind: "ready", memory: await memory() });
  await once(process, "message");
  if (job.kind === "queue") await queue(store, job);
  else if (job.kind === "deliver") await deliver(store);
  say({ kind: "done", memory: await memory() });
  await store.close();
} catch (error) {
  say({ kind: "failed", code: isHoldfastError(error) ? error.code : String(error) });
}
process.disconnect();
