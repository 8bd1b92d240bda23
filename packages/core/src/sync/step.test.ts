import fc from "fast-check";
import { expect, test } from "vitest";
import { limits } from "../std/limits.ts";
import {
  createSyncLane,
  isActive,
  type SyncLane,
  type LaneEffect,
  type LaneInput,
  laneState,
  type Phase,
  phases,
  step,
} from "./step.ts";

const classes = ["now", "after", "auth", "smaller", "never", "halt"] as const;
const endings: fc.Arbitrary<LaneInput> = fc.oneof(
  fc.record({ kind: fc.constant("succeeded" as const), more: fc.boolean() }),
  fc.record({ kind: fc.constant("failed" as const), class: fc.constantFrom(...classes) }),
  fc.constant({ kind: "token-refused" } as const),
  fc.constant({ kind: "breaker-open", waitMs: 1_000 } as const),
);
const outside: fc.Arbitrary<LaneInput> = fc
  .constantFrom("start", "stop", "wake", "asked", "online", "resumed", "halt")
  .map((kind) => ({ kind }));

/** What an engine would do: one piece of work at a time, one timer, inputs only as they can occur. */
interface Play {
  lane: SyncLane;
  work: "none" | "exchange" | "refresh";
  aborted: boolean;
  timer: boolean;
}

const waits: ReadonlySet<LaneEffect["kind"]> = new Set([
  "rest",
  "back-off",
  "wait-open",
  "wait-auth",
]);

function play(state: Play, input: LaneInput): readonly LaneEffect[] {
  const before = state.lane.phase;
  const { lane, effects } = step(state.lane, input);
  if (lane.phase !== before) state.timer = false;
  state.lane = lane;
  for (const { kind } of effects) {
    if (kind === "run" || kind === "refresh-token") {
      expect(state.work, `${before} ${input.kind}`).toBe("none");
      state.work = kind === "run" ? "exchange" : "refresh";
      state.aborted = false;
    }
    if (kind === "abort") state.aborted = true;
    if (waits.has(kind)) state.timer = true;
  }
  return effects;
}

/** Ends the work under way as `ending` says, or as an abort does. */
function end(state: Play, ending: LaneInput): LaneInput {
  const refresh = state.work === "refresh";
  state.work = "none";
  if (state.aborted) return { kind: "cancelled" };
  return refresh && ending.kind === "succeeded" ? { kind: "token-fresh" } : ending;
}

const plays = fc.array(
  fc.oneof(
    outside.map((input) => ({ input })),
    endings.map((ending) => ({ ending })),
    fc.constant({ due: true }),
  ),
  { maxLength: 60 },
);

test("never two runs at once, and no state without its exit, whatever happens", () => {
  fc.assert(
    fc.property(plays, (moves) => {
      const state: Play = { lane: createSyncLane(), work: "none", aborted: false, timer: false };
      for (const move of moves) {
        if ("input" in move) play(state, move.input);
        else if ("due" in move) {
          if (state.timer) play(state, { kind: "due" });
        } else if (state.work !== "none") play(state, end(state, move.ending));
        expect(isActive(state.lane)).toBe(state.work !== "none");
        // Idle, waiting or asking for a person: each with what the page says ends it.
        if (["idle", "backing-off", "open", "needs-auth"].includes(state.lane.phase)) {
          expect(state.timer, state.lane.phase).toBe(true);
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test("halted is left by a person alone", () => {
  fc.assert(
    fc.property(
      fc.oneof(outside, endings, fc.constant<LaneInput>({ kind: "due" })),
      fc.constantFrom<Phase>("halted", "halting"),
      (input, phase) => {
        const { lane, effects } = step({ ...createSyncLane(), phase }, input);
        expect(effects).toEqual([]);
        if (input.kind !== "resumed") expect(["halted", "halting"]).toContain(lane.phase);
      },
    ),
  );
  expect(step(createSyncLane("halted"), { kind: "resumed" }).lane.phase).toBe("stopped");
});

test("from every phase a healthy server and a person lead to idle", () => {
  for (const phase of phases) {
    const state: Play = {
      lane: { ...createSyncLane(), phase },
      work: isActive({ ...createSyncLane(), phase }) ? "exchange" : "none",
      aborted: false,
      timer: true,
    };
    if (phase === "refreshing") state.work = "refresh";
    for (let round = 0; round < 8 && state.lane.phase !== "idle"; round++) {
      for (const kind of ["resumed", "start"] as const) play(state, { kind });
      if (state.timer && !isActive(state.lane)) play(state, { kind: "due" });
      if (state.work !== "none") play(state, end(state, { kind: "succeeded", more: false }));
    }
    expect(laneState(state.lane), phase).toBe("idle");
  }
});

test("a loop without progress ends in backoff after its bound", () => {
  let lane = step(createSyncLane(), { kind: "start" }).lane;
  let runs = 1;
  while (lane.phase === "running") {
    const next = step(lane, { kind: "failed", class: "now" });
    lane = next.lane;
    runs += next.effects.filter(({ kind }) => kind === "run").length;
    expect(runs).toBeLessThanOrEqual(limits.syncImmediateMax + 1);
  }
  expect(lane.phase).toBe("backing-off");
});

test("exchanges do not become smaller for ever", () => {
  let lane = step(createSyncLane(), { kind: "start" }).lane;
  let runs = 0;
  for (; lane.phase === "running"; runs++) {
    lane = step(lane, { kind: "failed", class: "smaller" }).lane;
    expect(runs).toBeLessThanOrEqual(limits.syncHalvingsMax);
  }
  expect(lane.phase).toBe("backing-off");
});

test("a server that accepts and refuses in turn does not keep a lane busy", () => {
  let lane = step(createSyncLane(), { kind: "start" }).lane;
  let refreshes = 0;
  for (let round = 0; round < 20 && lane.phase !== "backing-off"; round++) {
    lane = step(lane, { kind: "failed", class: "auth" }).lane;
    if (lane.phase !== "refreshing") continue;
    refreshes += 1;
    lane = step(lane, { kind: "token-fresh" }).lane;
    lane = step(lane, { kind: "succeeded", more: false }).lane;
  }
  expect(lane.phase).toBe("backing-off");
  expect(refreshes).toBe(limits.syncImmediateMax);
});

test("failures grow the backoff until a success, and Retry-After is handed on", () => {
  let lane = step(createSyncLane(), { kind: "start" }).lane;
  for (const failures of [1, 2, 3]) {
    const failed = step(lane, { kind: "failed", class: "after", retryAfterMs: 7_000 });
    expect(failed.effects).toEqual([{ kind: "back-off", failures, atLeastMs: 7_000 }]);
    lane = step(failed.lane, { kind: "due" }).lane;
  }
  lane = step(lane, { kind: "succeeded", more: false }).lane;
  expect(lane).toEqual({ phase: "idle", failures: 0, immediate: 0, halvings: 0 });
});
