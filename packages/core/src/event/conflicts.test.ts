import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalOrder } from "./canonical-order.ts";
import { concurrentWith, createCausalHistory } from "./causal-history.ts";
import { type Conflict, type ContendingEvent, findConflicts, isExclusive } from "./conflicts.ts";
import type { Header, VersionVector } from "./event.ts";
import { createRegistry, defineEvent, type EventType } from "./registry.ts";

const schema: EventType["schema"] = {
  "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) },
};
const largest = {
  name: "largest",
  resolve: (sides: readonly { readonly payload: unknown }[]) => {
    const values = sides.map(({ payload }) => Number(payload));
    return values.indexOf(Math.max(...values));
  },
};
const registry = createRegistry([
  defineEvent({ type: "Noted", schema }),
  defineEvent({ type: "Measured", schema, concurrency: "independent" }),
  defineEvent({ type: "Moved", schema, strategy: "last-writer" }),
  defineEvent({ type: "Dosed", schema, strategy: largest }),
]);

interface Wish {
  readonly device: number;
  /** For each other device: how much of its past is learned first; 0 nothing new, 1 everything. */
  readonly learned: readonly number[];
  readonly type: string;
  readonly content: number | undefined;
  readonly at: number;
  readonly resolves: boolean;
}

type Known = Map<string, ContendingEvent>;

/** Header of the next event of a device that knows `known`. */
function compose(
  wish: Pick<Wish, "type" | "at" | "content"> & Partial<Header>,
  dev: string,
  count: number,
  vv: VersionVector | undefined,
): ContendingEvent {
  const header = {
    v: 1,
    ten: "t",
    dev,
    inc: "0",
    seq: count,
    prev: "",
    id: "",
    type: wish.type,
    tv: 1,
    scope: "s",
    stream: "stream",
    sseq: count,
    op: wish.op ?? "create",
    at: wish.at,
    act: "a",
    sec: {},
    tier: "software",
    app: "test",
    ...(wish.ref !== undefined && { ref: wish.ref }),
    ...(vv !== undefined && { vv }),
  } as const;
  const contentKey = wish.content === undefined ? undefined : String(wish.content);
  return {
    leaf: `${(wish.at * 7919 + count * 31) % 997}-${dev}-${count}`,
    header,
    contentKey,
    payload: wish.content,
  };
}

/** Plays wishes: each device extends what it knows, and learns prefixes of what the others know. */
function play(wishes: readonly Wish[], devices: number): readonly ContendingEvent[] {
  const known: Known[] = Array.from({ length: devices }, () => new Map());
  const counts = Array.from({ length: devices }, () => 0);
  const all: ContendingEvent[] = [];
  const places = (map: Known): string[] => [...map.keys()];
  for (const wish of wishes) {
    const own = known[wish.device] as Known;
    for (const [from, share] of wish.learned.entries()) {
      // What a device knows stands in an order that respects causes: any prefix of it is closed.
      const other = [...(known[from] ?? new Map<string, ContendingEvent>()).entries()];
      for (const [place, event] of other.slice(0, Math.floor(other.length * share)))
        own.set(place, event);
    }
    const count = (counts[wish.device] as number) + 1;
    counts[wish.device] = count;
    const vv: Record<string, number> = {};
    const frontier = places(own).filter(
      (place) => !places(own).some((later) => later !== place && isBefore(all, place, later)),
    );
    for (const place of frontier) {
      const header = (own.get(place) as ContendingEvent).header;
      const origin = `${header.dev}/0`;
      vv[origin] = Math.max(vv[origin] ?? 0, header.sseq);
    }
    const conflict = wish.resolves ? findConflicts([...own.values()], registry).at(-1) : undefined;
    const event = compose(
      conflict === undefined
        ? wish
        : { ...wish, type: "Noted", op: "resolve", ref: conflict.sides },
      `d${wish.device}`,
      count,
      wish.type === "Measured" && conflict === undefined ? undefined : vv,
    );
    own.set(event.leaf, event);
    all.push(event);
  }
  return all;
}

/** By transitive closure over edges, with no vectors of past: the definition, written down plainly. */
function isBefore(events: readonly ContendingEvent[], a: string, b: string): boolean {
  const waiting = [b];
  const seen = new Set<string>();
  for (let leaf = waiting.pop(); leaf !== undefined; leaf = waiting.pop()) {
    const event = events.find((one) => one.leaf === leaf) as ContendingEvent;
    for (const cause of events) {
      const own =
        cause.header.dev === event.header.dev && cause.header.sseq === event.header.sseq - 1;
      const named = event.header.vv?.[`${cause.header.dev}/0`] === cause.header.sseq;
      if ((!own && !named) || cause === event || seen.has(cause.leaf)) continue;
      if (cause.leaf === a) return true;
      seen.add(cause.leaf);
      waiting.push(cause.leaf);
    }
  }
  return false;
}

/** All pairs; groups by flooding; sides and resolutions by definition. */
function reference(
  events: readonly ContendingEvent[],
): readonly Pick<Conflict, "sides" | "events" | "settledBy">[] {
  const ordered = canonicalOrder(events);
  const before = (a: ContendingEvent, b: ContendingEvent): boolean =>
    isBefore(events, a.leaf, b.leaf);
  const says = ({ header, contentKey }: ContendingEvent): string =>
    `${header.type} ${header.op} ${(header.ref ?? []).toSorted().join()} ${contentKey}`;
  const conflicting = (a: ContendingEvent, b: ContendingEvent): boolean =>
    a !== b &&
    isExclusive(a.header, registry) &&
    isExclusive(b.header, registry) &&
    !before(a, b) &&
    !before(b, a) &&
    (a.contentKey === undefined || b.contentKey === undefined || says(a) !== says(b));
  const left = new Set(ordered);
  const found: Pick<Conflict, "sides" | "events" | "settledBy">[] = [];
  for (const start of ordered) {
    if (!left.delete(start)) continue;
    const group = [start];
    for (const member of group) {
      for (const other of left)
        if (conflicting(member, other)) {
          left.delete(other);
          group.push(other);
        }
    }
    if (group.length === 1) continue;
    const sides = group.filter((one) => !group.some((other) => before(one, other)));
    const settled = ordered.findLast(
      (one) =>
        one.header.op === "resolve" &&
        sides.every((side) => one.header.ref?.includes(side.leaf) && before(side, one)),
    );
    found.push({
      sides: sides.map(({ leaf }) => leaf).toSorted(),
      events: ordered.filter((one) => group.includes(one)).map(({ leaf }) => leaf),
      settledBy: settled?.leaf,
    });
  }
  return found;
}

const histories = fc.integer({ min: 2, max: 4 }).chain((devices) =>
  fc
    .array(
      fc.record({
        device: fc.nat({ max: devices - 1 }),
        learned: fc.array(fc.constantFrom(0, 0, 0, 0.5, 1), {
          minLength: devices,
          maxLength: devices,
        }),
        type: fc.constantFrom("Noted", "Noted", "Noted", "Measured", "Moved", "Dosed", "Unheard"),
        content: fc.option(fc.nat({ max: 2 }), { nil: undefined, freq: 8 }),
        at: fc.nat({ max: 50 }),
        resolves: fc.boolean(),
      }),
      { maxLength: 24 },
    )
    .map((wishes) => play(wishes, devices)),
);

/** Two devices that each add `length` events without hearing of the other. */
function branches(
  length: number,
  content: (device: number, at: number) => number,
): readonly ContendingEvent[] {
  return [0, 1].flatMap((device) =>
    Array.from({ length }, (_, at) =>
      compose(
        { type: "Noted", at, content: content(device, at) },
        `d${device}`,
        at + 1,
        at === 0 ? {} : { [`d${device}/0`]: at },
      ),
    ),
  );
}

describe("conflicts", () => {
  it("are those that comparing all pairs finds", () => {
    let found = 0;
    let settled = 0;
    fc.assert(
      fc.property(histories, (events) => {
        const conflicts = findConflicts(events, registry);
        const expected = reference(events);
        expect(
          conflicts.map(({ sides, events: all, settledBy }) => ({ sides, events: all, settledBy })),
        ).toEqual(expected);
        found += conflicts.length;
        settled += conflicts.filter(({ settledBy }) => settledBy !== undefined).length;
      }),
      { numRuns: 1_000 },
    );
    expect(found).toBeGreaterThan(100);
    expect(settled).toBeGreaterThan(20);
  });

  it("are the same in every order of arrival", () => {
    fc.assert(
      fc.property(
        histories.chain((events) =>
          fc.tuple(
            fc.constant(events),
            fc.shuffledSubarray([...events], { minLength: events.length }),
          ),
        ),
        ([events, shuffled]) => {
          expect(findConflicts(shuffled, registry)).toEqual(findConflicts(events, registry));
        },
      ),
      { numRuns: 500 },
    );
  });

  it("tell for every event which others are concurrent with it", () => {
    fc.assert(
      fc.property(histories, (events) => {
        const history = createCausalHistory(events);
        for (const { leaf } of events) {
          const expected = canonicalOrder(events)
            .map((other) => other.leaf)
            .filter(
              (other) =>
                other !== leaf && !isBefore(events, leaf, other) && !isBefore(events, other, leaf),
            );
          expect(concurrentWith(history, leaf).map(({ event }) => event.leaf)).toEqual(expected);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("are settled under the strategy that all types of the group share", () => {
    const pair = (
      types: readonly [string, string],
      contents: readonly [number | undefined, number | undefined],
    ) => {
      const [conflict] = findConflicts(
        types.map((type, at) =>
          compose({ type, at: 9 - at, content: contents[at] }, `d${at}`, 1, {}),
        ),
        registry,
      );
      const device = conflict?.winner.split("-")[1];
      return conflict === undefined ? undefined : { ...conflict, winner: device };
    };
    expect(pair(["Noted", "Noted"], [1, 2])).toMatchObject({
      strategy: "manual",
      status: "open",
      winner: "d0",
    });
    expect(pair(["Moved", "Moved"], [1, 2])).toMatchObject({
      strategy: "last-writer",
      status: "settled",
      winner: "d0",
      settledBy: undefined,
    });
    expect(pair(["Dosed", "Dosed"], [1, 2])).toMatchObject({
      strategy: "largest",
      status: "settled",
      winner: "d1",
    });
    expect(pair(["Dosed", "Dosed"], [1, undefined])).toMatchObject({
      strategy: "largest",
      status: "open",
    });
    expect(pair(["Moved", "Noted"], [1, 2])).toMatchObject({ strategy: "manual", status: "open" });
    expect(pair(["Moved", "Unheard"], [1, 2])).toMatchObject({
      strategy: "manual",
      status: "open",
    });
    expect(pair(["Noted", "Noted"], [1, 1])).toBeUndefined();
    expect(pair(["Noted", "Measured"], [1, 2])).toBeUndefined();
    expect(pair(["Noted", "Moved"], [1, 1])).toBeDefined();
  });

  it("leave a conflict open when a custom strategy throws or chooses no side", () => {
    const behaviours: readonly (() => number | undefined)[] = [
      () => 2,
      () => -1,
      () => undefined,
      () => {
        throw new Error("cannot tell");
      },
    ];
    for (const resolve of behaviours) {
      const types = createRegistry([
        defineEvent({ type: "Dosed", schema, strategy: { name: "x", resolve } }),
      ]);
      const events = [0, 1].map((at) =>
        compose({ type: "Dosed", at, content: at }, `d${at}`, 1, {}),
      );
      expect(findConflicts(events, types)).toMatchObject([{ status: "open", strategy: "x" }]);
    }
  });

  it("are not what two copies of one device say when they begin anew", () => {
    const opened = { type: "IncarnationOpened", at: 1, content: undefined };
    const events = ["a", "b"].map((device) => compose(opened, device, 1, {}));
    expect(findConflicts(events, registry)).toEqual([]);
    const noted = ["a", "b"].map((device) => compose({ ...opened, type: "Noted" }, device, 1, {}));
    expect(findConflicts(noted, registry)).toHaveLength(1);
  });

  it("among resolutions are conflicts themselves, unless they say the same", () => {
    const sides = [0, 1].map((at) => compose({ type: "Noted", at, content: at }, `d${at}`, 1, {}));
    const ref = sides.map(({ leaf }) => leaf);
    const resolution = (device: number, content: number) =>
      compose({ type: "Noted", at: 5 + device, content, op: "resolve", ref }, `d${device}`, 2, {
        "d0/0": 1,
        "d1/0": 1,
      });
    const differing = findConflicts([...sides, resolution(0, 7), resolution(1, 8)], registry);
    expect(differing.map(({ status }) => status)).toEqual(["settled", "open"]);
    const agreeing = findConflicts([...sides, resolution(0, 7), resolution(1, 7)], registry);
    expect(agreeing.map(({ status }) => status)).toEqual(["settled"]);
    const [first] = sides as [ContendingEvent];
    const partial = compose(
      { type: "Noted", at: 9, content: 7, op: "resolve", ref: [first.leaf] },
      "d0",
      2,
      { "d0/0": 1, "d1/0": 1 },
    );
    expect(findConflicts([...sides, partial], registry).map(({ status }) => status)).toEqual([
      "open",
    ]);
  });

  it("join long branches without comparing all pairs", () => {
    for (const content of [
      (device: number, at: number) => device * 10_000 + at,
      (_: number, at: number) => at % 3,
    ]) {
      const [conflict, ...rest] = findConflicts(branches(5_000, content), registry);
      expect(conflict?.events).toHaveLength(10_000);
      expect(conflict?.sides).toHaveLength(2);
      expect(rest).toEqual([]);
    }
    expect(
      findConflicts(
        branches(5_000, () => 1),
        registry,
      ),
    ).toEqual([]);
  });

  it("lose no event when forged vectors name each other in a circle", () => {
    const a = compose({ type: "Noted", at: 1, content: 1 }, "d0", 1, { "d1/0": 1 });
    const b = compose({ type: "Noted", at: 2, content: 2 }, "d1", 1, { "d0/0": 1 });
    const c = compose({ type: "Noted", at: 0, content: 3 }, "d2", 1, { "d1/0": 1 });
    const d = compose({ type: "Noted", at: 0, content: 4 }, "d2", 2, { "d2/0": 2 });
    for (const events of [
      [a, b, c, d],
      [d, c, b, a],
    ]) {
      expect(canonicalOrder(events)).toEqual([a, b, c, d]);
      expect(findConflicts(events, registry)).toEqual([]);
    }
  });
});
