/**
 * Conflicts of one stream: two devices extended it, neither knowing of the other, in event types that do not
 * commute.
 *
 * Two events conflict when neither is in the other's past, both are exclusive, and they do not say the same.
 * Both are kept; nothing is rebased. Conflicts that hang together are one {@link Conflict}: a device's later
 * events on its side belong to it, and its **sides** are the newest event of each. An event with op
 * `resolve` settles it, when it names every side in `ref` and has them in its past; until then one side is
 * flagged as the provisional winner, the same on every replica.
 *
 * The answer depends on the set of events and on the registry alone, never on the order of arrival.
 *
 * @example
 * ```ts
 * import { createRegistry, findConflicts } from "@holdfast/core";
 *
 * console.log(findConflicts([], createRegistry([])));
 * ```
 */
import {
  type CausalHistory,
  concurrentRange,
  createCausalHistory,
  isInPast,
  type PlacedEvent,
} from "./causal-history.ts";
import type { Header } from "./event.ts";
import type { ConflictSide, CustomStrategy, Registry } from "./registry.ts";
import { incarnationOpenedType, isSystemType } from "./system.ts";

/** An event of the stream, with what it takes to tell whether two events say the same. */
export interface ContendingEvent {
  readonly leaf: string;
  readonly header: Header;
  /**
   * Equal for equal section plaintexts (a digest over all of them). `undefined` when a section cannot be
   * opened: then the event says the same as no other.
   */
  readonly contentKey: string | undefined;
  /** For custom strategies: the payload at its current schema version; absent when it cannot be read. */
  readonly payload?: unknown;
}

/** Concurrent events that exclude each other; see the module header. */
export interface Conflict {
  readonly stream: string;
  /** Leaves of the newest event of each side, sorted: what a resolution names. At least two. */
  readonly sides: readonly string[];
  /** Leaves of all events that take part, the sides among them, in canonical order. */
  readonly events: readonly string[];
  /**
   * One of the sides. Open: the provisional winner, last in canonical order. Settled by a strategy: its
   * choice. Settled by a resolution: the side that had stood until then; what counts is the resolution.
   */
  readonly winner: string;
  /** `manual`, `last-writer` or the name of a custom strategy. */
  readonly strategy: string;
  readonly status: "open" | "settled";
  /** Leaf of the resolution; `undefined` while open and when the strategy settled it. */
  readonly settledBy: string | undefined;
}

type Placed = PlacedEvent<ContendingEvent>;

/** What the registry says of types; a `Registry` is one. */
export type TypeLookup = Pick<Registry, "types">;

/** The conflicts among the events of one stream, in canonical order of their first events. */
export function findConflicts(
  events: readonly ContendingEvent[],
  registry: TypeLookup,
): readonly Conflict[] {
  const history = createCausalHistory(events);
  if (history.origins.length < 2) return [];
  const groups = groupConflicting(history, registry);
  if (groups.length === 0) return [];
  const resolutions = resolutionsByLeaf(history, registry);
  return groups.map((group) => judge(group, registry, resolutions));
}

/**
 * Does an event exclude concurrent ones? A known type says so itself; an unknown type and every resolution
 * do when they carry a version vector. Without a vector an event's past is unknown, so it never does.
 */
export function isExclusive(header: Header, registry: TypeLookup): boolean {
  if (header.vv === undefined) return false;
  if (header.op === "resolve") return true;
  // What access events say together is settled by their fold, not by a person; two openings after one
  // predecessor are a clone, which is found elsewhere and which nobody can resolve.
  if (isSystemType(header.type) || header.type === incarnationOpenedType) return false;
  return registry.types.get(header.type)?.concurrency !== "independent";
}

/** Equal for events that say the same about the same. */
function statementOf({ header, contentKey }: ContendingEvent): string | undefined {
  if (contentKey === undefined) return undefined;
  const ref = (header.ref ?? []).toSorted();
  return JSON.stringify([header.type, header.tv, header.op, ref, contentKey]);
}

/** The exclusive events of one device log, and which of its neighbours are known to hang together. */
interface Lane {
  readonly events: readonly Placed[];
  /** Statement → ascending indexes. */
  readonly said: ReadonlyMap<string, readonly number[]>;
  /** For each index one further right (or itself) up to which all are in one group. */
  readonly reach: number[];
}

function createLane(events: readonly Placed[]): Lane {
  const said = new Map<string, number[]>();
  for (const [at, { event }] of events.entries()) {
    const statement = statementOf(event);
    if (statement === undefined) continue;
    const list = said.get(statement);
    if (list === undefined) said.set(statement, [at]);
    else list.push(at);
  }
  return { events, said, reach: events.map((_, at) => at) };
}

/** Joins the conflicting events into groups without comparing all pairs. */
function groupConflicting(
  history: CausalHistory<ContendingEvent>,
  registry: TypeLookup,
): readonly (readonly Placed[])[] {
  const sets = createSets(history.events.length);
  const lanes = history.origins.map((list) =>
    createLane(list.filter(({ event }) => isExclusive(event.header, registry))),
  );
  for (const [origin, lane] of lanes.entries()) {
    for (const event of lane.events) {
      const statement = statementOf(event.event);
      for (let other = origin + 1; other < lanes.length; other++) {
        joinConcurrent(sets, event, statement, lanes[other] as Lane, other);
      }
    }
  }
  const groups = new Map<number, Placed[]>();
  for (const event of history.events) {
    if (!sets.joined(event.place)) continue;
    const root = sets.find(event.place);
    const group = groups.get(root);
    if (group === undefined) groups.set(root, [event]);
    else group.push(event);
  }
  return [...groups.values()];
}

/** Joins an event with all that conflict with it in another lane. */
function joinConcurrent(
  sets: Sets,
  event: Placed,
  statement: string | undefined,
  lane: Lane,
  origin: number,
): void {
  const [from, to] = concurrentRange(event, lane.events, origin);
  if (from === to) return;
  const same = statement === undefined ? [] : (lane.said.get(statement) ?? []);
  let start = from;
  for (const at of same) {
    if (at < from) continue;
    if (at >= to) break;
    joinRange(sets, event, lane, start, at);
    start = at + 1;
  }
  joinRange(sets, event, lane, start, to);
}

/** Joins an event with the neighbours [from, to); those that hang together already are passed over. */
function joinRange(sets: Sets, event: Placed, lane: Lane, from: number, to: number): void {
  if (from >= to) return;
  sets.join(event.place, placeAt(lane, from));
  for (let at = reachOf(lane, from); at + 1 < to; at = reachOf(lane, at)) {
    sets.join(placeAt(lane, at), placeAt(lane, at + 1));
    lane.reach[at] = at + 1;
  }
}

function placeAt(lane: Lane, at: number): number {
  return (lane.events[at] as Placed).place;
}

function reachOf(lane: Lane, from: number): number {
  const { reach } = lane;
  let end = from;
  while (reach[end] !== end) end = reach[end] as number;
  for (let at = from; at !== end;) {
    const next = reach[at] as number;
    reach[at] = end;
    at = next;
  }
  return end;
}

interface Sets {
  find(member: number): number;
  join(a: number, b: number): void;
  joined(member: number): boolean;
}

/** Disjoint sets with path halving. */
function createSets(size: number): Sets {
  const parent = Array.from({ length: size }, (_, at) => at);
  const touched = Array.from({ length: size }, () => false);
  const find = (member: number): number => {
    let at = member;
    while (parent[at] !== at) {
      parent[at] = parent[parent[at] as number] as number;
      at = parent[at] as number;
    }
    return at;
  };
  return {
    find,
    join(a, b) {
      touched[a] = true;
      touched[b] = true;
      const [first, second] = [find(a), find(b)];
      // The smaller place is the root: the same sets have the same root on every replica.
      if (first < second) parent[second] = first;
      else parent[first] = second;
    },
    joined: (member) => touched[member] as boolean,
  };
}

/** Leaf → resolutions that name it, in canonical order. */
function resolutionsByLeaf(
  history: CausalHistory<ContendingEvent>,
  registry: TypeLookup,
): ReadonlyMap<string, readonly Placed[]> {
  const named = new Map<string, Placed[]>();
  for (const placed of history.events) {
    const { header } = placed.event;
    if (header.op !== "resolve" || !isExclusive(header, registry)) continue;
    for (const leaf of header.ref ?? []) {
      const list = named.get(leaf);
      if (list === undefined) named.set(leaf, [placed]);
      else list.push(placed);
    }
  }
  return named;
}

/** `group` in canonical order. */
function judge(
  group: readonly Placed[],
  registry: TypeLookup,
  resolutions: ReadonlyMap<string, readonly Placed[]>,
): Conflict {
  const sides = newest(group).toSorted((a, b) => (a.event.leaf < b.event.leaf ? -1 : 1));
  const last = sides.reduce((a, b) => (a.place > b.place ? a : b)).event.leaf;
  const strategy = strategyOf(group, registry);
  const chosen = strategy === "last-writer" ? last : choice(strategy, sides);
  const settledBy = (resolutions.get((sides[0] as Placed).event.leaf) ?? []).findLast(
    (resolution) =>
      sides.every(
        (side) =>
          isInPast(side, resolution) && resolution.event.header.ref?.includes(side.event.leaf),
      ),
  );
  return {
    stream: (sides[0] as Placed).event.header.stream,
    sides: sides.map(({ event }) => event.leaf),
    events: group.map(({ event }) => event.leaf),
    winner: chosen ?? last,
    strategy: typeof strategy === "string" ? strategy : strategy.name,
    status: settledBy !== undefined || chosen !== undefined ? "settled" : "open",
    settledBy: settledBy?.event.leaf,
  };
}

/** The events of a group that no other of the group has in its past. */
function newest(group: readonly Placed[]): readonly Placed[] {
  const last = new Map<number, Placed>();
  for (const event of group) {
    const other = last.get(event.origin);
    if (other === undefined || isInPast(other, event)) last.set(event.origin, event);
  }
  const candidates = [...last.values()];
  return candidates.filter((event) => !candidates.some((other) => isInPast(event, other)));
}

/** The strategy that all types of a group share; `manual` when they differ or one is unknown. */
function strategyOf(
  group: readonly Placed[],
  registry: TypeLookup,
): "manual" | "last-writer" | CustomStrategy {
  const [first, ...rest] = group.map(
    ({ event }) => registry.types.get(event.header.type)?.strategy ?? "manual",
  );
  return first !== undefined && rest.every((other) => other === first) ? first : "manual";
}

/** A custom strategy's choice; `undefined` leaves the conflict open. */
function choice(strategy: "manual" | CustomStrategy, sides: readonly Placed[]): string | undefined {
  if (strategy === "manual") return undefined;
  // Replicas that cannot read a side would choose otherwise than those that can.
  if (sides.some(({ event }) => event.contentKey === undefined)) return undefined;
  const shown = sides.map(({ event }): ConflictSide => {
    return { leaf: event.leaf, header: event.header, payload: event.payload };
  });
  try {
    const index = strategy.resolve(shown);
    return index === undefined ? undefined : sides[index]?.event.leaf;
  } catch {
    return undefined;
  }
}
