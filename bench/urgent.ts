/**
 * An urgent event behind a long queue: delivered in one exchange, the next lease cheap, and the queue no burden
 * on memory. The process that measures opens the store with the queue in it; another one had appended it.
 */
import { gate, type Report, round, timing } from "./measure.ts";
import { founderName, foundTenant } from "./tenant.ts";

export interface UrgentOptions {
  readonly folder?: string | undefined;
  /** Normal events in the queue. */
  readonly queued: number;
  /** Urgent events measured, one after the other. */
  readonly times: number;
  readonly leases: number;
}

const streams = 500;
const each = 1_000;
const batches = { first: 64, most: 1_000 };

export async function benchUrgent(options: UrgentOptions): Promise<Report> {
  const { queued, times } = options;
  const tenant = await foundTenant({ folder: options.folder, streams });
  try {
    const place = tenant.placeOf(founderName);
    await tenant.founder.ask("close");
    const reopened = async () => {
      const child = tenant.device();
      await child.ask("open", place);
      return child;
    };

    // With nothing queued: what an open store takes, and what one urgent event makes of it.
    const empty = await reopened();
    const opened = await empty.ask("memory");
    await empty.ask("urgent", 0);
    const alone = await empty.ask("memory");
    const fill = async (): Promise<void> =>
      empty.ask("append", streams, queued, Math.min(each, queued), streams);
    await fill();
    const appending = await empty.ask("memory");
    await empty.ask("close");
    await empty.end();

    const child = await reopened();
    const waiting = await child.ask("memory");
    const urgent = [await child.ask("urgent", 0)];
    const delivered = await child.ask("memory");
    for (let at = 1; at < times; at++) urgent.push(await child.ask("urgent", at));
    const delivering = await child.ask("memory");
    await child.ask("close");
    const pushes = Math.max(...urgent.map((one) => one.pushes));
    const behind = Math.min(...urgent.map((one) => one.waiting));
    const first = timing(
      await child.ask("leases", place, Math.min(batches.first, behind), options.leases),
    );
    const most = timing(
      await child.ask("leases", place, Math.min(batches.most, behind), options.leases),
    );
    return {
      subject: "urgent",
      ratio: round(5 / first.p95),
      queued,
      still_queued: behind,
      exchanges: pushes,
      first_ms: round(urgent[0]?.ms ?? 0, 1),
      delivered_ms: timing(urgent.map(({ ms }) => ms)),
      lease_64: first,
      lease_1000: most,
      memory_mb: { opened, alone, waiting, delivered, delivering, appending },
      gates: [
        gate("exchanges until an urgent event is delivered", pushes, "<", 2),
        gate("lease of 64 entries p95 ms", first.p95, "<", 5),
        gate("lease of 1,000 entries p95 ms", most.p95, "<", 5),
        gate("RSS with the queue, above an open store, MB", waiting.now - opened.now, "<", 50),
        gate("the same once an urgent event was delivered", delivered.now - opened.now, "<", 50),
      ],
    };
  } finally {
    await tenant.remove();
  }
}
