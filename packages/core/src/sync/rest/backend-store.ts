/**
 * The store side of delivery to a backend without receipts: what is leased, and what became of it, each one
 * turn of the writer loop and one transaction. An exchange that was answered and not settled (the process died,
 * the lease was lost) is sent again under the same idempotency keys.
 */
import type { RecordedEvent } from "../../event/event.ts";
import type { LetterReason } from "../../outbox/dead-letters.ts";
import type { OutboxEntry } from "../../outbox/outbox.ts";
import { errorCodes, type ErrorCode, HoldfastError, invariant } from "../../std/errors.ts";
import type { Clock } from "../../std/ports.ts";
import { localValues } from "../local-values.ts";
import { createTurn, type Turn, type TurnDeps } from "../turn.ts";
import { createAcknowledgements, type LogPlace } from "./acknowledgements.ts";
import type { Prepared } from "./prepare-request.ts";

/** One leased entry, and what is to be sent of it. */
export interface PlannedDelivery {
  readonly position: number;
  readonly urgent: boolean;
  /** Failed attempts before this one. */
  readonly attempts: number;
  /** Number of the attempt row; `undefined`: nothing is sent. */
  readonly attempt: number | undefined;
  readonly event: RecordedEvent;
  readonly prepared: Prepared;
}

/** Leased entries, in the order in which they may go; of one stream, each waits for the one before it. */
export interface DeliveryPlan {
  readonly token: number;
  readonly deliveries: readonly PlannedDelivery[];
}

/** What became of one delivery. */
export type DeliveryEnd =
  | { readonly kind: "acknowledged"; readonly status?: number }
  /** The backend's state stands; the event had no effect there, and the conflict is recorded. */
  | { readonly kind: "remote-stands"; readonly status: number }
  | { readonly kind: "refused"; readonly code: ErrorCode; readonly status?: number }
  | {
      readonly kind: "failed";
      readonly code: string;
      readonly status?: number;
      readonly nextAt: number;
    }
  | { readonly kind: "unsent" };

/** What a settlement moved; what was settled without a request does not count. */
export interface Settled {
  readonly delivered: number;
  readonly rejected: number;
}

/** See the module header. */
export interface BackendStore {
  /** Leases up to so many entries; `undefined`: nothing may go. Throws `backend_store_enrolled`. */
  plan(
    entries: number,
    prepare: (event: RecordedEvent) => Prepared,
  ): Promise<DeliveryPlan | undefined>;
  /** Ends by position; what has none is unsent. Throws `outbox_lease_lost`. */
  settle(plan: DeliveryPlan, ends: ReadonlyMap<number, DeliveryEnd>): Promise<Settled>;
  /** When an entry may go, UTC ms; `undefined`: none waits. */
  nextDueAt(): number | undefined;
  /** Has an urgent entry come after that position? */
  urgentSince(position: number): boolean;
  /** Position of the newest event. */
  head(): number;
}

/** What {@link createBackendStore} needs. */
export interface BackendStoreDeps extends TurnDeps {
  readonly clock: Clock;
  /** Names the lease: printable ASCII, one for every engine. */
  readonly worker: string;
  readonly endpoint: string;
  /** The event at a position of the store. */
  readonly readEvent: (position: number) => RecordedEvent | undefined;
  /** After COMMIT. */
  readonly onCommitted: () => void;
}

/** Named values that record a conflict in which the backend's state was left to stand. */
const remoteStandsPrefix = "backend/remote-stands/";

/** Over a store. */
export function createBackendStore(deps: BackendStoreDeps): BackendStore {
  const { clock, worker, endpoint } = deps;
  const turn = createTurn(deps);

  function planned(
    { session: { outbox } }: Turn,
    token: number,
    entry: OutboxEntry,
    prepare: (event: RecordedEvent) => Prepared,
  ): PlannedDelivery {
    const event = deps.readEvent(entry.position);
    invariant(event !== undefined, "an entry stands for an event");
    const prepared = prepare(event);
    const { position, attempts } = entry;
    const isSent = prepared.kind === "send";
    const attempt = isSent ? outbox.begin(token, endpoint, [position]) : undefined;
    return { position, urgent: entry.lane === "urgent", attempts, attempt, event, prepared };
  }

  return {
    plan: (entries, prepare) =>
      turn((at) => {
        const { session, tables, within } = at;
        if (tables.server() !== undefined) throw new HoldfastError("backend_store_enrolled");
        return within(() => {
          const lease = session.outbox.lease({ worker, entries, order: "stream" });
          if (lease === undefined) return undefined;
          const { token } = lease;
          const deliveries = lease.entries.map((entry) => planned(at, token, entry, prepare));
          return { token, deliveries };
        });
      }),
    async settle(plan, ends) {
      const settled = await turn((at) =>
        at.within(() => settleWithin(at, plan, ends, clock.now())),
      );
      deps.onCommitted();
      return settled;
    },
    nextDueAt: () => deps.session().outbox.nextDueAt("stream"),
    urgentSince(position) {
      const row = deps
        .session()
        .driver.prepare(
          "SELECT 1 AS value FROM outbox WHERE lane = 'urgent' AND position > ? LIMIT 1",
        )
        .get(position);
      return row !== undefined;
    },
    head: () => deps.session().log.head(),
  };
}

function settleWithin(
  at: Turn,
  plan: DeliveryPlan,
  ends: ReadonlyMap<number, DeliveryEnd>,
  now: number,
): Settled {
  const { outbox } = at.session;
  outbox.assertLease(plan.token);
  const done: number[] = [];
  let delivered = 0;
  let rejected = 0;
  for (const delivery of plan.deliveries) {
    const end = ends.get(delivery.position) ?? { kind: "unsent" };
    if (end.kind === "acknowledged" || end.kind === "remote-stands") {
      done.push(delivery.position);
      if (delivery.attempt !== undefined) delivered += 1;
    }
    if (end.kind === "refused") rejected += 1;
    settleOne(at, plan.token, delivery, end, now);
  }
  outbox.delivered(done);
  const { driver } = at.session;
  createAcknowledgements(driver).add(done.map((position) => placeOf(at, position)));
  outbox.release(plan.token);
  return { delivered, rejected };
}

function settleOne(
  { session: { outbox, driver } }: Turn,
  token: number,
  delivery: PlannedDelivery,
  end: DeliveryEnd,
  now: number,
): void {
  const { position, attempt, event } = delivery;
  const finish = (
    ...ended: [result: "delivered" | "failed" | "cancelled", code?: string, status?: number]
  ) => {
    if (attempt !== undefined) outbox.finish(attempt, ...ended);
  };
  switch (end.kind) {
    case "acknowledged":
      finish("delivered", undefined, end.status);
      return;
    case "remote-stands": {
      const { status } = end;
      const kept = JSON.stringify({ id: event.id, at: now, status });
      localValues(driver).set(remoteStandsPrefix + String(position), kept);
      finish("delivered", "backend_conflict", status);
      return;
    }
    case "refused":
      outbox.reject(position, letterOf(delivery, end));
      finish("failed", end.code, end.status);
      return;
    case "failed":
      if (attempt !== undefined) outbox.failed(token, attempt, end, "stay");
      return;
    case "unsent":
      finish("cancelled");
      return;
    default:
      end satisfies never;
  }
}

/** Urgent ones are critical; what a person can settle at the desk is less than what needs a correction. */
function letterOf(
  { urgent }: PlannedDelivery,
  { code, status }: Extract<DeliveryEnd, { kind: "refused" }>,
): LetterReason {
  const severity = urgent ? "critical" : code === "backend_conflict" ? "medium" : "high";
  const message = errorCodes[code].meaning;
  return { code, message, severity, ...(status === undefined ? {} : { status }) };
}

function placeOf({ tables }: Turn, position: number): LogPlace {
  const place = tables.placeOf(position);
  invariant(place !== undefined, "an entry stands for an event of an own log");
  return place;
}
