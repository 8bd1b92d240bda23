/**
 * The conformance suite of the outbox: every driver runs it in a test of a few lines. What the outbox answers
 * is compared with a plain array (`outbox-model.ts`).
 */
import {
  createOutbox,
  createSchema,
  createSqliteEventLog,
  type Crypto,
  type ErrorCode,
  inTransaction,
  isHoldfastError,
  limits,
  type MaybePromise,
  type Outbox,
  type OutboxLease,
  type OutboxOptions,
  type SqliteDriver,
} from "@holdfast/core";
import fc from "fast-check";
import { createChance } from "./chance.ts";
import type { SuiteRunner } from "./key-provider.suite.ts";
import { createManualClock, type ManualClock } from "./manual-clock.ts";
import { outboxSteps, walkOutbox } from "./outbox-model.ts";
import { createRecordingObserver, type RecordingObserver } from "./recording-observer.ts";
import { createSealedDeviceLog } from "./sealed-batches.ts";

/** An empty database, opened for one test. */
export interface OutboxMedium {
  readonly driver: SqliteDriver;
  close(): MaybePromise<void>;
}

/** What the conformance suite of outboxes runs on. */
export interface OutboxSuiteOptions {
  readonly name: string;
  readonly make: () => MaybePromise<OutboxMedium>;
  readonly crypto: Crypto;
  /** Runs of the property test. */
  readonly runs?: number;
}

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
  createSchema(driver);
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

type Check = SuiteRunner["check"];
type SuiteTest = (
  name: string,
  body: (bench: OutboxBench, check: Check) => void,
  options?: OutboxOptions,
) => void;

/** Runs the suite. */
export function outboxSuite(runner: SuiteRunner, options: OutboxSuiteOptions): void {
  const test: SuiteTest = (name, body, outboxOptions) => {
    runner.it(name, async () => {
      const medium = await options.make();
      try {
        body(createOutboxBench(options.crypto, medium.driver, outboxOptions), runner.check);
      } finally {
        await medium.close();
      }
    });
  };
  runner.describe(`outbox: ${options.name}`, () => {
    turns(test);
    fencing(test);
    settling(test);
    holding(test);
    wholeness(test);
    workers(test);
    modelled(runner, options);
  });
}

const endpoint = "https://server.example";

/** Positions of the entries, as text: equal texts are equal leases. */
function taken(lease: OutboxLease | undefined): string {
  return lease === undefined ? "" : lease.entries.map(({ position }) => position).join(" ");
}

function lease(bench: OutboxBench, worker: string, entries = 100): OutboxLease | undefined {
  return bench.within((outbox) => outbox.lease({ worker, entries }));
}

function mustLease(bench: OutboxBench, worker: string, entries = 100): OutboxLease {
  const made = lease(bench, worker, entries);
  if (made === undefined) throw new Error(`${worker} got nothing`);
  return made;
}

/** Fails an exchange with all entries of a lease and gives the lease back. */
function fail(bench: OutboxBench, held: OutboxLease, code: string, nextAt: number): void {
  const attempt = bench.within((outbox) => outbox.begin(held.token, endpoint));
  bench.within((outbox) => {
    outbox.failed(held.token, attempt, { code, nextAt });
    outbox.release(held.token);
  });
}

function codeOf(run: () => unknown): ErrorCode | "nothing" | "other" {
  try {
    run();
    return "nothing";
  } catch (error) {
    return isHoldfastError(error) ? error.code : "other";
  }
}

const events = (streams: string): readonly QueuedEvent[] =>
  // Capital letters are urgent.
  [...streams].map((letter) => ({
    stream: letter.toLowerCase(),
    urgent: letter !== letter.toLowerCase(),
  }));

function turns(test: SuiteTest): void {
  test("gives entries in order of position, urgent ones first", (bench, check) => {
    bench.append(events("abCaBd"));
    check(taken(lease(bench, "w", 3)) === "3 5 1", "urgent first, then by position, to the wish");
    check(taken(lease(bench, "w", 9)) === "3 5 1 2 4 6", "leasing again gives the former back");
  });

  test("gives nothing of an empty outbox", (bench, check) => {
    check(lease(bench, "w") === undefined, "there is nothing to lease");
    check(bench.outbox.nextDueAt() === undefined, "nothing is ever due");
    check(bench.outbox.leases().length === 0, "no lease was entered");
  });

  test("keeps a stream in order across workers, and lets other streams pass", (bench, check) => {
    bench.append(events("aabab"));
    check(taken(lease(bench, "one", 1)) === "1", "the first entry");
    check(taken(lease(bench, "two")) === "3 5", "stream a waits for its first entry");
    check(lease(bench, "three") === undefined, "everything else waits behind a lease");
  });

  test("an urgent entry waits for urgent ones of its stream only", (bench, check) => {
    bench.append(events("aA"));
    check(taken(lease(bench, "one", 1)) === "2", "urgent passes the earlier normal entry");
    bench.append(events("Aa"));
    check(taken(lease(bench, "two")) === "1", "the second urgent entry waits for the first");
    check(lease(bench, "three") === undefined, "a normal entry waits for every earlier one");
  });

  test("an entry that is not due holds its stream up until it is", (bench, check) => {
    const { clock, outbox } = bench;
    bench.append(events("ab"));
    const first = mustLease(bench, "w", 1);
    const due = clock.now() + 5_000;
    fail(bench, first, "network_unreachable", due);
    bench.append(events("a"));
    check(taken(lease(bench, "w")) === "2", "only the other stream goes");
    bench.within(() => outbox.delivered([2]));
    check(lease(bench, "w") === undefined, "nothing is due");
    check(outbox.nextDueAt() === due, "the time of the next try is known");
    clock.advance(5_000);
    check(outbox.nextDueAt() === clock.now(), "now it is due");
    const again = mustLease(bench, "w");
    check(taken(again) === "1 3", "the stream goes on in order");
    check(again.entries[0]?.attempts === 1, "the failed attempt was counted");
  });

  test("a clock that went back by years makes nobody wait for years", (bench, check) => {
    bench.append(events("ab"));
    const held = mustLease(bench, "one", 1);
    const other = mustLease(bench, "two", 1);
    fail(bench, other, "network_unreachable", bench.clock.now() + 60_000);
    bench.clock.setWall(Date.UTC(2001, 0, 1));
    check(bench.outbox.nextDueAt() === bench.clock.now(), "something may go at once");
    const after = mustLease(bench, "three");
    check(taken(after) === "1 2", "neither lease nor backoff counts from the future");
    check(after.tookOver[0]?.token === held.token, "the lease was taken over");
  });

  test("refuses a wish of the wrong form", ({ within }, check) => {
    for (const wish of [
      { worker: "", entries: 1 },
      { worker: "a b", entries: 1 },
      { worker: "w", entries: 0 },
      { worker: "w", entries: 1.5 },
      { worker: "w", entries: limits.outboxLeaseEntriesMax + 1 },
      { worker: "w", entries: 1, metadata: { note: "x".repeat(5_000) } },
    ]) {
      const code = codeOf(() => within((outbox) => outbox.lease(wish)));
      check(code === "outbox_query_invalid", `refused ${JSON.stringify(wish).slice(0, 60)}`);
    }
  });
}

function fencing(test: SuiteTest): void {
  test("an expired lease is taken over, and its worker is refused from then on", (bench, check) => {
    const { clock, observer, outbox, within } = bench;
    bench.append(events("ab"));
    const late = mustLease(bench, "late");
    const attempt = within(() => outbox.begin(late.token, endpoint));
    clock.advance(limits.outboxLeaseExpiryMs - 1);
    check(lease(bench, "next") === undefined, "a live lease is left alone");
    clock.advance(1);
    check(outbox.nextDueAt() === clock.now(), "an expired lease is something to do");
    const next = mustLease(bench, "next");
    check(next.token > late.token, "tokens rise");
    check(taken(next) === "1 2", "everything was taken over");
    const [over] = next.tookOver;
    check(over?.worker === "late" && over.token === late.token && over.entries === 2, "it is told");
    check(observer.logged("outbox_lease_taken_over") === 1, "it is logged");
    check(observer.total("outbox_takeovers", { reason: "expired" }) === 1, "it is counted");
    const refused: readonly (() => unknown)[] = [
      () => outbox.renew(late.token),
      () => outbox.assertLease(late.token),
      () => outbox.begin(late.token, endpoint),
      () => outbox.failed(late.token, attempt, { code: "x", nextAt: 0 }),
    ];
    for (const act of refused) {
      check(codeOf(() => within(act)) === "outbox_lease_lost", "the late worker is refused");
    }
    within(() => outbox.release(late.token));
    check(outbox.status().leased === 2, "a late release frees nothing");
    const [tried] = outbox.entries.show(idAt(bench, 1))?.tried ?? [];
    check(tried?.result === "lost", "the attempt under way counts as lost");
  });

  test("a renewed lease lives on; an expired one may be renewed until it is taken", (bench, check) => {
    const { clock, outbox, within } = bench;
    bench.append(events("a"));
    const held = mustLease(bench, "w");
    for (let times = 0; times < 3; times++) {
      clock.advance(limits.outboxLeaseExpiryMs - 1);
      within(() => outbox.renew(held.token));
    }
    check(lease(bench, "other") === undefined, "it was renewed in time");
    clock.advance(limits.outboxLeaseExpiryMs * 2);
    within(() => outbox.renew(held.token));
    check(lease(bench, "other") === undefined, "nobody had taken it");
  });

  test("a lease is released by force only with a reason, and shows who did it", (bench, check) => {
    const { observer, outbox, within } = bench;
    bench.append(events("a"));
    const held = bench.within(() =>
      outbox.lease({ worker: "stuck", entries: 9, metadata: { pid: 7 } }),
    );
    const force = (worker: string, actor: string, reason: string) => (): unknown =>
      within(() => outbox.forceRelease(worker, { actor, reason }));
    check(codeOf(force("stuck", "op", " ")) === "outbox_reason_missing", "no reason");
    check(codeOf(force("stuck", "", "stuck")) === "outbox_reason_missing", "nobody");
    check(codeOf(force("other", "op", "stuck")) === "outbox_lease_lost", "no such lease");
    check(outbox.status().leased === 1, "nothing changed so far");
    force("stuck", "op", "stuck for an hour")();
    const [row] = outbox.leases();
    check(row?.holder === undefined && row?.released?.actor === "op", "who");
    check(row?.released?.reason === "stuck for an hour" && row?.metadata["pid"] === 7, "why");
    check(observer.logged("outbox_lease_forced") === 1, "it is logged");
    const renew = codeOf(() => within(() => outbox.renew(held?.token ?? 0)));
    check(renew === "outbox_lease_lost", "its worker is refused");
    check(taken(lease(bench, "other")) === "1", "the entry may go");
  });

  test("shows leases with holder, times, facts and entries", (bench, check) => {
    const { clock, outbox, within } = bench;
    bench.append(events("ab"));
    const start = clock.now();
    const held = mustLease(bench, "w");
    clock.advance(1_000);
    within(() => outbox.renew(held.token));
    const [row] = outbox.leases();
    check(row?.name === "outbox/w" && row?.holder === "w", "name and holder");
    check(row?.acquiredAt === start && row?.heartbeatAt === start + 1_000, "times");
    check(row?.expiresAt === start + 1_000 + limits.outboxLeaseExpiryMs, "expiry");
    check(row?.entries === 2 && !row?.expired && row?.token === held.token, "entries and token");
    within(() => outbox.release(held.token));
    check(outbox.leases()[0]?.holder === undefined, "released");
    check(mustLease(bench, "v").token > held.token, "tokens rise after a release");
    check(outbox.leases().length === 1, "rows of released leases are not kept for ever");
  });
}

function idAt(bench: OutboxBench, position: number): string {
  const select = bench.driver.prepare("SELECT id AS value FROM events WHERE position = ?");
  return select.get<{ value: string }>(position)?.value ?? "";
}

function settling(test: SuiteTest): void {
  test("what is delivered is gone, whoever has it", (bench, check) => {
    const { observer, outbox, within } = bench;
    bench.append(events("abc"));
    mustLease(bench, "w", 1);
    check(within(() => outbox.delivered([1, 2, 99])) === 2, "two of three were there");
    const { waiting, leased } = outbox.status();
    check(waiting === 1 && leased === 0, "one is left");
    check(observer.total("outbox_delivered") === 2, "counted");
  });

  test("a failed attempt concerns the entries it was begun with", (bench, check) => {
    const { clock, outbox, within } = bench;
    bench.append(events("abc"));
    const held = mustLease(bench, "w");
    const attempt = within(() => outbox.begin(held.token, endpoint, [1, 3]));
    const nextAt = clock.now() + 1_000;
    within(() =>
      outbox.failed(held.token, attempt, { code: "server_failed", status: 503, nextAt }),
    );
    const entries = outbox.entries.list();
    check(entries.map(({ attempts }) => attempts).join() === "1,0,1", "attempts");
    check(entries.map((one) => one.nextAt === nextAt).join() === "true,false,true", "next try");
    const tried = [1, 2].map((at) => outbox.entries.show(idAt(bench, at))?.tried ?? []);
    check(tried[0]?.[0]?.code === "server_failed" && tried[0][0].status === 503, "the attempt");
    check(tried[1]?.length === 0, "the entry between took no part");
    const foreign = codeOf(() => within(() => outbox.begin(held.token, endpoint, [2])));
    check(foreign === "outbox_lease_lost", "entries that went back are no longer the lease's");
  });

  test("no failure makes an entry wait longer than the longest wait", (bench, check) => {
    const { clock, outbox } = bench;
    for (const nextAt of [Number.MAX_SAFE_INTEGER, Number.NaN, -5]) {
      bench.append(events("a"));
      fail(bench, mustLease(bench, "w"), "network_unreachable", nextAt);
      const due = outbox.nextDueAt() ?? Number.POSITIVE_INFINITY;
      check(due >= clock.now(), "never in the past");
      check(due <= clock.now() + limits.retryAfterMsMax + limits.backoffMostMs, "bounded");
      clock.advance(limits.retryAfterMsMax + limits.backoffMostMs);
    }
  });

  test("where a token or a person is needed, entries stay as they were", (bench, check) => {
    bench.append(events("ab"));
    for (const code of ["token_refused", "push_root_wrong"]) {
      fail(bench, mustLease(bench, "w"), code, bench.clock.now() + 60_000);
      const untouched = bench.outbox.entries
        .list()
        .every(({ attempts, nextAt, state }) => attempts === 0 && !nextAt && state === "waiting");
      check(untouched, code);
    }
  });

  test("an attempt ends once", (bench, check) => {
    const { observer, outbox, within } = bench;
    bench.append(events("a"));
    const held = mustLease(bench, "w");
    const attempt = within(() => outbox.begin(held.token, endpoint));
    bench.clock.advance(40);
    within(() => outbox.finish(attempt, "delivered"));
    within(() => outbox.finish(attempt, "failed", "late"));
    const [tried] = outbox.entries.show(idAt(bench, 1))?.tried ?? [];
    check(tried?.result === "delivered" && tried.code === undefined, "the first end counts");
    const lasted = observer.seen.find(
      (one) => one.kind === "observe" && one.metric === "outbox_attempt_latency",
    );
    check(lasted?.kind === "observe" && lasted.value === 40, "its duration was observed");
    check(observer.total("outbox_attempts") === 1, "counted once");
  });
}

const refusal = {
  code: "event_leaf_wrong",
  message: "not the leaf",
  severity: "high",
} as const;

function holding(test: SuiteTest): void {
  test(
    "gives up at the maximum of the class, and not before",
    (bench, check) => {
      const { clock, observer, outbox } = bench;
      bench.append(events("aAb"));
      for (let times = 1; times <= 3; times++) {
        check(outbox.status().dead === 0, "not yet");
        fail(bench, mustLease(bench, "w", 2), "something_new", clock.now());
      }
      const letters = outbox.deadLetters.list({});
      check(letters.map(({ position }) => position).join() === "1,2", "both are dead letters");
      check(letters.map(({ severity }) => severity).join() === "high,critical", "severity");
      check(
        letters.every(({ attempts, code }) => attempts === 3 && code === "something_new"),
        "kept",
      );
      const { waiting, dead } = outbox.status();
      check(waiting === 1 && dead === 2, "dead entries do not wait");
      check(outbox.check(9).length === 0, "the outbox is whole");
      check(observer.total("outbox_failed", { class: "unknown" }) === 2, "counted");
      check(outbox.entries.show(idAt(bench, 1))?.tried.length === 3, "all attempts are kept");
    },
    { attemptsMax: { unknown: 3 } },
  );

  test("a device that is offline for long gives nothing up", (bench, check) => {
    bench.append(events("a"));
    for (let times = 1; times <= 1_500; times++) {
      fail(bench, mustLease(bench, "w"), "network_unreachable", bench.clock.now());
    }
    check(bench.outbox.status().dead === 0, "it waits");
    check(bench.outbox.entries.list()[0]?.attempts === 1_500, "every attempt is counted");
  });

  test("a rejected entry is held at once and lets its stream go on", (bench, check) => {
    const { outbox, within } = bench;
    bench.append(events("aa"));
    const held = mustLease(bench, "w", 1);
    within(() => outbox.reject(1, { ...refusal, status: 422 }));
    within(() => outbox.reject(1, refusal));
    within(() => outbox.reject(77, refusal));
    const [letter] = outbox.deadLetters.list({});
    check(letter?.status === 422 && letter.attempts === 1, "the first reason stays");
    check(taken(lease(bench, "other")) === "2", "the stream goes on");
    within(() => outbox.release(held.token));
    check(outbox.status().dead === 1, "releasing the lease brings nothing back");
  });

  test("lists by code, severity, lane, time and page", (bench, check) => {
    const { clock, outbox, within } = bench;
    bench.append(events("aBc"));
    within(() => outbox.reject(1, refusal));
    clock.advance(1_000);
    within(() => outbox.reject(2, { ...refusal, code: "other", severity: "low" }));
    within(() => outbox.reject(3, refusal));
    const listed = (filter: Parameters<typeof outbox.deadLetters.list>[0]): string =>
      outbox.deadLetters
        .list(filter)
        .map(({ position }) => position)
        .join("");
    const { now } = clock;
    check(listed({ code: "other" }) === "2" && listed({ severity: "high" }) === "13", "words");
    check(listed({ lane: "urgent" }) === "2" && listed({ type: "NoteTaken" }) === "123", "kind");
    check(listed({ since: now() }) === "23" && listed({ until: now() }) === "1", "time");
    check(listed({ after: 1, limit: 1 }) === "2", "page");
    check(codeOf(() => listed({ limit: 0 })) === "outbox_query_invalid", "limit");
    check(codeOf(() => listed({ since: 0.5 })) === "outbox_query_invalid", "since");
  });

  redriving(test);
}

function redriving(test: SuiteTest): void {
  test("redrives one or all under the same event id, keeping what was tried", (bench, check) => {
    const { outbox, within } = bench;
    bench.append(events("abc"));
    const held = mustLease(bench, "w");
    within(() => outbox.begin(held.token, endpoint));
    for (const at of [1, 2, 3]) within(() => outbox.reject(at, refusal));
    const id = idAt(bench, 2);
    within(() => outbox.deadLetters.redrive(id));
    const shown = outbox.entries.show(id);
    check(
      shown?.id === id && shown?.state === "waiting" && shown?.attempts === 0,
      "it waits again",
    );
    check(shown?.tried.length === 1 && shown?.letter === undefined, "its history stays");
    const again = codeOf(() => within(() => outbox.deadLetters.redrive(id)));
    check(again === "outbox_entry_missing", "it is no dead letter any more");
    check(within(() => outbox.deadLetters.redriveAll({ code: "no such" })) === 0, "none match");
    check(within(() => outbox.deadLetters.redriveAll({})) === 2, "the other two");
    check(taken(lease(bench, "v")) === "1 2 3", "all are due at once");
    check(bench.observer.total("outbox_redriven") === 3, "counted");
  });

  test("archives by age or one, and purges entries, never events", (bench, check) => {
    const { clock, outbox, within } = bench;
    bench.append(events("abc"));
    within(() => outbox.reject(1, refusal));
    clock.advance(5_000);
    within(() => outbox.reject(2, refusal));
    check(within(() => outbox.deadLetters.archiveOlderThan(5_000)) === 1, "the old one");
    const archived = outbox.deadLetters.list({ archived: true });
    check(archived[0]?.position === 1 && archived[0].archivedAt === clock.now(), "archived");
    check(outbox.deadLetters.list({}).length === 1 && outbox.status().dead === 1, "one is open");
    within(() => outbox.deadLetters.archive(idAt(bench, 2)));
    check(within(() => outbox.purge()) === 0, "both are within their retention");
    clock.advance(limits.deadLetterRetentionMs - 1);
    check(within(() => outbox.purge()) === 0, "still");
    clock.advance(1);
    check(within(() => outbox.purge()) === 2, "past their retention");
    check(outbox.deadLetters.list({ archived: "any" }).length === 0, "they are gone");
    check(idAt(bench, 1) !== "" && idAt(bench, 2) !== "", "their events are not");
    check(outbox.check(9).length === 0, "nothing is missing");
    check(within(() => outbox.rebuild()) === 1, "a rebuild does not bring them back");
    const code = codeOf(() => within(() => outbox.purge(-1)));
    check(code === "outbox_query_invalid", "no negative age");
  });

  test("an archived letter may be redriven until it is purged", (bench, check) => {
    const { outbox, within } = bench;
    bench.append(events("a"));
    within(() => outbox.reject(1, refusal));
    const id = idAt(bench, 1);
    within(() => outbox.deadLetters.archive(id));
    within(() => outbox.deadLetters.redrive(id));
    check(taken(lease(bench, "w")) === "1", "it waits again");
  });
}

function wholeness(test: SuiteTest): void {
  test("knows what a receipt covers", (bench, check) => {
    const { outbox, within } = bench;
    bench.append(events("abcdef"));
    bench.receipt(5, [
      [1, 2],
      [3, 5],
    ]);
    const wrong = outbox.check(9).map(({ position, kind }) => `${kind} ${position}`);
    check(
      wrong.join() === "unexpected 1,unexpected 3",
      `delivered are 1 and 3, not ${wrong.join()}`,
    );
    check(within(() => outbox.delivered([1, 3])) === 2, "they go");
    check(outbox.check(9).length === 0, "whole");
    bench.driver.exec("DELETE FROM outbox");
    check(outbox.check(9).length === 4, "2, 4, 5 and 6 are missing");
    check(within(() => outbox.rebuild()) === 4, "and come back");
    check(taken(lease(bench, "w")) === "2 4 5 6", "the same ones");
  });

  test("sends again rather than lose where the owed list is none", (bench, check) => {
    bench.append(events("ab"));
    bench.receipt(2, { count: 300, hash: "x" });
    check(bench.outbox.check(9).length === 0, "nothing counts as delivered");
  });

  test("a rebuild keeps dead letters, and frees entries of leases that are gone", (bench, check) => {
    const { driver, outbox, within } = bench;
    bench.append(events("abc"));
    within(() => outbox.reject(1, refusal));
    mustLease(bench, "w", 1);
    driver.exec("DELETE FROM outbox WHERE position = 1; DELETE FROM leases");
    check(within(() => outbox.rebuild()) === 3, "all three");
    const states = outbox.entries.list().map(({ state }) => state);
    check(states.join() === "dead,waiting,waiting", states.join());
    check(outbox.deadLetters.list({}).length === 1, "the letter is still there");
  });
}

function workers(test: SuiteTest): void {
  test("three workers deliver 500 entries once each, in order of each stream", (bench, check) => {
    const { clock, outbox, within } = bench;
    const chance = createChance(3);
    bench.append(
      Array.from({ length: 500 }, () => {
        return { stream: `s${chance.integer(40)}`, urgent: chance.oneIn(10) };
      }),
    );
    const places = placesOf(bench);
    const done: number[] = [];
    const held = new Map<string, OutboxLease>();
    for (let turn = 0; outbox.status().waiting > 0; turn++) {
      check(turn < 20_000, "it comes to an end");
      clock.advance(chance.integer(2_000));
      const worker = chance.pick(["one", "two", "three"]);
      const mine = held.get(worker);
      if (mine === undefined) {
        const made = lease(bench, worker, 1 + chance.integer(20));
        if (made !== undefined) held.set(worker, made);
        continue;
      }
      held.delete(worker);
      // One in five sleeps past its lease and comes back too late, or only almost.
      if (chance.oneIn(5)) clock.advance(limits.outboxLeaseExpiryMs);
      const positions = mine.entries.map(({ position }) => position);
      const settled = codeOf(() =>
        within(() => {
          outbox.assertLease(mine.token);
          const fine = chance.oneIn(4) ? positions.slice(0, 1) : positions;
          if (outbox.delivered(fine) !== fine.length) throw new Error("delivered twice");
          done.push(...fine);
          outbox.release(mine.token);
        }),
      );
      check(settled === "nothing" || settled === "outbox_lease_lost", settled);
    }
    check(new Set(done).size === 500 && done.length === 500, "each once");
    check(bench.observer.total("outbox_takeovers") > 0, "some leases were taken over");
    const overtaken = done.find((position, at) =>
      done.slice(at + 1).some((later) => mustPrecede(places.get(later), places.get(position))),
    );
    check(overtaken === undefined, `${overtaken} was delivered before one that it waits for`);
  });
}

interface Place {
  readonly position: number;
  readonly stream: string;
  readonly lane: string;
}

function placesOf(bench: OutboxBench): ReadonlyMap<number, Place> {
  const rows = bench.outbox.entries.list({ limit: 1_000 });
  return new Map(rows.map((row) => [row.position, row]));
}

/** Does the second wait for the first? */
function mustPrecede(first: Place | undefined, second: Place | undefined): boolean {
  if (first === undefined || second === undefined || first.stream !== second.stream) return false;
  if (first.position > second.position) return false;
  return first.lane === "urgent" || second.lane === "normal";
}

function modelled(runner: SuiteRunner, options: OutboxSuiteOptions): void {
  runner.it("does what a plain array does, over generated histories", async () => {
    const property = fc.asyncProperty(outboxSteps(), async (steps) => {
      const medium = await options.make();
      try {
        const bench = createOutboxBench(options.crypto, medium.driver, {
          attemptsMax: { unknown: 3 },
          retentionMs: 100_000,
        });
        walkOutbox(bench, steps, runner.check);
      } finally {
        await medium.close();
      }
    });
    await fc.assert(property, { numRuns: options.runs ?? 60 });
  });
}
