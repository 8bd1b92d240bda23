/**
 * What the outbox must answer, kept as a plain array, and generated histories walked through both.
 */
import { limits, type OutboxLease } from "@holdfast/core";
import fc from "fast-check";
import type { OutboxBench, QueuedEvent } from "./outbox-bench.ts";

/** One step of a history; numbers choose among what is there. */
export type OutboxStep =
  | { readonly step: "append"; readonly events: readonly QueuedEvent[] }
  | { readonly step: "lease"; readonly worker: string; readonly entries: number }
  | { readonly step: "deliver" | "reject" | "fail" | "release" | "force"; readonly worker: string }
  | { readonly step: "advance"; readonly ms: number }
  | { readonly step: "redrive" | "archive" | "purge" | "rebuild" };

interface ModelEntry {
  readonly position: number;
  readonly stream: string;
  readonly urgent: boolean;
  state: "waiting" | "leased" | "dead";
  attempts: number;
  nextAt: number | undefined;
  token: number | undefined;
  archivedAt: number | undefined;
}

interface ModelLease {
  readonly token: number;
  readonly worker: string;
  readonly expiresAt: number;
}

interface Walk {
  readonly bench: OutboxBench;
  readonly check: (fact: boolean, text: string) => void;
  entries: ModelEntry[];
  leases: ModelLease[];
  appended: number;
  readonly delivered: Set<number>;
  lastToken: number;
}

const retentionMs = 100_000;
const attemptsMax = 3;

/** Histories of up to 40 steps by three workers. */
export function outboxSteps(): fc.Arbitrary<readonly OutboxStep[]> {
  const worker = fc.constantFrom("one", "two", "three");
  const event = fc.record({
    stream: fc.constantFrom("a", "b", "c"),
    urgent: fc.boolean(),
  });
  const byWorker = fc.constantFrom("deliver", "reject", "fail", "release", "force");
  const alone = fc.constantFrom("redrive", "archive", "purge", "rebuild");
  const step: fc.Arbitrary<OutboxStep> = fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        step: fc.constant("append" as const),
        events: fc.array(event, { minLength: 1, maxLength: 5 }),
      }),
    },
    {
      weight: 6,
      arbitrary: fc.record({
        step: fc.constant("lease" as const),
        worker,
        entries: fc.integer({ min: 1, max: 6 }),
      }),
    },
    { weight: 6, arbitrary: fc.record({ step: byWorker as fc.Arbitrary<"fail">, worker }) },
    {
      weight: 3,
      arbitrary: fc.record({
        step: fc.constant("advance" as const),
        ms: fc.constantFrom(1, 1_000, 59_999, limits.outboxLeaseExpiryMs),
      }),
    },
    { weight: 2, arbitrary: fc.record({ step: alone as fc.Arbitrary<"rebuild"> }) },
  );
  return fc.array(step, { minLength: 1, maxLength: 40 });
}

/** Takes every step in both and compares what they answer and hold. */
export function walkOutbox(
  bench: OutboxBench,
  steps: readonly OutboxStep[],
  check: Walk["check"],
): void {
  const walk: Walk = {
    bench,
    check,
    entries: [],
    leases: [],
    appended: 0,
    delivered: new Set(),
    lastToken: 0,
  };
  for (const step of steps) {
    take(walk, step);
    compare(walk);
  }
}

function take(walk: Walk, step: OutboxStep): void {
  const { bench } = walk;
  const now = bench.clock.now();
  switch (step.step) {
    case "append":
      bench.append(step.events);
      for (const { stream, urgent } of step.events) {
        walk.appended += 1;
        walk.entries.push(entryAt(walk.appended, stream, urgent === true));
      }
      break;
    case "lease":
      takeLease(walk, step.worker, step.entries, now);
      break;
    case "advance":
      bench.clock.advance(step.ms);
      break;
    case "redrive":
      bench.within((outbox) => outbox.deadLetters.redriveAll({}));
      for (const entry of dead(walk)) if (entry.archivedAt === undefined) revive(entry);
      break;
    case "archive":
      bench.within((outbox) => outbox.deadLetters.archiveOlderThan(0));
      for (const entry of dead(walk)) entry.archivedAt ??= now;
      break;
    case "purge":
      bench.within((outbox) => outbox.purge());
      walk.entries = walk.entries.filter(
        ({ archivedAt }) => archivedAt === undefined || archivedAt > now - retentionMs,
      );
      break;
    case "rebuild":
      bench.within((outbox) => outbox.rebuild());
      break;
    default:
      settle(walk, step.step, step.worker, now);
  }
}

const entryAt = (position: number, stream: string, urgent: boolean): ModelEntry => ({
  position,
  stream,
  urgent,
  state: "waiting",
  attempts: 0,
  nextAt: undefined,
  token: undefined,
  archivedAt: undefined,
});

const dead = (walk: Walk): readonly ModelEntry[] =>
  walk.entries.filter(({ state }) => state === "dead");

function revive(entry: ModelEntry): void {
  entry.state = "waiting";
  entry.attempts = 0;
  entry.nextAt = undefined;
}

function free(walk: Walk, token: number): void {
  walk.leases = walk.leases.filter((lease) => lease.token !== token);
  for (const entry of walk.entries) {
    if (entry.token !== token) continue;
    entry.token = undefined;
    entry.state = "waiting";
  }
}

function takeLease(walk: Walk, worker: string, wish: number, now: number): void {
  const { bench, check } = walk;
  const expired = walk.leases.filter((lease) => lease.worker !== worker && now >= lease.expiresAt);
  for (const { token } of expired) free(walk, token);
  for (const lease of walk.leases.filter((one) => one.worker === worker)) free(walk, lease.token);
  const chosen = turnsOf(walk, now).slice(0, wish);
  const made = bench.within((outbox) => outbox.lease({ worker, entries: wish }));
  const wanted = chosen.map(({ position }) => position).join(" ");
  const got = made?.entries.map(({ position }) => position).join(" ") ?? "";
  check(got === wanted, `${worker} gets "${got}", not "${wanted}"`);
  if (made === undefined) return;
  const over = made.tookOver.map(({ token }) => token).join(" ");
  check(over === expired.map(({ token }) => token).join(" "), `took over ${over}`);
  enter(walk, made, chosen, now);
}

function enter(walk: Walk, made: OutboxLease, chosen: readonly ModelEntry[], now: number): void {
  const { token, worker } = made;
  walk.check(token > walk.lastToken, "tokens rise");
  walk.lastToken = token;
  walk.leases.push({ token, worker, expiresAt: now + limits.outboxLeaseExpiryMs });
  for (const entry of chosen) {
    entry.state = "leased";
    entry.token = token;
    entry.nextAt = undefined;
  }
}

/** Everything that may go, in order: by the definition, without any index. */
function turnsOf(walk: Walk, now: number): readonly ModelEntry[] {
  const isDue = ({ nextAt }: ModelEntry): boolean => nextAt === undefined || nextAt <= now;
  const mayGo = (entry: ModelEntry): boolean =>
    entry.state === "waiting" &&
    isDue(entry) &&
    !walk.entries.some(
      (other) =>
        other.stream === entry.stream &&
        other.position < entry.position &&
        (other.urgent || !entry.urgent) &&
        (other.state === "leased" || (other.state === "waiting" && !isDue(other))),
    );
  const fit = walk.entries.filter(mayGo);
  return [...fit.filter(({ urgent }) => urgent), ...fit.filter(({ urgent }) => !urgent)];
}

function settle(
  walk: Walk,
  how: "deliver" | "reject" | "fail" | "release" | "force",
  worker: string,
  now: number,
): void {
  const { bench } = walk;
  const lease = walk.leases.find((one) => one.worker === worker);
  if (lease === undefined) return;
  const { token } = lease;
  const mine = walk.entries.filter((entry) => entry.token === token);
  const gone = new Set(mine);
  switch (how) {
    case "deliver":
      bench.within((outbox) => {
        outbox.assertLease(token);
        outbox.delivered(mine.map(({ position }) => position));
        for (const { position } of mine) walk.delivered.add(position);
        // The one device log of the bench: position and sequence are the same number.
        bench.receipt(walk.appended, owedOf(walk));
        outbox.release(token);
      });
      walk.entries = walk.entries.filter((entry) => !gone.has(entry));
      break;
    case "reject":
      bench.within((outbox) => {
        const reason = { code: "event_leaf_wrong", message: "no", severity: "low" } as const;
        for (const { position } of mine) outbox.reject(position, reason);
      });
      for (const entry of mine) bury(entry);
      return;
    case "fail":
      failAll(walk, token, mine, now);
      break;
    case "release":
      bench.within((outbox) => outbox.release(token));
      break;
    case "force":
      bench.within((outbox) => outbox.forceRelease(worker, { actor: "op", reason: "test" }));
      break;
    default:
      how satisfies never;
  }
  free(walk, token);
}

function owedOf({ appended, delivered }: Walk): readonly (readonly [number, number])[] {
  return Array.from({ length: appended }, (_, index) => [index, index + 1] as const).filter(
    ([index]) => !delivered.has(index + 1),
  );
}

function bury(entry: ModelEntry): void {
  entry.attempts += 1;
  entry.state = "dead";
  entry.token = undefined;
  entry.nextAt = undefined;
}

function failAll(walk: Walk, token: number, mine: readonly ModelEntry[], now: number): void {
  const nextAt = now + 60_000;
  walk.bench.within((outbox) => {
    const attempt = outbox.begin(token, "https://server.example");
    outbox.failed(token, attempt, { code: "new_code", nextAt });
    outbox.release(token);
  });
  for (const entry of mine) {
    if (entry.attempts + 1 >= attemptsMax) {
      bury(entry);
      continue;
    }
    entry.attempts += 1;
    entry.nextAt = nextAt;
  }
}

function compare(walk: Walk): void {
  const { bench, check, entries, leases } = walk;
  const { outbox, clock } = bench;
  const now = clock.now();
  const text = (rows: readonly Pick<ModelEntry, "position" | "state" | "attempts">[]): string =>
    rows.map(({ position, state, attempts }) => `${position} ${state} ${attempts}`).join("; ");
  const held = text(outbox.entries.list());
  check(held === text(entries), `holds ${held}, not ${text(entries)}`);
  check(outbox.check(1).length === 0, "the outbox is whole");
  const status = outbox.status();
  check(status.waiting === entries.filter(({ state }) => state !== "dead").length, "waiting");
  check(status.leased === entries.filter(({ state }) => state === "leased").length, "leased");
  const open = entries.filter((entry) => entry.state === "dead" && entry.archivedAt === undefined);
  check(status.dead === open.length, "dead");
  const live = outbox.leases().filter(({ holder }) => holder !== undefined);
  const tokens = leases.map(({ token }) => token).toSorted((a, b) => a - b);
  check(live.map(({ token }) => token).join() === tokens.join(), "leases");
  const due = nextDueOf(walk, now);
  check(outbox.nextDueAt() === due, `next due ${outbox.nextDueAt()}, not ${due}`);
}

/** When something may go: an entry in its turn, the end of a wait, or of a lease that holds entries. */
function nextDueOf(walk: Walk, now: number): number | undefined {
  if (turnsOf(walk, now).length > 0) return now;
  const waits = walk.entries
    .filter(({ state }) => state === "waiting")
    .map(({ nextAt }) => nextAt ?? 0)
    .filter((at) => at > now);
  const ends = walk.leases
    .filter(({ token }) => walk.entries.some((entry) => entry.token === token))
    .map(({ expiresAt }) => Math.max(now, expiresAt));
  const times = [...waits, ...ends];
  return times.length === 0 ? undefined : Math.min(...times);
}
