/**
 * Several processes deliver the outbox of one store at once. Each entry must reach the server once: what the workers
 * say they delivered adds up, every event has its receipt, the store verifies, and, where this device may invite,
 * another device pulls everything and counts.
 */
import { type Holdfast, isHoldfastError } from "@holdfast/core";
import { type Hand, startHand } from "../job.ts";
import { loadDrafts } from "../events.ts";
import type { Pace } from "../pace.ts";
import type { Site } from "../site.ts";
import { type Measured, rounded, type Suite, type SuiteContext } from "../suite.ts";

const each = 500;
const pageEvents = 1_000;

/** Concurrent workers over one outbox. */
export const workers: Suite = {
  name: "workers",
  figures: ({ workers: count }) => [
    "delivered",
    "duplicates",
    "lost",
    "delivered_per_s",
    "workers_that_delivered",
    ...Array.from({ length: count }, (_, at) => `worker_${at + 1}_delivered`),
  ],
  async run(context): Promise<Measured> {
    const site = await context.site();
    const { workers: count, workersEntries: entries } = context.sizes;
    await site.device.sync();
    const { store } = site.device;
    const ids = await queued(store, entries);
    const { outbox, head } = store.status();
    const { delivered, lines, seconds } = await deliverTogether(context, site, count, entries);
    const sum = delivered.reduce((total, one) => total + one, 0);
    // Beside the entries there are the store's own: of new scopes and their keys, before and meanwhile.
    const due = outbox.waiting + store.status().head.sequence - head.sequence;
    const receipted = ids.filter((id) => hasReceipt(store, id)).length;
    const seen = await countedBy(site, new Set(ids));
    const duplicates = Math.max(sum - due, seen?.more ?? 0);
    const lost = Math.max(due - sum, entries - receipted, seen?.never ?? 0);
    const each = delivered.map((one, at) => [`worker_${at + 1}_delivered`, one] as const);
    return {
      settings: {
        workers: count,
        entries,
        counted_by: seen === undefined ? "receipts" : "receipts and a second device",
      },
      figures: {
        delivered: sum,
        duplicates,
        lost,
        delivered_per_s: rounded(entries / seconds, 0),
        workers_that_delivered: delivered.filter((one) => one > 0).length,
        ...Object.fromEntries(each),
      },
      checks: {
        no_duplicates: duplicates === 0,
        no_loss: lost === 0,
        the_store_verifies: store.verify().ok,
      },
      charts: {
        workers: {
          title: `${count} processes deliver ${entries.toLocaleString("en-US")} entries of one store`,
          x: "seconds",
          y: "entries delivered",
          series: lines.map((points, at) => ({ name: `worker ${at + 1}`, points })),
        },
      },
    };
  },
};

async function queued(store: Holdfast, entries: number): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let from = 0; from < entries; from += each) {
    const answer = await store.append(loadDrafts(from, Math.min(each, entries - from)));
    if (answer.status === "appended") ids.push(...answer.events.map(({ id }) => id));
  }
  return ids;
}

interface Together {
  readonly delivered: readonly number[];
  readonly lines: readonly (readonly (readonly [number, number])[])[];
  readonly seconds: number;
}

/** All of them open the store first and begin together. */
async function deliverTogether(
  { pace }: Pick<SuiteContext, "pace">,
  { device }: Site,
  count: number,
  entries: number,
): Promise<Together> {
  const delivered = Array.from({ length: count }, () => 0);
  const lines = delivered.map((): [number, number][] => [[0, 0]]);
  let began = performance.now();
  const progress: Pace = pace("workers", entries);
  const hands: Hand[] = [];
  try {
    for (const at of delivered.keys()) {
      const hand = await startHand({ kind: "deliver", place: device.place }, (said) => {
        if (said.kind !== "delivered") return;
        delivered[at] = (delivered[at] ?? 0) + said.pushed;
        lines[at]?.push([(performance.now() - began) / 1_000, delivered[at] ?? 0]);
        progress.update(delivered.reduce((total, one) => total + one, 0));
      });
      hands.push(hand);
    }
    began = performance.now();
    await Promise.all(hands.map((hand) => hand.go()));
    const seconds = Math.max(...lines.map((line) => line.at(-1)?.[0] ?? 0));
    return { delivered, lines, seconds };
  } finally {
    for (const hand of hands) await hand.stop();
    progress.end();
  }
}

function hasReceipt(store: Holdfast, id: string): boolean {
  try {
    store.receipt(id);
    return true;
  } catch (error) {
    if (isHoldfastError(error)) return false;
    throw error;
  }
}

/** What another device finds of those events; `undefined` where this one may not invite. */
async function countedBy(
  { join }: Site,
  ids: ReadonlySet<string>,
): Promise<{ readonly more: number; readonly never: number } | undefined> {
  let other: Awaited<ReturnType<Site["join"]>>;
  try {
    other = await join("counter");
  } catch (error) {
    if (isHoldfastError(error, "role_insufficient")) return undefined;
    throw error;
  }
  await other.sync();
  const found = new Map<string, number>();
  for (let after = 0; ;) {
    const page = other.store.read({ after, limit: pageEvents, headersOnly: true });
    for (const { id } of page) if (ids.has(id)) found.set(id, (found.get(id) ?? 0) + 1);
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.position;
  }
  return {
    more: [...found.values()].filter((times) => times > 1).length,
    never: ids.size - found.size,
  };
}
