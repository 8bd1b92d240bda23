/**
 * The first sync of a device that joins: every event of the tenant, in a process that is killed twice on the
 * way and goes on where its last page was stored. Nothing may be there twice or be missing.
 */
import type { Memory } from "./device.ts";
import { gate, type Report, round, stopwatchAsync } from "./measure.ts";
import { type Device, foundTenant, type Tenant } from "./tenant.ts";

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
    await founder.ask("append", streams, more, Math.min(each, more), streams);
    const push_ms = await stopwatchAsync(() => founder.ask("sync"));
    const small = await joinAndPull(tenant, events, { name: "small", keptSmall: true });
    // V8 lets its young generation grow with what survives: what a program that says nothing takes.
    const usual = await joinAndPull(tenant, events, { name: "usual", keptSmall: false });
    const both = [small, usual];
    const twice = Math.max(...both.map((one) => one.twice));
    const faulty = both.filter((one) => !one.ok).length;
    return {
      subject: "first-sync",
      ratio: round(150 / usual.above),
      events,
      push_s: round(push_ms / 1_000),
      small,
      usual,
      small_to_usual_rate: round(small.rate / usual.rate),
      gates: [
        gate("most RSS of the device above an open empty store, MB", usual.above, "<", 150),
        gate("the same as `holdfast sync` keeps its memory small", small.above, "<", 150),
        gate("events there twice after two kills", twice, "<", 1),
        gate("devices where events are missing or verify fails", faulty, "<", 1),
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

interface Joined {
  readonly killed_at: readonly Stopped[];
  readonly kept: number;
  readonly pull_s: number;
  /** Events a second of the last process, keys and read models included. */
  readonly rate: number;
  readonly open: Memory;
  readonly pulling: Memory;
  readonly above: number;
  readonly twice: number;
  /** How the last sync ended. */
  readonly ended: string;
  readonly in_model: number;
  readonly verified: boolean;
  readonly ok: boolean;
}

async function joinAndPull(
  tenant: Tenant,
  events: number,
  { name, keptSmall }: { readonly name: string; readonly keptSmall: boolean },
): Promise<Joined> {
  const { founder } = tenant;
  const invitation = await founder.ask("invite");
  const begin = async (): Promise<Device> => {
    const begun = tenant.device();
    if (keptSmall) await begun.ask("keepSmall");
    return begun;
  };
  let child = await begin();
  const place = tenant.placeOf(name);
  const reopen = async (): Promise<void> => {
    child = await begin();
    await child.ask("open", place);
  };
  await child.ask("make", place, invitation);
  await child.ask("open", place);
  const open = await child.ask("memory");
  await child.ask("enrol", invitation);
  // Its first event goes up, and the founder admits it.
  await child.ask("sync");
  await founder.ask("sync");

  const killed: Stopped[] = [];
  for (const share of kills) {
    killed.push(await killAfter(child, Math.floor(events * share)));
    await reopen();
  }
  const kept = (await child.ask("status")).events;
  let ended = "";
  const pull_ms = await stopwatchAsync(async () => {
    ended = (await child.ask("sync")).status;
  });
  const { events: pulled } = await child.ask("status");
  const pulling = await child.ask("memory");
  const counted = await child.ask("counted");
  const inModel = await child.ask("inModel");
  await child.ask("close");
  await child.end();
  const most = Math.max(pulling.most, ...killed.map((one) => one.most));
  return {
    killed_at: killed,
    kept,
    pull_s: round(pull_ms / 1_000),
    rate: round(((pulled - kept) * 1_000) / pull_ms, 1),
    open,
    pulling,
    above: round(most - open.now, 1),
    twice: counted.events - counted.different,
    ended,
    in_model: inModel,
    verified: counted.ok,
    ok: inModel === events && counted.ok,
  };
}

/** Syncs until that many events are there, and kills the process in the middle of it. */
async function killAfter(child: Device, events: number): Promise<Stopped> {
  const syncing = child.ask("sync").catch(() => undefined);
  let seen = await child.ask("status");
  while (seen.events < events) seen = await child.ask("status");
  await child.kill();
  await syncing;
  return { events: seen.events, most: seen.most };
}
