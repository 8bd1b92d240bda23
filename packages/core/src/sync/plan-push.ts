/**
 * Planning one exchange: which own device log, up to which commit note, whose bodies, whose leaves alone.
 *
 * Entries are leased in their turn, and the first one names the log: unsent tails of earlier incarnations get
 * their turn like any other. The note is the first that covers the last body; what lies between goes as
 * leaves, so that an urgent event behind 50,000 others is in custody after one exchange and they follow as
 * fills. Bodies below the server's size go as fills. The opening goes with the first exchange of its log, even
 * when another worker has leased its entry: without it the server cannot tell whose log it is.
 */
import { fromBase64url } from "../std/bytes.ts";
import { invariant } from "../std/errors.ts";
import type { SqliteEventLog } from "../store/sqlite-event-log.ts";
import type { StoredEvent } from "../store/event-log.ts";
import type { Outbox } from "../outbox/outbox.ts";
import { bodyBytes } from "./codec/bodies.ts";
import type { EventBody } from "./messages/body.ts";
import type { Fill, PushEntry, PushRequest } from "./messages/push.ts";
import { isInRanges } from "./ranges.ts";
import type { PlannedPush, PushBounds } from "./sync-store.ts";
import type { KeptNote, KnownLog, PushedLog, SyncTables } from "./sync-tables.ts";

export interface PlanPushDeps {
  readonly tables: SyncTables;
  readonly log: SqliteEventLog;
  readonly outbox: Outbox;
  /** Names this worker's lease of outbox entries. */
  readonly worker: string;
  readonly endpoint: string;
}

/** A leased entry at its place in the log that is pushed. */
interface Placed {
  readonly position: number;
  readonly index: number;
}

/** An entry whose body goes along. */
interface Carried extends Placed {
  readonly body: EventBody;
  readonly bytes: number;
  readonly urgent: boolean;
}

/** Leases and plans, in the caller's transaction; `undefined` when nothing is due. */
export function planPush(deps: PlanPushDeps, bounds: PushBounds): PlannedPush | undefined {
  const { outbox, tables } = deps;
  for (;;) {
    const leased = outbox.lease({ worker: deps.worker, entries: bounds.bodies });
    if (leased === undefined || leased.entries.length === 0) return undefined;
    const { log, placed } = logInTurn(tables, leased.entries);
    const pushed = tables.pushed(log.number);
    const known = placed.filter(({ index }) => isAcknowledged(pushed, index));
    if (known.length > 0) {
      // An outbox that was made anew does not know what was delivered; the receipt does.
      outbox.delivered(known.map(({ position }) => position));
      outbox.release(leased.token);
      continue;
    }
    const carried = carry(deps, placed, bounds.bytes);
    const note = chooseNote(tables, log.number, pushed, carried, bounds.leaves);
    const sent = carried.filter(({ index }) => index < note.size);
    const positions = positionsOf(sent, pushed.size);
    return {
      token: leased.token,
      attempt: outbox.begin(leased.token, deps.endpoint, positions),
      request: composeRequest(deps, log, pushed, note, sent),
      positions,
      bytes: sent.reduce((sum, { bytes }) => sum + bytes, 0),
      urgent: sent.some(({ urgent }) => urgent),
    };
  }
}

function isAcknowledged(pushed: PushedLog, index: number): boolean {
  return index < pushed.size && !isInRanges(pushed.owed, index);
}

/**
 * The log of the first entry, and all leased entries that are in it. An incarnation names its predecessor, so the
 * server hears of that one first, even when nothing of it is leased.
 */
function logInTurn(
  tables: SyncTables,
  entries: readonly { readonly position: number; readonly lane?: string }[],
): { readonly log: KnownLog; readonly placed: readonly (Placed & { lane?: string })[] } {
  const places = entries.flatMap((entry) => {
    const place = tables.placeOf(entry.position);
    return place === undefined ? [] : [{ ...entry, ...place }];
  });
  const turn = places[0]?.number ?? 0;
  const log = tables.ownLogs().find(({ number }) => number === turn || isNews(tables, number));
  invariant(log !== undefined && log.number <= turn, "an outbox entry stands for an own event");
  return { log, placed: places.filter(({ number }) => number === log.number) };
}

/** Has the server never heard of that log? Of one that a copy has taken over there is no receipt, only a size. */
function isNews(tables: SyncTables, log: number): boolean {
  const { size, receipt } = tables.pushed(log);
  return size === 0 && receipt === undefined && !tables.hasLeaf(log, "enrol");
}

/** Bodies in their turn, as many as the bytes allow and one in any case. */
function carry(
  deps: PlanPushDeps,
  placed: readonly (Placed & { lane?: string })[],
  bytesMax: number,
): readonly Carried[] {
  const carried: Carried[] = [];
  let sum = 0;
  for (const { position, index, lane } of placed) {
    const [stored] = deps.log.read({ after: position - 1, limit: 1 });
    invariant(stored?.position === position, "an outbox entry stands for a stored event");
    const body = bodyOf(stored);
    const bytes = bodyBytes(body);
    if (carried.length > 0 && sum + bytes > bytesMax) break;
    sum += bytes;
    carried.push({ position, index, body, bytes, urgent: lane === "urgent" });
  }
  return carried.toSorted((a, b) => a.index - b.index);
}

function bodyOf(stored: StoredEvent): EventBody {
  return { header: stored.headerText, frames: stored.frames };
}

/** The note that the exchange ends at. */
function chooseNote(
  tables: SyncTables,
  log: number,
  pushed: PushedLog,
  carried: readonly Carried[],
  leavesMax: number,
): KeptNote {
  const last = carried.at(-1)?.index ?? 0;
  const standing = last < pushed.size ? tables.noteAt(log, pushed.size) : undefined;
  const covering = standing ?? tables.noteFrom(log, Math.max(last + 1, pushed.size));
  invariant(covering !== undefined, "every own event is covered by a commit note");
  if (covering.size - pushed.size <= leavesMax) return covering;
  const within = tables.noteWithin(log, pushed.size + leavesMax);
  if (within !== undefined && within.size > pushed.size) return within;
  // A single commit beyond the bound goes whole: nothing smaller has a note.
  return tables.noteFrom(log, pushed.size + 1) ?? covering;
}

function composeRequest(
  deps: PlanPushDeps,
  log: KnownLog,
  pushed: PushedLog,
  note: KeptNote,
  sent: readonly Carried[],
): PushRequest {
  const { device, incarnation } = log;
  const from = pushed.size;
  const bodies = new Map(sent.map(({ index, body }) => [index, body]));
  if (from === 0 && !bodies.has(0)) bodies.set(0, openingOf(deps, log));
  const leaves = deps.log.leaves(device, incarnation, from, note.size);
  const entries = leaves.map((text, at): PushEntry => {
    const body = bodies.get(from + at);
    if (body !== undefined) return { kind: "full", body };
    const leaf = fromBase64url(text);
    invariant(leaf !== undefined, "a stored leaf is a hash");
    return { kind: "leaf", leaf };
  });
  const fills = sent
    .filter(({ index }) => index < from)
    .map(({ index, body }): Fill => ({ index, body }));
  const checkpoint = deps.tables.checkpoint()?.size ?? 0;
  return { device, incarnation, from, note: note.note, entries, fills, checkpoint };
}

/** Event 0 of an own log: it carries keys and predecessor in the clear, so its body is always at hand. */
function openingOf({ tables, log }: PlanPushDeps, { number }: KnownLog): EventBody {
  const position = tables.openingPosition(number);
  invariant(position !== undefined, "an own log begins with its opening");
  const [stored] = log.read({ after: position - 1, limit: 1 });
  invariant(stored?.position === position, "the opening is a stored event");
  return bodyOf(stored);
}

/** Positions in the order of the request: entries, then fills. */
function positionsOf(sent: readonly Carried[], from: number): readonly number[] {
  const entries = sent.filter(({ index }) => index >= from);
  const fills = sent.filter(({ index }) => index < from);
  return [...entries, ...fills].map(({ position }) => position);
}
