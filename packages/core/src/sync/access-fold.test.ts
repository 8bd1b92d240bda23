import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Header } from "../event/event.ts";
import { base64 } from "../std/bytes.ts";
import {
  type AccessEvent,
  concernsSame,
  foldAccess,
  mayReadScope,
  mayVouch,
} from "./access-fold.ts";

const names = ["founder", "first", "second", "third"].map((name) => name.padEnd(22, "0"));
const [founder, first, second, third] = names as [string, string, string, string];
const scopes = ["A", "B"].map((letter) => letter.repeat(22));
const [ada, bob] = scopes as [string, string];
const tenantScope = "T".repeat(22);
const hpke = base64(new Uint8Array(32));

interface Act {
  readonly by: string;
  readonly at?: number;
  readonly type: string;
  readonly actor?: string;
  readonly pub: Readonly<Record<string, unknown>>;
  /** How many of the acts before its author had seen; default: all. */
  readonly seen?: number;
  readonly stream?: string;
}

const granted = (device: string, role: string, ...to: readonly string[]) =>
  ({ type: "AccessGranted", pub: { device, hpke, role, scopes: to } }) as const;
const revoked = (device: string, ...from: readonly string[]) =>
  ({ type: "AccessRevoked", pub: { device, scopes: from } }) as const;

const idOf = (letter: string): string => letter.repeat(22);
const held = (hold: string, scope: string, section?: string) => ({
  type: "HoldPlaced",
  pub: { hold: idOf(hold), scopes: [scope], ...(section && { section }) },
});
const lifted = (hold: string) => ({ type: "HoldLifted", pub: { hold: idOf(hold) } });
const asked = (shred: string, scope: string, section?: string) => ({
  type: "ShredRequested",
  pub: { shred: idOf(shred), scopes: [scope], ...(section && { section }) },
});
const approved = (shred: string) => ({ type: "ShredApproved", pub: { shred: idOf(shred) } });

/** Events of acts, each knowing those before it. */
function eventsOf(acts: readonly Act[]): readonly AccessEvent[] {
  const counts = new Map<string, number>();
  const after: Readonly<Record<string, number>>[] = [{}];
  return acts.map(({ by, type, pub, at, seen, stream = "access", actor = by }, index) => {
    const count = (counts.get(by) ?? 0) + 1;
    counts.set(by, count);
    const vv = after[Math.min(seen ?? index, index)];
    after.push({ ...after[index], [`${by}/0000000000000001`]: count });
    const header = {
      v: 1,
      dev: by,
      inc: "0000000000000001",
      seq: count,
      sseq: count,
      at: at ?? 0,
      act: actor,
      op: "access",
      type,
      pub,
      vv,
      stream,
      scope: tenantScope,
    };
    return { leaf: `leaf ${index}`, header: header as unknown as Header };
  });
}

const rowsOf = (acts: readonly Act[]): readonly string[] =>
  [...foldAccess(eventsOf(acts), founder).devices].flatMap(([device, { role, scopes: held }]) =>
    [...held.keys()].map((scope) => `${device.replace(/0+$/, "")} ${role} ${scope[0] ?? ""}`),
  );

describe("the fold of access events", () => {
  it("counts what the founder says, and admins by what came before", () => {
    const acts: readonly Act[] = [
      { by: first, ...granted(first, "admin", "*") },
      { by: founder, ...granted(first, "admin", "*") },
      { by: first, ...granted(second, "device", ada, bob) },
      { by: second, ...granted(third, "reader", ada) },
      { by: first, ...revoked(second, ada) },
    ];
    expect(rowsOf(acts)).toEqual(["first admin *", "second device B"]);
    expect(foldAccess(eventsOf(acts), founder).refused).toEqual(["leaf 0", "leaf 3"]);
  });

  it("goes by what authors had seen, not by their clocks", () => {
    const acts: readonly Act[] = [
      { by: founder, at: 1_000, ...granted(first, "admin", "*") },
      { by: first, at: 1, ...granted(second, "device", ada) },
    ];
    expect(rowsOf(acts)).toEqual(["first admin *", "second device A"]);
  });

  it("ends what an admin may do with its access", () => {
    const acts: readonly Act[] = [
      { by: founder, ...granted(first, "admin", "*") },
      { by: first, ...granted(second, "device", ada) },
      { by: founder, ...revoked(first, "*") },
      { by: first, ...granted(third, "device", ada) },
    ];
    expect(rowsOf(acts)).toEqual(["second device A"]);
    const state = foldAccess(eventsOf(acts), founder);
    expect(mayVouch(state, founder, first)).toBe(true);
    expect(mayVouch(state, founder, third)).toBe(false);
  });

  it("reads nothing outside the founder's stream, nor what has no form", () => {
    const acts: readonly Act[] = [
      { by: founder, ...granted(first, "admin", "*") },
      { by: first, stream: "another", ...granted(second, "device", ada) },
      { by: founder, type: "AccessGranted", pub: { device: second } },
    ];
    expect(rowsOf(acts)).toEqual(["first admin *"]);
    expect(rowsOf([{ by: first, ...granted(first, "admin", "*") }])).toEqual([]);
  });

  it("knows every scope from one", () => {
    expect(mayReadScope(new Set([ada]), ada)).toBe(true);
    expect(mayReadScope(new Set([ada]), bob)).toBe(false);
    expect(mayReadScope(new Set(["*"]), bob)).toBe(true);
    expect(mayReadScope(undefined, bob)).toBe(false);
  });

  it("is the same in whatever order events arrive, and never gives what no admin gave", () => {
    const act = fc.record({
      by: fc.constantFrom(...names),
      at: fc.nat(5),
      seen: fc.nat(12),
      body: fc.oneof(
        fc
          .tuple(
            fc.constantFrom(...names),
            fc.constantFrom("device", "admin"),
            fc.constantFrom("*", ...scopes),
          )
          .map(([device, role, scope]) => granted(device, role, scope)),
        fc
          .tuple(fc.constantFrom(...names), fc.constantFrom("*", ...scopes))
          .map(([device, scope]) => revoked(device, scope)),
        fc.constantFrom<Omit<Act, "by">>(
          held("H", ada),
          lifted("H"),
          asked("S", ada),
          approved("S"),
          approved("S"),
        ),
      ),
    });
    fc.assert(
      fc.property(fc.array(act, { maxLength: 12 }), fc.infiniteStream(fc.nat()), (acts, chance) => {
        const events = eventsOf(acts.map(({ body, ...rest }) => ({ ...rest, ...body })));
        const state = foldAccess(events, founder);
        const shuffled = events
          .map((event) => [chance.next().value as number, event] as const)
          .toSorted(([a], [b]) => a - b)
          .map(([, event]) => event);
        const again = foldAccess(shuffled, founder);
        expect(new Map([...again.devices].toSorted())).toEqual(
          new Map([...state.devices].toSorted()),
        );
        expect(again.refused.toSorted()).toEqual(state.refused.toSorted());
        expect([again.holds, again.shreds]).toEqual([state.holds, state.shreds]);
        if (acts.every(({ by }) => by !== founder)) expect(state.devices.size).toBe(0);
        for (const device of state.devices.keys()) expect(state.ever.has(device)).toBe(true);
      }),
    );
  });
});

describe("the fold of shreds and holds", () => {
  const inForce = (acts: readonly Act[]): readonly (string | undefined)[] =>
    [...foldAccess(eventsOf(acts), founder).shreds.values()].map((shred) => shred.inForce);
  const admin: Act = { by: founder, ...granted(first, "admin", "*") };

  it("puts a shred in force with the approval of a second actor, whoever asked", () => {
    const acts: readonly Act[] = [
      admin,
      { by: first, ...asked("S", ada) },
      { by: first, ...approved("S") },
      { by: founder, actor: first, ...approved("S") },
      { by: founder, ...approved("S") },
    ];
    expect(inForce(acts.slice(0, 4))).toEqual([undefined]);
    expect(inForce(acts)).toEqual(["leaf 4"]);
  });

  it("never shreds the scope in which access events stand", () => {
    const acts: readonly Act[] = [
      admin,
      { by: first, ...asked("S", tenantScope) },
      { by: first, ...approved("S") },
      { by: founder, ...approved("S") },
    ];
    const state = foldAccess(eventsOf(acts), founder);
    expect(state.shreds.size).toBe(0);
    expect(state.refused).toEqual(["leaf 1"]);
  });

  it("counts nothing of who is no admin, nor an approval of what was not asked for", () => {
    const acts: readonly Act[] = [
      { by: first, ...asked("T", ada) },
      { by: founder, ...approved("S") },
      { by: founder, actor: "another", ...approved("S") },
      { by: founder, ...asked("S", ada) },
      { by: founder, ...approved("S") },
      { by: first, ...approved("S") },
    ];
    const state = foldAccess(eventsOf(acts), founder);
    expect(inForce(acts)).toEqual([undefined]);
    expect(state.refused).toEqual(["leaf 0", "leaf 5"]);
  });

  it("waits for the end of every hold on it, and stays in force when a later one is placed", () => {
    const acts: readonly Act[] = [
      admin,
      { by: first, ...held("H", ada, "content") },
      { by: first, ...held("I", bob) },
      { by: first, ...asked("S", ada) },
      { by: founder, ...approved("S") },
      { by: first, ...approved("S") },
      { by: founder, ...lifted("H") },
      { by: founder, ...held("J", ada) },
    ];
    expect(inForce(acts.slice(0, 6))).toEqual([undefined]);
    expect(inForce(acts.slice(0, 7))).toEqual(["leaf 6"]);
    expect(inForce(acts)).toEqual(["leaf 6"]);
    const { holds } = foldAccess(eventsOf(acts), founder);
    expect([...holds.keys()]).toEqual([idOf("I"), idOf("J")]);
  });

  it("takes sections apart, and a whole scope with each of them", () => {
    const identity = { scopes: [ada], section: "identity" };
    expect(concernsSame(identity, { scopes: [bob, ada], section: "identity" })).toBe(true);
    expect(concernsSame(identity, { scopes: [ada], section: "content" })).toBe(false);
    expect(concernsSame(identity, { scopes: [ada] })).toBe(true);
    expect(concernsSame({ scopes: [ada] }, { scopes: [bob] })).toBe(false);
  });
});
