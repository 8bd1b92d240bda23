/**
 * Amendments, retractions, resolutions, and the history that shows them. Nothing is ever overwritten: each is
 * a new event that names what it concerns, and the original stays readable.
 */
import { concurrentWith, createCausalHistory } from "../event/causal-history.ts";
import { type Conflict, type ContendingEvent, findConflicts } from "../event/conflicts.ts";
import type { Draft, RecordedEvent } from "../event/event.ts";
import type { Registry } from "../event/registry.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { Correction, HistoryStep, Resolution, Withdrawal } from "./holdfast.ts";

/** What a correction needs of a store. */
export interface Corrected {
  readonly registry: Registry;
  get(idOrLeaf: string): RecordedEvent | undefined;
  /** All events of a stream. */
  eventsOf(stream: string): readonly RecordedEvent[];
}

function found(store: Corrected, idOrLeaf: string): RecordedEvent {
  const event = store.get(idOrLeaf);
  if (event === undefined) throw new HoldfastError("event_not_found");
  return event;
}

/** Content of an event for another one: its payload, or its exact text. */
function contentOf(
  store: Corrected,
  event: RecordedEvent,
  given: { readonly data?: unknown; readonly text?: string },
): Pick<Draft, "data" | "text"> {
  if (store.registry.types.get(event.type)?.encoding === "text") {
    const text = given.text ?? event.text;
    return text === undefined ? {} : { text };
  }
  return { data: given.data ?? event.data };
}

/** The draft of an amendment. */
export function amendment(store: Corrected, idOrLeaf: string, correction: Correction): Draft {
  const event = found(store, idOrLeaf);
  const { actor, why, reason, occurredAt = event.occurredAt } = correction;
  return {
    type: event.type,
    stream: event.stream,
    op: "amend",
    ref: [event.leaf],
    actor,
    why,
    ...contentOf(store, event, correction),
    ...(reason !== undefined && { reason }),
    ...(occurredAt !== undefined && { occurredAt }),
  };
}

/** The draft of a retraction. */
export function retraction(store: Corrected, idOrLeaf: string, withdrawal: Withdrawal): Draft {
  const event = found(store, idOrLeaf);
  const { actor, why, reason, type = event.type } = withdrawal;
  const content =
    type === event.type ? contentOf(store, event, withdrawal) : { data: withdrawal.data ?? {} };
  return {
    type,
    stream: event.stream,
    op: "retract",
    ref: [event.leaf],
    actor,
    why,
    ...content,
    ...(reason !== undefined && { reason }),
  };
}

/** The draft that settles the open conflicts of a stream. Throws `conflict_not_open`. */
export function resolution(store: Corrected, stream: string, wanted: Resolution): Draft {
  const open = conflictsOf(store, stream).filter(({ status }) => status === "open");
  const sides = [...new Set(open.flatMap((conflict) => conflict.sides))];
  if (sides.length === 0) throw new HoldfastError("conflict_not_open", { stream });
  const chosen = wanted.side ?? open[0]?.winner ?? "";
  if (!sides.includes(chosen)) {
    throw new HoldfastError("draft_invalid", { path: "/side", reason: "no open side" });
  }
  const event = found(store, chosen);
  const { actor, why, reason } = wanted;
  return {
    type: event.type,
    stream: event.stream,
    op: "resolve",
    ref: sides,
    actor,
    ...contentOf(store, event, wanted),
    ...(why !== undefined && { why }),
    ...(reason !== undefined && { reason }),
    ...(event.occurredAt !== undefined && { occurredAt: event.occurredAt }),
  };
}

/** The steps of a stream in canonical order. */
export function historyOf(store: Corrected, stream: string): readonly HistoryStep[] {
  const history = createCausalHistory(store.eventsOf(stream));
  return history.events.map(({ event }) => ({
    event,
    concurrentWith: concurrentWith(history, event.leaf).map((other) => other.event.leaf),
  }));
}

/** The conflicts of a stream, open and settled. */
export function conflictsOf(store: Corrected, stream: string): readonly Conflict[] {
  return findConflicts(
    store.eventsOf(stream).map((event) => contending(event)),
    store.registry,
  );
}

function contending(event: RecordedEvent): ContendingEvent {
  const said = {
    data: event.data,
    occurred: event.occurredAt ?? null,
    reason: event.reason ?? null,
  };
  return {
    leaf: event.leaf,
    header: event.header,
    contentKey: event.content === "opened" ? (event.text ?? canonicalJson(said)) : undefined,
    payload: event.data,
  };
}
