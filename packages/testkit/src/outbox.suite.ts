/**
 * The conformance suite of the outbox: every driver runs it in a test of a few lines. What the outbox answers
 * is compared with a plain array (`outbox-model.ts`).
 */
import {
  createOutbox,
  type Crypto,
  inTransaction,
  limits,
  type MaybePromise,
  type Outbox,
  type OutboxLease,
  type SqliteDriver,
} from "@holdfast/core";
import fc from "fast-check";
import { createChance } from "./chance.ts";
import type { SuiteRunner } from "./key-provider.suite.ts";
import {
  codeOf,
  createOutboxBench,
  endpoint,
  events,
  fail,
  idAt,
  lease,
  mustLease,
  type OutboxBench,
  type OutboxTest,
  taken,
} from "./outbox-bench.ts";
import { outboxSteps, walkOutbox } from "./outbox-model.ts";
import { holding, settling, wholeness } from "./outbox-settling.ts";

/** An empty database, opened for one test. */
export interface OutboxMedium {
  readonly driver: SqliteDriver;
  /** Another connection to the same database, as another process has it. `undefined`: there is none. */
  readonly connect: (() => SqliteDriver) | undefined;
  /** Closes all of them. */
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

/** Runs the suite. */
export function outboxSuite(runner: SuiteRunner, options: OutboxSuiteOptions): void {
  const test: OutboxTest = (name, body, outboxOptions) => {
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
    workers(runner, options);
    modelled(runner, options);
  });
}

function turns(test: OutboxTest): void {
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

  test("in the order of streams nothing passes an earlier entry of its stream", (bench, check) => {
    const byStream = (worker: string, entries = 100): string =>
      taken(bench.within((outbox) => outbox.lease({ worker, entries, order: "stream" })));
    const due = (): number | undefined => bench.outbox.nextDueAt("stream");
    bench.append(events("abaAb"));
    check(byStream("one", 3) === "1 3 4", "an urgent entry takes the earlier ones along");
    check(byStream("two") === "2 5", "the other stream goes beside it");
    bench.append(events("A"));
    check(byStream("three") === "", "an urgent entry waits for normal ones under lease, too");
    check(byStream("one", 2) === "1 3", "a wish that is too small keeps the order");
    bench.within((outbox) => {
      outbox.reject(1, { code: "backend_refused", message: "no", severity: "high" });
      outbox.delivered([2, 5]);
    });
    check(byStream("one") === "", "a dead letter holds its stream up");
    check(due() === undefined, "nothing is due behind a dead letter");
    bench.within((outbox) => outbox.deadLetters.archive(idAt(bench, 1)));
    check(due() === bench.clock.now(), "archived, it lets the stream go on");
    check(byStream("one") === "3 4 6", "in order");
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

function fencing(test: OutboxTest): void {
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

function workers(runner: SuiteRunner, options: OutboxSuiteOptions): void {
  const name = "three workers deliver 500 entries once each, in order of each stream";
  runner.it(name, async () => {
    const medium = await options.make();
    try {
      const bench = createOutboxBench(options.crypto, medium.driver);
      deliverAll(bench, medium.connect ?? (() => medium.driver), runner.check);
    } finally {
      await medium.close();
    }
  });
}

interface Worker {
  readonly name: string;
  readonly within: <T>(work: (outbox: Outbox) => T) => T;
  held: OutboxLease | undefined;
}

/** Each worker on a connection of its own; some sleep past their lease and come back too late. */
function deliverAll(
  bench: OutboxBench,
  connect: () => SqliteDriver,
  check: SuiteRunner["check"],
): void {
  const { clock, observer } = bench;
  const chance = createChance(3);
  bench.append(
    Array.from({ length: 500 }, () => {
      return { stream: `s${chance.integer(40)}`, urgent: chance.oneIn(10) };
    }),
  );
  const places = placesOf(bench);
  const team = ["one", "two", "three"].map((name): Worker => {
    const driver = connect();
    const outbox = createOutbox({ driver, clock, observer });
    return { name, within: (work) => inTransaction(driver, () => work(outbox)), held: undefined };
  });
  const done: number[] = [];
  for (let turn = 0; bench.outbox.status().waiting > 0; turn++) {
    check(turn < 20_000, "it comes to an end");
    clock.advance(chance.integer(2_000));
    const worker = chance.pick(team);
    const mine = worker.held;
    if (mine === undefined) {
      const wish = { worker: worker.name, entries: 1 + chance.integer(20) };
      worker.held = worker.within((outbox) => outbox.lease(wish));
      continue;
    }
    worker.held = undefined;
    if (chance.oneIn(5)) clock.advance(limits.outboxLeaseExpiryMs);
    // Before it wakes, another one may have its turn.
    if (chance.oneIn(3)) {
      const other = team.find(({ held, name }) => held === undefined && name !== worker.name);
      const wish = { worker: other?.name ?? "", entries: 20 };
      if (other !== undefined) other.held = other.within((outbox) => outbox.lease(wish));
    }
    const positions = mine.entries.map(({ position }) => position);
    const fine = chance.oneIn(4) ? positions.slice(0, 1) : positions;
    const settled = codeOf(() => {
      worker.within((outbox) => {
        outbox.assertLease(mine.token);
        if (outbox.delivered(fine) !== fine.length) throw new Error("delivered twice");
        outbox.release(mine.token);
      });
      done.push(...fine);
    });
    check(settled === "nothing" || settled === "outbox_lease_lost", settled);
  }
  check(new Set(done).size === 500 && done.length === 500, "each once");
  check(observer.total("outbox_takeovers") > 0, "some leases were taken over");
  const overtaken = done.find((position, at) =>
    done.slice(at + 1).some((later) => mustPrecede(places.get(later), places.get(position))),
  );
  check(overtaken === undefined, `${overtaken} was delivered before one that it waits for`);
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
