/** An outbox over an empty database, and the acts that tests of it share. */
import {
  createOutbox,
  createSchema,
  createSqliteEventLog,
  type Crypto,
  type ErrorCode,
  inTransaction,
  isHoldfastError,
  type Outbox,
  type OutboxLease,
  type OutboxOptions,
  type SqliteDriver,
} from "@holdfast/core";
import { createChance } from "./chance.ts";
import type { SuiteRunner } from "./key-provider.suite.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import { createRecordingObserver, type RecordingObserver } from "./recording-observer.ts";
import { createSealedDeviceLog } from "./sealed-batches.ts";

/** One event to append: its stream by a letter, and whether it is urgent. */
export interface QueuedEvent {
  readonly stream: string;
  readonly urgent?: boolean;
}

/** An outbox in a store of its own, fed with sealed events. */
export interface OutboxBench {
  readonly driver: SqliteDriver;
  readonly clock: ManualClock;
  readonly observer: RecordingObserver;
  readonly outbox: Outbox;
  /** Appends events; each letter is a stream. */
  append(events: readonly QueuedEvent[]): void;
  /** Keeps a receipt as sync does: size of the device log, half-open ranges of indices. */
  receipt(size: number, owed: unknown): void;
  /** Runs work in a transaction, as every caller of the outbox does. */
  within<T>(work: (outbox: Outbox) => T): T;
}

/** An outbox over an empty database. */
export function createOutboxBench(
  crypto: Crypto,
  driver: SqliteDriver,
  options: OutboxOptions = {},
): OutboxBench {
  const clock = createManualClock();
  const observer = createRecordingObserver();
  const chance = createChance(7);
  inTransaction(driver, () => {
    createSchema(driver);
  });
  const outbox = createOutbox({ driver, clock, observer, options });
  const log = createSqliteEventLog({ crypto, driver });
  const device = createSealedDeviceLog({ crypto, chance });
  return {
    driver,
    clock,
    observer,
    outbox,
    append(events) {
      const scope = "s".repeat(22);
      const wishes = events.map(({ stream }) => {
        return { stream: stream.padEnd(22, "-"), scope, at: clock.now(), sections: [] };
      });
      const batch = device.batch(wishes);
      const urgent = new Set(
        batch.events.filter((_, at) => events[at]?.urgent === true).map(({ leaf }) => leaf),
      );
      inTransaction(driver, () => log.appendWithin({ ...batch, urgent }, [outbox]));
    },
    receipt(size, owed) {
      driver
        .prepare(
          `INSERT INTO pushed (incarnation, size, owed) VALUES (1, ?, ?)
           ON CONFLICT (incarnation) DO UPDATE SET size = excluded.size, owed = excluded.owed`,
        )
        .run(size, JSON.stringify(owed));
    },
    within: (work) => inTransaction(driver, () => work(outbox)),
  };
}

/** Fails with the text unless the fact holds. */
export type Check = SuiteRunner["check"];
/** Registers one test of the suite. */
export type OutboxTest = (
  name: string,
  body: (bench: OutboxBench, check: Check) => void,
  options?: OutboxOptions,
) => void;

export const endpoint = "https://server.example";

/** Positions of the entries, as text: equal texts are equal leases. */
export function taken(lease: OutboxLease | undefined): string {
  return lease === undefined ? "" : lease.entries.map(({ position }) => position).join(" ");
}

export function lease(bench: OutboxBench, worker: string, entries = 100): OutboxLease | undefined {
  return bench.within((outbox) => outbox.lease({ worker, entries }));
}

export function mustLease(bench: OutboxBench, worker: string, entries = 100): OutboxLease {
  const made = lease(bench, worker, entries);
  if (made === undefined) throw new Error(`${worker} got nothing`);
  return made;
}

/** Fails an exchange with all entries of a lease and gives the lease back. */
export function fail(bench: OutboxBench, held: OutboxLease, code: string, nextAt: number): void {
  const attempt = bench.within((outbox) => outbox.begin(held.token, endpoint));
  bench.within((outbox) => {
    outbox.failed(held.token, attempt, { code, nextAt });
    outbox.release(held.token);
  });
}

export function codeOf(run: () => unknown): ErrorCode | "nothing" | "other" {
  try {
    run();
    return "nothing";
  } catch (error) {
    return isHoldfastError(error) ? error.code : "other";
  }
}

/** A letter a stream; capital letters are urgent. */
export const events = (streams: string): readonly QueuedEvent[] =>
  streams.split("").map((letter) => ({
    stream: letter.toLowerCase(),
    urgent: letter !== letter.toLowerCase(),
  }));

/** Id of the event at a position. */
export function idAt(bench: OutboxBench, position: number): string {
  const select = bench.driver.prepare("SELECT id AS value FROM events WHERE position = ?");
  return select.get<{ value: string }>(position)?.value ?? "";
}
