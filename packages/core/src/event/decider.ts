/**
 * Deciders: an application's rules as three pure functions.
 *
 * `evolve` folds what happened into a state, `decide` turns a command and a state into new events, or refuses
 * it with {@link refuseCommand}. Neither touches a store, a clock or chance, so rules are tested by
 * given/when/then (`given` of `@holdfast/testkit`) and run by `handleCommand`.
 *
 * @example
 * ```ts
 * import { type Decider, evolveAll, refuseCommand } from "@holdfast/core";
 *
 * type Command = { readonly take: number };
 * type Event = { readonly taken: number };
 * const supply: Decider<number, Command, Event> = {
 *   initial: () => 10,
 *   decide: ({ take }, left) => (take > left ? refuseCommand("not enough left") : [{ taken: take }]),
 *   evolve: (left, { taken }) => left - taken,
 * };
 * console.log(supply.decide({ take: 3 }, evolveAll(supply, [{ taken: 4 }])));
 * ```
 */
import { HoldfastError } from "../std/errors.ts";

/** An application's rules; see the module header. */
export interface Decider<State, Command, Event> {
  /** The state before anything happened. */
  initial(): State;
  /** The events that a command leads to; none when nothing is to happen. May call {@link refuseCommand}. */
  decide(command: Command, state: State): readonly Event[];
  /** The state after one more event. Never throws: what happened, happened. */
  evolve(state: State, event: Event): State;
}

/** The state after events, in their order, from the initial state. */
export function evolveAll<State, Event>(
  decider: Pick<Decider<State, never, Event>, "initial" | "evolve">,
  events: readonly Event[],
): State {
  return events.reduce((state, event) => decider.evolve(state, event), decider.initial());
}

/** Refuses a command: throws `command_refused`. The reason is shown and logged; nothing personal in it. */
export function refuseCommand(reason: string): never {
  throw new HoldfastError("command_refused", { reason });
}
