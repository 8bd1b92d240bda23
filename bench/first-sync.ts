/**
 * The first sync of a device that joins: every event of the tenant, in a process that is killed twice on the
 * way and goes on where its last page was stored. Nothing may be there twice or be missing.
 */
import type { Child } from "./children.ts";
import type { DeviceActs } from "./device.ts";
import { gate, type Report, round, stopwatchAsync } from "./measure.ts";
import { type Device, foundTenant, placeOf, type Tenant } from "./tenant.ts";

export interface FirstSyncOptions {
  readonly folder?: string | undefined;
  readonly events: number;
}

const streams = 500;
const each = 1_000;
/** Shares of all events after which the process is killed. */
const kills = [0.1, 0.3];

export async function benchFirstSync({ folder, events }: FirstSyncOptions): Promise<Report> {
  const tenant = await foundTenant({ folder, streams });
  try {
    const { founder } = tenant;
    const more = events - streams;
    await founder.child.ask("append", streams, more, Math.min(each, more), streams);
    const push_ms = await stopwatchAsync(() => founder.child.ask("sync"));
    const invitation = await founder.child.ask("invite");
    const place = placeOf(tenant.device("joining"));
    let { child } = await reopen(tenant, place, invitation);
    const open = await child.ask("memory");
    await child.ask("enrol", invitation);
    // Its first event goes up, and the founder admits it.
    await child.ask("sync");
    await founder.child.ask("sync");

    const stopped: Stopped[] = [];
    for (const share of kills) {
      stopped.push(await killAfter(child, Math.floor(events * share)));
      ({ child } = await reopen(tenant, place));
    }
    const kept = (await child.ask("status")).events;
    await child.ask("memory");
    const pull_ms = await stopwatchAsync(() => child.ask("sync"));
    const pulled = await child.ask("status");
    const pulling = await child.ask("memory");
    const rows = await child.ask("inModel");
    const counted = await child.ask("counted");
    if (rows !== events) throw new Error(`${rows} events are readable, not ${events}`);
    const twice = counted.events - counted.different;
    const above = Math.max(pulling.most, ...stopped.map(({ most }) => most)) - open.now;
    return {
      subject: "first-sync",
      ratio: round(150 / above),
      events,
      push_s: round(push_ms / 1_000),
      killed_at: stopped,
      kept_after_kills: kept,
      pulled_then: pulled.events - kept,
      pull_s: round(pull_ms / 1_000),
      pull_rate: round(((pulled.events - kept) * 1_000) / pull_ms, 1),
      memory_mb: { open, pulling },
      gates: [
        gate("most RSS of the pulling device above an open empty store, MB", above, "<", 150),
        gate("events there twice after two kills", twice, "<", 1),
        gate("missing after two kills, or failing verify", counted.ok ? 0 : 1, "<", 1),
      ],
    };
  } finally {
    await tenant.remove();
  }
}

/** What a process had when it was killed: events, and the most memory in MB. */
interface Stopped {
  readonly events: number;
  readonly most: number;
}

type Place = ReturnType<typeof placeOf>;

/** A new process over the place; with a code, over a new store that joins. */
async function reopen(
  tenant: Tenant,
  place: Place,
  invitation?: string,
): Promise<Pick<Device, "child">> {
  const { child } = tenant.device("joining");
  if (invitation !== undefined) await child.ask("make", place, invitation);
  await child.ask("open", place);
  return { child };
}

/** Syncs until that many events are there, and kills the process in the middle of it. */
async function killAfter(child: Child<DeviceActs>, events: number): Promise<Stopped> {
  const syncing = child.ask("sync").catch(() => undefined);
  let seen = await child.ask("status");
  while (seen.events < events) seen = await child.ask("status");
  await child.kill();
  await syncing;
  return { events: seen.events, most: seen.most };
}
