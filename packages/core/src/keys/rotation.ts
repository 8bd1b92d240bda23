/**
 * Rotation of keys as a state machine: pure, total, resumed from its last durable phase.
 *
 * | Phase | The work that leads on | Old key | New key |
 * | --- | --- | --- | --- |
 * | `planned` | make the new key | seals, opens | is not there |
 * | `new-key-created` | look for it in both copies, open each of its wraps | seals, opens | is there |
 * | `distributed` | make it current | seals, opens | opens |
 * | `primary` | begin to move | opens | seals, opens |
 * | `rewrapping` | move what the old key wraps, in chunks | opens | seals, opens |
 * | `verified` | destroy the old key | opens | seals, opens |
 * | `old-key-destroyed` | nothing: this rotation is over | is gone | seals, opens |
 *
 * Each phase is written down, durable, after its work and before the next one's begins, and all work may be done
 * twice. So a crash at any moment leaves a phase from which the same steps go on. What was checked and did not
 * hold goes back to `rewrapping`; a new key that cannot be used any more before it became current ends in
 * `rolled-back`, with the old one as it was.
 */

/** Phases of a rotation, in their order; `rolled-back` is the other end. */
export const rotationPhases = [
  "planned",
  "new-key-created",
  "distributed",
  "primary",
  "rewrapping",
  "verified",
  "old-key-destroyed",
  "rolled-back",
] as const;
/** Where a rotation stands. */
export type RotationPhase = (typeof rotationPhases)[number];

/** What is rotated through the keyring's records. */
export type RotatedKey = "epoch" | "provider";

/** One rotation: what is written down of it. */
export interface RotationState {
  /** Names the rotation: 8 random bytes, base64url. */
  readonly id: string;
  readonly key: RotatedKey;
  readonly phase: RotationPhase;
  /** Ids of the old and of the new key. */
  readonly from: string;
  readonly to: string;
  /** Records moved, and records to move as they were counted last. */
  readonly done: number;
  readonly total: number;
}

/** What happened. */
export type RotationInput =
  | { readonly happened: "created" }
  | { readonly happened: "found" }
  | { readonly happened: "switched" }
  | { readonly happened: "counted"; readonly total: number }
  /** A chunk is durable under the new key. */
  | { readonly happened: "moved"; readonly records: number; readonly left: number }
  | { readonly happened: "checked"; readonly holds: boolean }
  | { readonly happened: "destroyed" }
  /** The new key cannot be used by this process, and was not current yet. */
  | { readonly happened: "given-up" };

/** What to do next. */
export type RotationWork =
  | "create"
  | "find"
  | "switch"
  | "count"
  | "move"
  | "check"
  | "destroy"
  | "nothing";

/** Is the rotation over, one way or the other? */
export function isOver(phase: RotationPhase): boolean {
  return phase === "old-key-destroyed" || phase === "rolled-back";
}

/** May the old key still be gone back to? From `primary` on the new one has wrapped what the old one has not. */
export function mayRollBack(phase: RotationPhase): boolean {
  return phase === "planned" || phase === "new-key-created" || phase === "distributed";
}

/** Does the new key wrap what is new? */
export function isSwitched(phase: RotationPhase): boolean {
  return !mayRollBack(phase) && phase !== "rolled-back";
}

/** The work of a phase. `move` is over when nothing is left: then what was moved is checked. */
export function workOf(state: RotationState): RotationWork {
  switch (state.phase) {
    case "planned":
      return "create";
    case "new-key-created":
      return "find";
    case "distributed":
      return "switch";
    case "primary":
      return "count";
    case "rewrapping":
      return state.done < state.total ? "move" : "check";
    case "verified":
      return "destroy";
    case "old-key-destroyed":
    case "rolled-back":
      return "nothing";
    default:
      return state.phase satisfies never;
  }
}

/** The input that the work of each phase ends in; anything else changes nothing. */
const expected: Readonly<Record<RotationWork, readonly RotationInput["happened"][]>> = {
  create: ["created", "given-up"],
  find: ["found", "given-up"],
  switch: ["switched", "given-up"],
  count: ["counted"],
  move: ["moved", "counted"],
  check: ["checked", "counted"],
  destroy: ["destroyed"],
  nothing: [],
};

/** One step: the state after what happened. What does not belong to the phase leaves it as it is. */
export function stepRotation(state: RotationState, input: RotationInput): RotationState {
  if (!expected[workOf(state)].includes(input.happened)) return state;
  switch (input.happened) {
    case "created":
      return { ...state, phase: "new-key-created" };
    case "found":
      return { ...state, phase: "distributed" };
    case "switched":
      return { ...state, phase: "primary" };
    case "counted":
      return { ...state, phase: "rewrapping", done: 0, total: input.total };
    case "moved": {
      const done = state.done + input.records;
      return { ...state, done, total: done + input.left };
    }
    case "checked":
      // What is missing is counted and moved again; nothing is destroyed on a check that does not hold.
      return input.holds ? { ...state, phase: "verified" } : { ...state, phase: "primary" };
    case "destroyed":
      return { ...state, phase: "old-key-destroyed" };
    case "given-up":
      return { ...state, phase: "rolled-back" };
    default:
      return input satisfies never;
  }
}
