/**
 * The outbox: own events that the server has not acknowledged, written in the append's transaction.
 *
 * An entry is `waiting`, `leased` to one worker, or `dead` (a dead letter, held for a person); delivered, it
 * is gone. Nothing is ever dropped: what leaves is covered by a receipt, was acknowledged by a backend that
 * gives none (`sync/rest`), or was archived and purged by a person after its retention, and the event stays in
 * the log either way.
 *
 * One exchange: `lease` (turns.ts says what may go), `begin`, send, then in one transaction `assertLease`,
 * `delivered` or `failed` or `reject`, `finish`, `release`. A worker that lost its lease meanwhile is refused
 * there with `outbox_lease_lost`, and what it sent is recognised as a duplicate when it is sent again.
 *
 * Every method that changes something runs in the caller's transaction.
 */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { AppendParticipant } from "../store/sqlite-event-log.ts";
import { type Observer, silentObserver } from "../telemetry/observer.ts";
import { type AttemptResult, createAttempts } from "./attempts.ts";
import { createDeadLetters, type DeadLetters, type LetterReason } from "./dead-letters.ts";
import { createEntries, type Entries } from "./entries.ts";
import {
  createOutboxLeases,
  type ForcedRelease,
  type LeaseMetadata,
  type OutboxLeaseRow,
  type TakenOver,
} from "./leases.ts";
import { type OutboxOptions, outboxPolicy } from "./policy.ts";
import { createPressure, type Pressure } from "./pressure.ts";
import { createSettlement, type ExchangeFailure } from "./settlement.ts";
import { createTurns, type Lane, type TurnOrder } from "./turns.ts";
import { createOutboxWhole, type OutboxProblem } from "./whole.ts";

/** How much waits to be delivered. */
export interface OutboxStatus {
  /** Neither delivered nor dead: waiting or leased. */
  readonly waiting: number;
  /** Of those, with a worker just now. */
  readonly leased: number;
  /** Dead letters that are not archived. */
  readonly dead: number;
  /** Age of the oldest entry that is neither delivered nor dead; `undefined` when there is none. */
  readonly oldestMs: number | undefined;
}

/** One entry. Times are UTC milliseconds. */
export interface OutboxEntry {
  readonly position: number;
  readonly lane: Lane;
  readonly state: "waiting" | "leased" | "dead";
  /** Failed attempts since it was enqueued or redriven. */
  readonly attempts: number;
  /** recordedAt of the event. */
  readonly enqueuedAt: number;
  /** When it is due; `undefined`: at once. */
  readonly nextAt: number | undefined;
}

/** The right to deliver some entries, until it is released, taken over or forced. */
export interface OutboxLease {
  /** Fencing token; rises over all workers. */
  readonly token: number;
  readonly worker: string;
  /** Urgent lane first, then by position. */
  readonly entries: readonly OutboxEntry[];
  /** Leases whose entries waited again because they had expired. */
  readonly tookOver: readonly TakenOver[];
}

/** What a worker asks for. */
export interface LeaseWish {
  /** Names the worker: one lease each; leasing again gives the former entries back. */
  readonly worker: string;
  /** Entries at most. */
  readonly entries: number;
  /** What may pass what; default `lane`. */
  readonly order?: TurnOrder;
  readonly metadata?: LeaseMetadata;
}

/** The outbox of one open store. */
export interface Outbox extends AppendParticipant {
  status(): OutboxStatus;
  /** Entries that are missing for own events, or that stand for none; at most `limit`. */
  check(limit: number): readonly OutboxProblem[];
  /** Makes the outbox from the events and the receipts. The number of entries it then has. */
  rebuild(): number;
  /** Leases what is due; `undefined`: nothing may go. Throws `outbox_query_invalid`. */
  lease(wish: LeaseWish): OutboxLease | undefined;
  /** Throws `outbox_lease_lost` when it was taken over, released or forced. */
  renew(token: number): void;
  /** The fencing check, in the transaction that settles. Throws `outbox_lease_lost`. */
  assertLease(token: number): void;
  /**
   * Begins an attempt with entries of the lease (default: all) and returns its number. Throws
   * `outbox_lease_lost`.
   */
  begin(token: number, endpoint: string, positions?: readonly number[]): number;
  /** Removes entries, whoever leases them; how many there were. */
  delivered(positions: Iterable<number>): number;
  /**
   * Ends the attempt as failed: its entries wait for `nextAt`, one attempt more, or become dead letters when
   * the maximum of the failure's class is reached. Where a token or a person is needed (`auth`, `halt`) they
   * stay as they were. Other entries of the lease wait as before, or stay leased where each entry is settled by
   * itself. Throws `outbox_lease_lost`.
   */
  failed(token: number, attempt: number, failure: ExchangeFailure, others?: "wait" | "stay"): void;
  /** To dead letter at once; nothing when there is no such entry or it is one. */
  reject(position: number, reason: LetterReason): void;
  /** Ends an attempt; nothing when it has ended. */
  finish(attempt: number, result: AttemptResult, code?: string, status?: number): void;
  /** Gives back what is still leased under the token; nothing when it was lost. */
  release(token: number): void;
  /** Ends another worker's lease. Throws `outbox_reason_missing`, `outbox_lease_lost`. */
  forceRelease(worker: string, release: ForcedRelease): void;
  leases(): readonly OutboxLeaseRow[];
  /** When something may go: an entry is due or a lease expires; `undefined`: nothing waits. */
  nextDueAt(order?: TurnOrder): number | undefined;
  readonly deadLetters: DeadLetters;
  readonly entries: Entries;
  readonly pressure: Pressure;
  /** Removes archived dead letters past their retention, and attempts as old that no entry needs. */
  purge(retentionMs?: number): number;
}

/** Ports of the outbox. */
export interface OutboxDeps {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer?: Observer;
  readonly options?: OutboxOptions;
  /** Told of leases that ended because somebody else leased, within the transaction that does it. */
  readonly tookOver?: (lease: TakenOver) => void;
}

/** The outbox over a store's database; takes part in appends. Throws `outbox_option_invalid`. */
export function createOutbox(deps: OutboxDeps): Outbox {
  const { driver, clock, observer = silentObserver } = deps;
  const policy = outboxPolicy(deps.options);
  const parts = { driver, clock, observer, policy };
  const leases = createOutboxLeases(parts);
  const attempts = createAttempts(parts);
  const deadLetters = createDeadLetters(parts);
  const turns = createTurns(driver);
  const settlement = createSettlement({ ...parts, leases, attempts, deadLetters });
  const whole = createOutboxWhole(driver);
  const statements = prepareStatements(driver);

  function lease(wish: LeaseWish): OutboxLease | undefined {
    checkWish(wish);
    const now = clock.now();
    const { worker } = wish;
    const tookOver = leases.takeOver(worker, now);
    for (const over of tookOver) deps.tookOver?.(over);
    const candidates = turns.next(wish.entries, now, wish.order ?? "lane");
    if (candidates.length === 0) return undefined;
    const token = leases.enter(worker, wish.metadata, now);
    statements.lease.run(token, JSON.stringify(candidates.map(({ position }) => position)));
    const entries = candidates.map(
      ({ position, lane, attempts: tried, enqueued_at }): OutboxEntry => {
        if (tried > 0) observer.count("outbox_retries", 1);
        const enqueuedAt = enqueued_at;
        return { position, lane, state: "leased", attempts: tried, enqueuedAt, nextAt: undefined };
      },
    );
    return { token, worker, entries, tookOver };
  }

  function status(): OutboxStatus {
    const count = (state: string): number => statements.count.get<Value>(state)?.value ?? 0;
    const leased = count("leased");
    const since = statements.oldest.get<Value>()?.value;
    return {
      waiting: count("waiting") + leased,
      leased,
      dead: statements.dead.get<Value>()?.value ?? 0,
      oldestMs: since === undefined ? undefined : Math.max(0, clock.now() - since),
    };
  }

  return {
    name: "outbox",
    apply(appended) {
      for (const { position, sealed, urgent, foreign } of appended) {
        if (foreign) continue;
        statements.insert.run(position, urgent ? "urgent" : "normal", sealed.header.at);
      }
    },
    status,
    ...whole,
    lease,
    renew: (token) => {
      leases.renew(token);
    },
    assertLease: (token) => {
      leases.assertHeld(token);
    },
    ...settlement,
    finish: (...ended) => {
      attempts.finish(...ended);
    },
    release: (token) => {
      leases.release(token);
    },
    forceRelease: (worker, release) => {
      leases.force(worker, release);
    },
    leases: () => leases.rows(),
    nextDueAt(order = "lane") {
      const now = clock.now();
      const times = [turns.nextDueAt(now, order), leases.nextExpiry()].filter(
        (at) => at !== undefined,
      );
      return times.length === 0 ? undefined : Math.min(...times);
    },
    deadLetters,
    entries: createEntries({ driver, attempts, deadLetters }),
    pressure: createPressure(parts),
    purge(retentionMs = policy.retentionMs) {
      const purged = deadLetters.purge(retentionMs);
      const before = clock.now() - retentionMs;
      attempts.forgetBefore(before);
      leases.forgetBefore(before);
      return purged;
    },
  };
}

interface Value {
  readonly value: number;
}

function checkWish({ worker, entries, metadata }: LeaseWish): void {
  const fault = (path: string): never => {
    throw new HoldfastError("outbox_query_invalid", { path });
  };
  if (typeof worker !== "string" || !/^[\x21-\x7e]{1,128}$/.test(worker)) fault("/worker");
  const whole = Number.isSafeInteger(entries) && entries >= 1;
  if (!whole || entries > limits.outboxLeaseEntriesMax) fault("/entries");
  if (JSON.stringify(metadata ?? {}).length > limits.wordsCharactersMax) fault("/metadata");
}

function prepareStatements(driver: SqliteDriver) {
  return {
    insert: driver.prepare(
      "INSERT INTO outbox (position, lane, state, enqueued_at) VALUES (?, ?, 'waiting', ?)",
    ),
    count: driver.prepare("SELECT count(*) AS value FROM outbox WHERE state = ?"),
    dead: driver.prepare(
      "SELECT count(*) AS value FROM dead_letters WHERE archived_at IS NULL AND purged_at IS NULL",
    ),
    oldest: driver.prepare(
      "SELECT enqueued_at AS value FROM outbox WHERE state <> 'dead' ORDER BY position LIMIT 1",
    ),
    // One statement for a whole batch takes half of the time that one for each entry does.
    lease: driver.prepare(
      `UPDATE outbox SET state = 'leased', token = ?
       WHERE position IN (SELECT value FROM json_each(?))`,
    ),
  };
}
