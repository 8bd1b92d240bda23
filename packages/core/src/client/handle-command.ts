/**
 * Runs a decider against a store: read the stream, fold it in canonical order, decide, append on condition
 * that the stream has not moved on, and decide anew when it has.
 */
import { canonicalOrder } from "../event/canonical-order.ts";
import { type Decider, evolveAll } from "../event/decider.ts";
import type { Draft, RecordedEvent } from "../event/event.ts";
import { limits } from "../std/limits.ts";
import type { AppendResult } from "../store/append.ts";
import type { Holdfast } from "./holdfast.ts";

/** A command, where it goes, and how the decider's events become drafts and come back. */
export interface CommandOptions<Command, Event> {
  /** In words, or the id of a stream. */
  readonly stream: string;
  /** In words, or the id of a scope. Default: the stream's scope. */
  readonly scope?: string;
  readonly actor: string;
  readonly command: Command;
  /** What is to be recorded of an event; stream, scope and actor are filled in. */
  toDraft(event: Event): Omit<Draft, "stream" | "scope" | "actor">;
  /**
   * The decider's event that a recorded one stands for; `undefined` passes it over (other types, withdrawn
   * events, content that cannot be opened).
   */
  fromEvent(recorded: RecordedEvent): Event | undefined;
}

/** What {@link handleCommand} answers. */
export type CommandResult<State, Event> =
  /** Recorded; `appended` is undefined when the decider had nothing to say. */
  | {
      readonly status: "handled";
      readonly events: readonly Event[];
      readonly state: State;
      readonly appended: Extract<AppendResult, { readonly status: "appended" }> | undefined;
    }
  /** Others kept extending the stream: nothing was recorded. */
  | Extract<AppendResult, { readonly status: "conflict" }>;

/**
 * Handles one command. Decides at most `limits.commandAttemptsMax` times. Throws `command_refused` when the
 * decider refuses, and the codes of `append` and `read`.
 */
export async function handleCommand<State, Command, Event>(
  store: Pick<Holdfast, "append" | "read" | "frontier">,
  decider: Decider<State, Command, Event>,
  options: CommandOptions<Command, Event>,
): Promise<CommandResult<State, Event>> {
  for (let attempt = 1; ; attempt++) {
    // The frontier first: an event that arrives between the two makes the append refuse.
    const expect = store.frontier(options.stream) ?? "none";
    const past = canonicalOrder(readStream(store, options.stream))
      .map((recorded) => options.fromEvent(recorded))
      .filter((event) => event !== undefined);
    const before = evolveAll(decider, past);
    const events = decider.decide(options.command, before);
    const state = events.reduce((folded, event) => decider.evolve(folded, event), before);
    if (events.length === 0) return { status: "handled", events, state, appended: undefined };
    const { stream, scope, actor } = options;
    const drafts = events.map((event): Draft => {
      return { ...options.toDraft(event), stream, ...(scope !== undefined && { scope }), actor };
    });
    const result = await store.append(drafts, { expect });
    if (result.status === "appended") return { status: "handled", events, state, appended: result };
    if (attempt >= limits.commandAttemptsMax) return result;
  }
}

/** The whole stream, page by page. */
function readStream(store: Pick<Holdfast, "read">, stream: string): readonly RecordedEvent[] {
  const events: RecordedEvent[] = [];
  for (let after = 0; ;) {
    const page = store.read({ stream, after, limit: limits.queryRowsDefault });
    events.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < limits.queryRowsDefault) return events;
    after = last.position;
  }
}
