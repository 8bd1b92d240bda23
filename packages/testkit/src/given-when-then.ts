/**
 * Tests of deciders in three steps, for any test framework: a failed expectation throws an `Error` whose
 * message shows what was given, what was expected and what came.
 *
 * @example
 * ```ts
 * import { type Decider, refuseCommand } from "@holdfast/core";
 * import { given } from "@holdfast/testkit";
 *
 * const door: Decider<boolean, "open", "opened"> = {
 *   initial: () => false,
 *   decide: (_, isOpen) => (isOpen ? refuseCommand("already open") : ["opened"]),
 *   evolve: () => true,
 * };
 * given(door, []).when("open").then(["opened"]);
 * given(door, ["opened"]).when("open").thenRefused("already open");
 * ```
 */
import { type Decider, evolveAll, isHoldfastError } from "@holdfast/core";
import { isDeepStrictEqual } from "node:util";

/** What one decision led to, to be compared. */
export interface Decision<State, Event> {
  /** The command leads to exactly these events. */
  then(expected: readonly Event[]): void;
  /** The command is refused (`command_refused`), for this reason if one is given. */
  thenRefused(reason?: string): void;
  /** Anything else thrown: its message, or its error code, contains the text. */
  thenThrows(text: string): void;
  /** After the decided events, the state is this. */
  thenState(expected: State): void;
}

/** A decider with a past. */
export interface GivenPast<State, Command, Event> {
  /** Decides the command once. */
  when(command: Command): Decision<State, Event>;
}

type Outcome<Event> =
  | { readonly events: readonly Event[] }
  | { readonly refused: string }
  | { readonly thrown: unknown };

/** Starts a test: what happened before. */
export function given<State, Command, Event>(
  decider: Decider<State, Command, Event>,
  past: readonly Event[],
): GivenPast<State, Command, Event> {
  return {
    when(command) {
      const before = evolveAll(decider, past);
      const outcome = decideOnce(decider, command, before);
      const fail = (expected: string): never => {
        throw new Error(
          [
            "The decision is another than expected.",
            `  given     ${show(past)}`,
            `  state     ${show(before)}`,
            `  when      ${show(command)}`,
            `  expected  ${expected}`,
            `  came      ${describeOutcome(outcome)}`,
          ].join("\n"),
          "thrown" in outcome ? { cause: outcome.thrown } : {},
        );
      };
      return {
        // oxlint-disable-next-line unicorn/no-thenable -- the third step's name; nobody awaits a decision
        then(expected) {
          if (!("events" in outcome) || !isDeepStrictEqual(outcome.events, expected)) {
            fail(`events ${show(expected)}`);
          }
        },
        thenRefused(reason) {
          const as = reason === undefined ? "" : `: ${reason}`;
          const met = "refused" in outcome && (reason ?? outcome.refused) === outcome.refused;
          if (!met) fail(`refused${as}`);
        },
        thenThrows(text) {
          if (!("thrown" in outcome) || !wordsOf(outcome.thrown).includes(text)) {
            fail(`an error with "${text}"`);
          }
        },
        thenState(expected) {
          if (!("events" in outcome)) {
            fail(`state ${show(expected)}`);
            return;
          }
          const after = outcome.events.reduce((s, event) => decider.evolve(s, event), before);
          if (!isDeepStrictEqual(after, expected)) {
            fail(`state ${show(expected)}, but it is ${show(after)}`);
          }
        },
      };
    },
  };
}

function decideOnce<State, Command, Event>(
  decider: Decider<State, Command, Event>,
  command: Command,
  state: State,
): Outcome<Event> {
  try {
    return { events: decider.decide(command, state) };
  } catch (error) {
    if (isHoldfastError(error) && error.code === "command_refused") {
      return { refused: String(error.details["reason"]) };
    }
    return { thrown: error };
  }
}

function describeOutcome(outcome: Outcome<unknown>): string {
  if ("events" in outcome) return `events ${show(outcome.events)}`;
  if ("refused" in outcome) return `refused: ${outcome.refused}`;
  return `an error: ${wordsOf(outcome.thrown)}`;
}

function wordsOf(thrown: unknown): string {
  if (isHoldfastError(thrown)) return `${thrown.code} ${thrown.message}`;
  return thrown instanceof Error ? thrown.message : String(thrown);
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
