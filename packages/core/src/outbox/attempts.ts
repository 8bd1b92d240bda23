/** Attempts at delivery: a row for each, begun in a transaction of its own before anything is sent. */
import { HoldfastError } from "../std/errors.ts";
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import type { Observer } from "../telemetry/observer.ts";

/** How an attempt ended; `lost`: its worker lost the lease, and nobody knows what became of it. */
export type AttemptResult = "delivered" | "partly" | "failed" | "cancelled" | "lost";

/** One attempt as it is kept. */
export interface Attempt {
  readonly number: number;
  readonly endpoint: string;
  readonly entries: number;
  readonly startedAt: number;
  /** `undefined`: under way. */
  readonly endedAt: number | undefined;
  readonly result: AttemptResult | undefined;
  readonly code: string | undefined;
  /** HTTP status. */
  readonly status: number | undefined;
}

interface AttemptRow {
  readonly number: number;
  readonly endpoint: string;
  readonly entries: number;
  readonly started_at: number;
  readonly ended_at: number | null;
  readonly result: AttemptResult | null;
  readonly code: string | null;
  readonly status: number | null;
}

export interface Attempts {
  /** Begins an attempt with these positions, ascending; its number. */
  begin(token: number, endpoint: string, positions: readonly number[]): number;
  /** Ends it unless it ended already. */
  finish(number: number, result: AttemptResult, code?: string, status?: number): void;
  /** The positions it was begun with. */
  positions(number: number, token: number): ReadonlySet<number>;
  /** Every attempt that an entry took part in, oldest first. */
  of(position: number): readonly Attempt[];
  /** Removes attempts that ended before that time and have no entry left. */
  forgetBefore(time: number): void;
}

export function createAttempts(deps: {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer: Observer;
}): Attempts {
  const { clock, observer } = deps;
  const statements = prepareStatements(deps.driver);
  return {
    begin(token, endpoint, positions) {
      const first = positions[0] ?? 0;
      const last = positions.at(-1) ?? 0;
      const ranges = JSON.stringify(rangesOf(positions));
      const size = positions.length;
      statements.insert.run(token, endpoint, first, last, size, ranges, clock.now());
      return statements.last.get<{ number: number }>()?.number ?? 0;
    },
    finish(number, result, code, status) {
      const now = clock.now();
      const begun = statements.begun.get<{ started_at: number }>(number);
      if (begun === undefined) return;
      statements.finish.run(now, result, code ?? null, status ?? null, number);
      observer.count("outbox_attempts", 1, { result });
      observer.observe("outbox_attempt_latency", Math.max(0, now - begun.started_at));
    },
    positions(number, token) {
      const row = statements.ranges.get<{ positions: string }>(number, token);
      if (row === undefined)
        throw new HoldfastError("outbox_lease_lost", { token, attempt: number });
      const ranges = JSON.parse(row.positions) as readonly (readonly [number, number])[];
      const all = new Set<number>();
      for (const [from, to] of ranges) for (let at = from; at < to; at++) all.add(at);
      return all;
    },
    of: (position) => statements.of.all<AttemptRow>(position, position, position).map(attemptOf),
    forgetBefore(time) {
      statements.forget.run(time);
    },
  };
}

/** Half-open ranges [from, to) of ascending positions. */
export function rangesOf(positions: readonly number[]): readonly (readonly [number, number])[] {
  const ranges: [number, number][] = [];
  for (const position of positions) {
    const open = ranges.at(-1);
    if (open !== undefined && open[1] === position) open[1] = position + 1;
    else ranges.push([position, position + 1]);
  }
  return ranges;
}

function attemptOf(row: AttemptRow): Attempt {
  return {
    number: row.number,
    endpoint: row.endpoint,
    entries: row.entries,
    startedAt: row.started_at,
    endedAt: row.ended_at ?? undefined,
    result: row.result ?? undefined,
    code: row.code ?? undefined,
    status: row.status ?? undefined,
  };
}

function prepareStatements(driver: SqliteDriver) {
  const columns = "number, endpoint, entries, started_at, ended_at, result, code, status";
  return {
    insert: driver.prepare(
      `INSERT INTO attempts (token, endpoint, first, last, entries, positions, started_at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    ),
    last: driver.prepare("SELECT max(number) AS number FROM attempts"),
    begun: driver.prepare("SELECT started_at FROM attempts WHERE number = ? AND ended_at IS NULL"),
    finish: driver.prepare(
      `UPDATE attempts SET ended_at = ?, result = ?, code = ?, status = ?
       WHERE number = ? AND ended_at IS NULL`,
    ),
    ranges: driver.prepare("SELECT positions FROM attempts WHERE number = ? AND token = ?"),
    of: driver.prepare(
      `SELECT ${columns} FROM attempts WHERE last >= ? AND first <= ?
         AND EXISTS (SELECT 1 FROM json_each(attempts.positions) AS range
           WHERE ? BETWEEN json_extract(range.value, '$[0]') AND json_extract(range.value, '$[1]') - 1)
       ORDER BY number`,
    ),
    forget: driver.prepare(
      `DELETE FROM attempts WHERE ended_at < ?
         AND NOT EXISTS (SELECT 1 FROM outbox
           WHERE outbox.position BETWEEN attempts.first AND attempts.last)`,
    ),
  };
}
