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
import { checkGrants } from "./grant-oracles.ts";
import { type Ledger, LivenessError, SafetyError } from "./ledger.ts";
import { checkServer } from "./server-oracles.ts";
import {
  allEvents,
  checkAcknowledged,
  checkNothingElse,
  checkProofs,
  checkReadModels,
  modelRows,
} from "./store-oracles.ts";
import { comparedAt, type Seen, seenOf, visibleTo } from "./visibility.ts";

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
    await scheduler.run({
      at: scheduler.now + lookAgainMs,
      done: () => context.failures.length > 0,
    });
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

/** How many such events a store has of each device that is not one of those. */
function countsOf(
  store: Holdfast,
  counts: (seen: Seen) => boolean,
  devices: ReadonlySet<string>,
): ReadonlyMap<string, number> {
  const rows = lifeOf(store)
    .current()
    .driver.prepare(
      `SELECT incarnations.device AS author, streams.scope AS scope, events.type AS type,
         count(*) AS count
       FROM events CROSS JOIN incarnations ON incarnations.number = events.incarnation
       CROSS JOIN streams ON streams.stream = events.stream
       GROUP BY incarnations.device, streams.scope, events.type`,
    )
    .all<Seen & { readonly count: number }>();
  const sums = new Map<string, number>();
  for (const row of rows) {
    if (devices.has(row.author) || !counts(row)) continue;
    sums.set(row.author, (sums.get(row.author) ?? 0) + row.count);
  }
  return sums;
}

/**
 * Who has another number of events of somebody than the first device has for it. Author by author: two devices
 * that each lack one event of the other hold equally many.
 */
function whoLacks(
  inhabitants: readonly Inhabitant[],
  copied: ReadonlySet<string>,
): string | undefined {
  const first = inhabitants[0]?.device.open?.store;
  for (const inhabitant of inhabitants.slice(1)) {
    const store = inhabitant.device.open?.store;
    if (first === undefined || store === undefined) return "not all are open";
    const wanted = countsOf(first, visibleTo(inhabitant), copied);
    const here = countsOf(store, comparedAt(inhabitant), copied);
    for (const author of new Set([...wanted.keys(), ...here.keys()])) {
      const [has, of] = [here.get(author) ?? 0, wanted.get(author) ?? 0];
      if (has !== of) return `${inhabitant.device.name} holds ${has} events of ${of} of ${author}`;
    }
  }
  return undefined;
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
  const lacks = whoLacks(inhabitants, copied);
  if (lacks !== undefined) return lacks;
  for (const { device } of inhabitants) {
    const { store } = device.open ?? {};
    // A key that came while the disk failed: the next exchange of grants has its streams folded again.
    if (store !== undefined && lifeOf(store).current().closed.openable().length > 0) {
      return `${device.name} has not folded what it can open`;
    }
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

const none: ReadonlySet<string> = new Set();

/**
 * Where every copy on a disk is older, keys that were made since are gone, and what comes back sealed under them
 * stays closed: events since that copy, and what was never answered. As `verify` names them.
 */
function lostEvents(events: readonly RecordedEvent[], ledger: Ledger): ReadonlySet<string> {
  const answered = new Set([...ledger.acknowledged.values()].map(({ leaf }) => leaf));
  const lost = events.filter(({ leaf }) => ledger.excused.has(leaf) || !answered.has(leaf));
  return new Set(lost.map(({ position }) => `event ${position}`));
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
    const codes = new Set([...explained(context.knobs), ...gaps]);
    const lost = device.copied && context.knobs.copyWhole ? lostEvents(events, ledger) : none;
    checkProofs(
      device.name,
      open.store,
      ({ code, object }) => codes.has(code) || (code === "key_missing" && lost.has(object)),
    );
    for (const { leaf } of events) scheduler.note(leaf);
  }
  if (backend !== undefined) {
    checkSame(context, held);
    const shared = held.map((events, at) => {
      const store = inhabitants[at]?.device.open?.store;
      const back = store === undefined ? new Set<string>() : heldBack(store);
      return events.filter(({ leaf }) => !back.has(leaf));
    });
    await settle(
      context,
      "the server's answers",
      checkServer(backend.server, ledger, context.store.crypto, shared),
    );
    await settle(context, "the server's answers", checkGrants(context, held));
  }
  await reopenAfterPowerCut(context, chance);
}

/** What a device shows of such events. */
function shown(
  { device }: Inhabitant,
  held: readonly RecordedEvent[],
  counts: (seen: Seen) => boolean,
  copied: ReadonlySet<string>,
) {
  const events = held.filter((event) => counts(seenOf(event)));
  const streams = new Set(events.map(({ stream }) => stream));
  const leaves = ofOthers(events, copied).map(({ leaf }) => leaf);
  const store = device.open?.store;
  const rows = store === undefined ? [] : [...modelRows(store)];
  const conflicts = store?.conflicts({ all: true }) ?? [];
  return {
    leaves: leaves.toSorted().join(),
    rows: JSON.stringify(rows.filter(([stream]) => streams.has(stream))),
    conflicts: JSON.stringify(conflicts.filter(({ stream }) => streams.has(stream))),
  };
}

/** Whoever holds the same events shows the same. */
function checkSame(
  { inhabitants, ledger }: Context,
  held: readonly (readonly RecordedEvent[])[],
): void {
  const copied = inhabitants.some(({ device }) => device.copied);
  const ids = copiedIds(inhabitants);
  const [first] = inhabitants;
  if (first === undefined) return;
  for (const [at, inhabitant] of inhabitants.entries()) {
    const own = shown(inhabitant, held[at] ?? [], comparedAt(inhabitant), ids);
    const there = shown(first, held[0] ?? [], visibleTo(inhabitant), ids);
    // A branch that is held back counts where it is held.
    const parts = copied ? (["leaves"] as const) : (["leaves", "rows", "conflicts"] as const);
    for (const part of parts) {
      if (own[part] === there[part]) continue;
      const [name, other] = [inhabitant.device.name, first.device.name];
      throw new SafetyError(`${name} and ${other} have other ${part}`);
    }
  }
  const arrived = new Set(held[0]?.map(({ leaf }) => leaf));
  for (const { word, leaf } of ledger.acknowledged.values()) {
    if (!ledger.excused.has(leaf) && !copied && !arrived.has(leaf)) {
      throw new SafetyError(`${first.device.name}: the acknowledged ${word} did not arrive`);
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
