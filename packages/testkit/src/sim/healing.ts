/** The end of a run: no fault strikes any more, and within bounded time all must be well, and proven. */
import { type Holdfast, lifeOf, type RecordedEvent } from "@holdfast/core";
import type { Chance } from "../chance.ts";
import type { SimDevice } from "./device.ts";
import {
  type Context,
  asError,
  healMsMax,
  type Inhabitant,
  settle,
  throwFirst,
} from "./inhabitants.ts";
import type { Knobs } from "./knobs.ts";
import { LivenessError, SafetyError } from "./ledger.ts";
import { checkServer } from "./server-oracles.ts";
import {
  allEvents,
  checkAcknowledged,
  checkNothingElse,
  checkProofs,
  checkReadModels,
  modelRows,
} from "./store-oracles.ts";

/** Every device works again, and all hold the same events. */
export async function comeTogether(context: Context): Promise<void> {
  await untilWell(context);
  const { scheduler, backend, inhabitants } = context;
  if (backend === undefined) return;
  const until = scheduler.now + healMsMax;
  const opened: Opened = new Map();
  while (scheduler.now < until) {
    const apart = whatIsApart(inhabitants, opened);
    if (apart === undefined) return;
    await scheduler.run({ at: scheduler.now + lookAgainMs, done: () => context.failures.length > 0 });
    throwFirst(context);
  }
  const apart = whatIsApart(inhabitants, opened);
  throw new LivenessError(`after the last fault ${apart ?? "all is well"}`);
}

/** Devices that have copies, or are older than they were: what they wrote need not be everywhere. */
function copiedIds(inhabitants: readonly Inhabitant[]): ReadonlySet<string> {
  return new Set(
    inhabitants.flatMap(({ device: { copied, open } }) =>
      copied && open !== undefined ? [open.store.status().device] : [],
    ),
  );
}

function ofOthers(
  events: readonly RecordedEvent[],
  devices: ReadonlySet<string>,
): readonly RecordedEvent[] {
  return events.filter(({ header }) => !devices.has(header.dev));
}

/** Leaves of a branch that another copy of the device overtook: dead letters, until a person decides. */
function heldBack(store: Holdfast): ReadonlySet<string> {
  const rows = lifeOf(store)
    .current()
    .driver.prepare(
      `SELECT leaf FROM events CROSS JOIN outbox ON outbox.position = events.position
       WHERE outbox.state = 'dead'`,
    )
    .all<{ leaf: string }>();
  return new Set(rows.map(({ leaf }) => leaf));
}

const readable: ReadonlySet<string> = new Set(["opened", "none"]);

const lookAgainMs = 5_000;

/** Positions of each device up to which its events opened: keys come, and do not go. */
type Opened = Map<string, number>;

/** How many events a store has that are not of those devices. */
function countOfOthers(store: Holdfast, devices: ReadonlySet<string>): number {
  const rows = lifeOf(store)
    .current()
    .driver.prepare(
      `SELECT incarnations.device AS device, count(*) AS count
       FROM incarnations CROSS JOIN events ON events.incarnation = incarnations.number
       GROUP BY incarnations.device`,
    )
    .all<{ device: string; count: number }>();
  return rows
    .filter(({ device }) => !devices.has(device))
    .reduce((sum, { count }) => sum + count, 0);
}

/** How many events of others the device cannot open. */
function countClosed(device: SimDevice, opened: Opened, others: ReadonlySet<string>): number {
  const store = device.open?.store;
  if (store === undefined) return 0;
  const after = opened.get(device.name) ?? 0;
  const events = allEvents(store, after);
  const closed = ofOthers(events, others).filter(({ content }) => !readable.has(content));
  const last = events.at(-1)?.position ?? after;
  opened.set(device.name, closed[0] === undefined ? last : closed[0].position - 1);
  return closed.length;
}

/** What still keeps the devices from holding the same. */
function whatIsApart(inhabitants: readonly Inhabitant[], opened: Opened): string | undefined {
  for (const { device, connected } of inhabitants) {
    const { open } = device;
    if (open === undefined || connected?.open !== open) return `${device.name} is not open`;
    const state = connected.connection.engine.state();
    if (state.evidence !== undefined) {
      throw new SafetyError(`${device.name} halted without a cause: ${state.evidence}`);
    }
    const { waiting, owed, dead } = connected.connection.sync.watermarks();
    if (dead > 0 && !device.copied) return `${device.name} has ${dead} dead letters`;
    const trouble = `${state.push}, ${state.pull}, ${state.lastFailure ?? "no failure"}`;
    if (waiting > 0) return `${device.name} has ${waiting} to push (${trouble})`;
    if (owed.length > 0) return `${device.name} owes ${JSON.stringify(owed)} (${trouble})`;
  }
  const copied = copiedIds(inhabitants);
  const heads = new Set(
    inhabitants.map(({ device: { open } }) =>
      open === undefined ? 0 : countOfOthers(open.store, copied),
    ),
  );
  if (heads.size > 1) return `the devices hold ${[...heads].join(", ")} events`;
  for (const { device } of inhabitants) {
    // An older keyring lacks what came since; who has it need not give it again. What an older copy had sealed
    // under a key that it had not shared yet, nobody can open.
    if (device.copied) continue;
    const closed = countClosed(device, opened, copied);
    if (closed > 0) return `${device.name} cannot open ${closed} events`;
  }
  return undefined;
}

/** Every device works again within bounded time. */
async function untilWell(context: Context): Promise<void> {
  const { scheduler, inhabitants } = context;
  const until = scheduler.now + healMsMax;
  const well = new Set<string>();
  for (const { device, work } of inhabitants) {
    const tryOnce = async (): Promise<void> => {
      const { open } = device;
      const code = open === undefined ? "not open" : await work.probe(open);
      if (code === undefined) well.add(device.name);
      else if (!recovering(code)) throw new SafetyError(`${device.name}: ${code} without a fault`);
      else scheduler.after(1_000, `${device.name} probe`, probe);
    };
    const probe = (): void => {
      tryOnce().catch((error: unknown) => {
        context.failures.push(asError(error));
      });
    };
    scheduler.after(1_000, `${device.name} probe`, probe);
  }
  const ended = await scheduler.run({
    at: until,
    done: () => context.failures.length > 0 || well.size === inhabitants.length,
  });
  throwFirst(context);
  if (ended === "done") return;
  const waiting = inhabitants.find(({ device }) => !well.has(device.name))?.device;
  throw new LivenessError(
    `${waiting?.name ?? "?"} is not well after the last fault: ${waiting?.openFailure ?? "silent"}`,
  );
}

/** Codes that the last fault may still explain when it has just ended. */
function recovering(code: string): boolean {
  return ["not open", "store_io_error", "store_full", "store_corrupt", "store_busy"].includes(code);
}

/** Findings of `verify` that faults of the disk explain: copies that the next write repairs. */
function explained(knobs: Knobs): ReadonlySet<string> {
  const { writeErrors, syncErrors, fullEveryMs, killEveryMs } = knobs;
  if (writeErrors + syncErrors + fullEveryMs + killEveryMs === 0) return new Set();
  return new Set([
    "keyring_copy_missing",
    "keyring_line_damaged",
    "keyring_line_missing",
    "keyring_line_torn",
    "mark_damaged",
  ]);
}

/** All promises, on the open stores and once more after a power cut and a new opening. */
export async function checkEnd(context: Context, chance: Chance): Promise<void> {
  const { scheduler, inhabitants, ledger, backend } = context;
  const held: (readonly RecordedEvent[])[] = [];
  for (const { device } of inhabitants) {
    const { open } = device;
    if (open === undefined) throw new LivenessError(`${device.name} went down without a fault`);
    const events = allEvents(open.store);
    held.push(events);
    checkAcknowledged(device.name, open.store, ledger);
    checkNothingElse(device.name, events, ledger);
    await settle(context, "a rebuild", checkReadModels(device.name, open.store, events));
    // What an older copy had written since is on the server, and its streams say that it is not here; its
    // copies of the keyring are of different ages until the next line is written.
    const gaps = device.copied ? ["withheld", "keyring_line_missing"] : [];
    checkProofs(device.name, open.store, new Set([...explained(context.knobs), ...gaps]));
    for (const { leaf } of events) scheduler.note(leaf);
  }
  if (backend !== undefined) {
    checkSame(context, held);
    const shared = held.map((events, at) => {
      const store = inhabitants[at]?.device.open?.store;
      const back = store === undefined ? new Set<string>() : heldBack(store);
      return events.filter(({ leaf }) => !back.has(leaf));
    });
    await settle(context, "the server's answers", checkServer(backend.server, ledger, shared));
  }
  await reopenAfterPowerCut(context, chance);
}

/** Whoever holds the same events shows the same. */
function checkSame(
  { inhabitants, ledger }: Context,
  held: readonly (readonly RecordedEvent[])[],
): void {
  const copied = inhabitants.some(({ device }) => device.copied);
  const [first, ...others] = inhabitants.map(({ device }, at) => {
    const store = device.open?.store;
    const leaves = ofOthers(held[at] ?? [], copiedIds(inhabitants))
      .map(({ leaf }) => leaf)
      .toSorted();
    return {
      name: device.name,
      leaves: leaves.join(),
      rows: store === undefined ? "" : JSON.stringify([...modelRows(store)]),
      conflicts: JSON.stringify(store?.conflicts({ all: true })),
    };
  });
  for (const other of others) {
    // A branch that is held back counts where it is held.
    const parts = copied ? (["leaves"] as const) : (["leaves", "rows", "conflicts"] as const);
    for (const part of parts) {
      if (other[part] === first?.[part]) continue;
      throw new SafetyError(`${other.name} and ${first?.name ?? "?"} have other ${part}`);
    }
  }
  for (const { word, leaf } of ledger.acknowledged.values()) {
    if (!ledger.excused.has(leaf) && !copied && first?.leaves.includes(leaf) === false) {
      throw new SafetyError(`${first.name}: the acknowledged ${word} did not arrive`);
    }
  }
}

async function reopenAfterPowerCut(context: Context, chance: Chance): Promise<void> {
  const { scheduler, inhabitants, ledger } = context;
  for (const { device } of inhabitants) device.retire();
  await scheduler.run({ at: scheduler.now + 5_000 });
  for (const { device } of inhabitants) {
    device.site.disk.losePower(chance);
    device.restart();
    await scheduler.run({ at: scheduler.now + 60_000, done: () => device.open !== undefined });
    const { open } = device;
    if (open === undefined) throw new LivenessError(`${device.name}: ${device.openFailure ?? "?"}`);
    checkAcknowledged(device.name, open.store, ledger);
    await settle(context, "closing", open.store.close());
  }
}
