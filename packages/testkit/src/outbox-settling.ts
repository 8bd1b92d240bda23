/** The part of the outbox's conformance suite about what becomes of entries: delivered, failed, held, made whole. */
import { limits } from "@holdfast/core";
import {
  codeOf,
  endpoint,
  events,
  fail,
  idAt,
  lease,
  mustLease,
  type OutboxTest,
  taken,
} from "./outbox-bench.ts";

/** Settling an exchange. */
export function settling(test: OutboxTest): void {
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

/** Dead letters. */
export function holding(test: OutboxTest): void {
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
    // In one transaction, because 1,001 of them would measure the disk.
    bench.within((outbox) => {
      for (let times = 1; times <= 1_001; times++) {
        const { token } = outbox.lease({ worker: "w", entries: 1 }) ?? { token: 0 };
        const attempt = outbox.begin(token, endpoint);
        const nextAt = bench.clock.now();
        outbox.failed(token, attempt, { code: "network_unreachable", nextAt });
        outbox.release(token);
      }
    });
    check(bench.outbox.status().dead === 0, "it waits");
    check(bench.outbox.entries.list()[0]?.attempts === 1_001, "every attempt is counted");
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

  test("a dead letter that was delivered after all is gone, purged ones too", (bench, check) => {
    const { clock, outbox, within } = bench;
    bench.append(events("ab"));
    within(() => outbox.reject(1, refusal));
    within(() => outbox.deadLetters.archive(idAt(bench, 1)));
    clock.advance(1);
    within(() => outbox.purge(0));
    within(() => outbox.reject(2, refusal));
    check(within(() => outbox.delivered([1, 2])) === 1, "one entry was still there");
    check(outbox.status().dead === 0, "no letter is left");
    const left = bench.driver.prepare("SELECT count(*) AS value FROM dead_letters");
    check(left.get<{ value: number }>()?.value === 0, "nor a trace of a purged one");
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

function redriving(test: OutboxTest): void {
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

/** What check and rebuild know. */
export function wholeness(test: OutboxTest): void {
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
