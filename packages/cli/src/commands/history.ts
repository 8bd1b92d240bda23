import {
  type Conflict,
  type HistoryStep,
  type Holdfast,
  HoldfastError,
  type RecordedEvent,
  toWire,
} from "@holdfast/core";
import { Command } from "commander";
import { type Output, printable } from "../output.ts";
import { withStore } from "../store.ts";
import { contextOf } from "./options.ts";

/** A step of a stream with what became of it. */
export interface ShownStep {
  readonly event: RecordedEvent;
  readonly concurrentWith: readonly string[];
  /** Leaves of the events that amend, withdraw or settle this one. */
  readonly supersededBy: readonly string[];
  /** Where the conflict stands that this event takes part in. */
  readonly conflict: Conflict["status"] | undefined;
}

/** `holdfast history STREAM`: every event of a stream, step by step. */
export function historyCommand(): Command {
  return new Command("history")
    .description(
      "a stream step by step: amendments, retractions and conflicts with their originals",
    )
    .argument("<stream>", "the stream, in words or by id")
    .action(async (stream: string, _, command: Command) => {
      const { options, output } = contextOf(command);
      await withStore(options, "read", async (store) => {
        const steps = stepsOf(store, stream);
        if (steps.length === 0) throw new HoldfastError("event_not_found");
        for (const [at, step] of steps.entries()) await printStep(output, at + 1, step);
      });
    });
}

/** The steps of a stream in canonical order. */
function stepsOf(
  store: Pick<Holdfast, "history" | "conflicts">,
  stream: string,
): readonly ShownStep[] {
  const history = store.history(stream);
  const conflicts = store.conflicts({ stream, all: true });
  return history.map(({ event, concurrentWith }: HistoryStep) => ({
    event,
    concurrentWith,
    supersededBy: history
      .filter(({ event: { op, header } }) => op !== "create" && header.ref?.includes(event.leaf))
      .filter(({ event: { op } }) => op === "amend" || op === "retract" || op === "resolve")
      .map((other) => other.event.leaf),
    conflict: conflicts.find(({ events }) => events.includes(event.leaf))?.status,
  }));
}

async function printStep(output: Output, number: number, step: ShownStep): Promise<void> {
  const { event, concurrentWith, supersededBy, conflict } = step;
  const { header, ...wire } = toWire(event);
  await output.row({
    step: number,
    ...wire,
    ref: header.ref ?? [],
    concurrent_with: concurrentWith,
    superseded_by: supersededBy,
    conflict: conflict ?? null,
  });
  const facts = [
    `${number}. ${wire.recorded_at}  ${event.op} ${event.type}  ${event.leaf}`,
    ...(header.ref ?? []).map((leaf) => `   names ${leaf}`),
    ...(header.why === undefined ? [] : [`   because ${header.why}: ${event.reason ?? ""}`]),
    ...supersededBy.map((leaf) => `   superseded by ${leaf}`),
    ...(conflict === undefined ? [] : [`   conflict, ${conflict}`]),
    ...concurrentWith.map((leaf) => `   concurrent with ${leaf}`),
    `   ${event.text ?? JSON.stringify(event.data) ?? event.content}`,
  ];
  for (const fact of facts) await output.say(printable(fact).trimEnd());
}
