import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  isOver,
  isSwitched,
  mayRollBack,
  type RotationInput,
  rotationPhases,
  type RotationState,
  stepRotation,
  workOf,
} from "./rotation.ts";

const planned: RotationState = {
  id: "AAAAAAAAAAA",
  key: "epoch",
  phase: "planned",
  from: "old",
  to: "new",
  done: 0,
  total: 0,
};

/** A keyring as the machine sees it: records under two keys, and which of the keys are there. */
interface World {
  readonly old: number;
  readonly moved: number;
  readonly oldKey: boolean;
  readonly newKey: "absent" | "there" | "current";
}

/** Does the work of a state, wholly or up to a crash: then nothing of the step is written down. */
function work(state: RotationState, world: World, chunk: number, holds: boolean) {
  switch (workOf(state)) {
    case "create":
      return { input: { happened: "created" }, world: { ...world, newKey: "there" } };
    case "find":
      return { input: { happened: "found" }, world };
    case "switch":
      return { input: { happened: "switched" }, world: { ...world, newKey: "current" } };
    case "count":
      return { input: { happened: "counted", total: world.old }, world };
    case "move": {
      const records = Math.min(chunk, world.old);
      const after = { ...world, old: world.old - records, moved: world.moved + records };
      return { input: { happened: "moved", records, left: after.old }, world: after };
    }
    case "check":
      return { input: { happened: "checked", holds: holds && world.old === 0 }, world };
    case "destroy":
      return { input: { happened: "destroyed" }, world: { ...world, oldKey: false } };
    case "nothing":
      return undefined;
    default:
      return undefined;
  }
}

describe("rotation", () => {
  it("comes to its end through every phase, whatever is interrupted, and destroys nothing unmoved", () => {
    fc.assert(
      fc.property(
        fc.nat(40),
        fc.array(
          fc.record({
            chunk: fc.integer({ min: 1, max: 9 }),
            crash: fc.boolean(),
            holds: fc.boolean(),
          }),
          {
            maxLength: 200,
          },
        ),
        (records, turns) => {
          let state = planned;
          let world: World = { old: records, moved: 0, oldKey: true, newKey: "absent" };
          const phases = new Set<string>([state.phase]);
          const rest = Array.from({ length: 200 }, () => ({ chunk: 1, crash: false, holds: true }));
          for (const { chunk, crash, holds } of [...turns, ...rest]) {
            const done = work(state, world, chunk, holds);
            if (done === undefined) break;
            // The effect is durable before the phase is: a crash between them repeats the work.
            world = done.world as World;
            if (!crash) state = stepRotation(state, done.input as RotationInput);
            phases.add(state.phase);
            expect(world.old + world.moved).toBe(records);
            if (!world.oldKey) expect(world).toMatchObject({ old: 0, newKey: "current" });
            if (isSwitched(state.phase)) expect(world.newKey).toBe("current");
          }
          expect(state.phase).toBe("old-key-destroyed");
          expect(world).toEqual({ old: 0, moved: records, oldKey: false, newKey: "current" });
          expect(phases.size).toBe(rotationPhases.length - 1);
        },
      ),
    );
  });

  it("is total: every phase with every input, and what does not belong changes nothing", () => {
    const inputs: readonly RotationInput[] = [
      { happened: "created" },
      { happened: "found" },
      { happened: "switched" },
      { happened: "counted", total: 5 },
      { happened: "moved", records: 2, left: 3 },
      { happened: "checked", holds: true },
      { happened: "checked", holds: false },
      { happened: "destroyed" },
      { happened: "given-up" },
    ];
    const leads = rotationPhases.map((phase) => {
      const state = { ...planned, phase, done: 2, total: 5 };
      return [phase, inputs.map((input) => stepRotation(state, input).phase)] as const;
    });
    const same = (phase: string, but: Readonly<Record<number, string>> = {}) =>
      inputs.map((_, at) => but[at] ?? phase);
    expect(leads).toEqual([
      ["planned", same("planned", { 0: "new-key-created", 8: "rolled-back" })],
      ["new-key-created", same("new-key-created", { 1: "distributed", 8: "rolled-back" })],
      ["distributed", same("distributed", { 2: "primary", 8: "rolled-back" })],
      ["primary", same("primary", { 3: "rewrapping" })],
      ["rewrapping", same("rewrapping")],
      ["verified", same("verified", { 7: "old-key-destroyed" })],
      ["old-key-destroyed", same("old-key-destroyed")],
      ["rolled-back", same("rolled-back")],
    ]);
    const moved = { ...planned, phase: "rewrapping", done: 5, total: 5 } as const;
    expect(stepRotation(moved, { happened: "checked", holds: true }).phase).toBe("verified");
    expect(stepRotation(moved, { happened: "checked", holds: false }).phase).toBe("primary");
    expect(stepRotation({ ...moved, done: 2 }, { happened: "moved", records: 2, left: 1 })).toEqual(
      {
        ...moved,
        done: 4,
        total: 5,
      },
    );
  });

  it("goes back only before the new key is current, and nowhere once it is over", () => {
    for (const phase of rotationPhases) {
      const given = stepRotation({ ...planned, phase }, { happened: "given-up" }).phase;
      expect(given === "rolled-back").toBe(mayRollBack(phase) || phase === "rolled-back");
      expect(workOf({ ...planned, phase }) === "nothing").toBe(isOver(phase));
    }
  });
});
