/**
 * Dead letters: entries that were given up on, held until a person decides. Nothing is ever dropped: a letter
 * is redriven (back to waiting, same event id), archived, and only past its retention may `purge` remove the
 * *entry*; the event stays in the log. `purged_at` stays behind, so that no rebuild brings the entry back.
 *
 * A row without `purged_at` stands for an entry of the outbox in state `dead`, and the other way round.
 */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock } from "../std/ports.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { OutboxPolicy } from "./policy.ts";
import type { Lane } from "./turns.ts";

export type Severity = "low" | "medium" | "high" | "critical";
/** Every severity, least first. */
export const severities: readonly Severity[] = ["low", "medium", "high", "critical"];

/** Why an entry is given up on. `message`: for operators, without content. */
export interface LetterReason {
  readonly code: string;
  readonly message: string;
  /** HTTP status, where there was an answer. */
  readonly status?: number;
  readonly severity: Severity;
}

/** One dead letter. Times are UTC milliseconds. */
export interface DeadLetter {
  readonly position: number;
  /** Id of the event. */
  readonly id: string;
  readonly leaf: string;
  readonly type: string;
  readonly op: string;
  readonly stream: string;
  readonly lane: Lane;
  readonly enqueuedAt: number;
  readonly attempts: number;
  readonly code: string;
  readonly message: string;
  readonly status: number | undefined;
  readonly severity: Severity;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly archivedAt: number | undefined;
}

/** Which dead letters; all conditions must hold. */
export interface DeadLetterFilter {
  readonly code?: string;
  readonly severity?: Severity;
  readonly type?: string;
  readonly lane?: Lane;
  /** Given up on at or after, UTC ms. */
  readonly since?: number;
  /** Given up on before, UTC ms. */
  readonly until?: number;
  /** `false` (default): those that are not archived; `true`: the archived; `"any"`: both. */
  readonly archived?: boolean | "any";
  /** After this position. */
  readonly after?: number;
  /** At most; default `limits.queryRowsDefault`. */
  readonly limit?: number;
}

export interface DeadLetters {
  /** Makes an entry a dead letter. `attempted`: the attempt under way counts. */
  hold(position: number, reason: LetterReason, attempted: boolean, failureClass: string): boolean;
  list(filter: DeadLetterFilter): readonly DeadLetter[];
  /** By event id or leaf. */
  find(idOrLeaf: string): DeadLetter | undefined;
  /** Back to waiting, due at once. */
  redrive(idOrLeaf: string): void;
  redriveAll(filter: DeadLetterFilter): number;
  archive(idOrLeaf: string): void;
  /** Those given up on at least so long ago. */
  archiveOlderThan(ageMs: number): number;
  /** Removes entries archived at least so long ago; the events stay. */
  purge(ageMs: number): number;
}

interface LetterRow {
  readonly position: number;
  readonly id: string;
  readonly leaf: string;
  readonly type: string;
  readonly op: string;
  readonly stream: string;
  readonly lane: Lane;
  readonly enqueued_at: number;
  readonly attempts: number;
  readonly code: string;
  readonly message: string;
  readonly status: number | null;
  readonly severity: Severity;
  readonly created_at: number;
  readonly updated_at: number;
  readonly archived_at: number | null;
}

/** Ports of the dead letters. */
export interface DeadLettersDeps {
  readonly driver: SqliteDriver;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly policy: OutboxPolicy;
}

export function createDeadLetters(deps: DeadLettersDeps): DeadLetters {
  const { driver, clock, observer } = deps;
  const statements = prepareStatements(driver);

  function report(): void {
    const open = statements.open.get<{ value: number }>()?.value ?? 0;
    observer.gauge("outbox_dead_letters", open);
  }

  function hold(
    position: number,
    reason: LetterReason,
    attempted: boolean,
    failureClass: string,
  ): boolean {
    checkReason(reason);
    if (statements.give.run(attempted ? 1 : 0, position) === 0) return false;
    const now = clock.now();
    const message = reason.message.slice(0, limits.deadLetterMessageCharactersMax);
    const { code, status, severity } = reason;
    statements.keep.run(code, message, status ?? null, severity, now, now, position);
    observer.count("outbox_failed", 1, { class: failureClass });
    observer.log("error", "outbox_dead_letter", { severity });
    report();
    return true;
  }

  function found(idOrLeaf: string): DeadLetter | undefined {
    const row = statements.find.get<LetterRow>(idOrLeaf, idOrLeaf);
    return row === undefined ? undefined : letterOf(row);
  }

  function positionOf(idOrLeaf: string): number {
    const letter = found(idOrLeaf);
    if (letter === undefined) throw new HoldfastError("outbox_entry_missing");
    return letter.position;
  }

  function redrivePositions(positions: readonly number[]): number {
    for (const position of positions) {
      statements.wait.run(position);
      statements.forget.run(position);
    }
    if (positions.length > 0) {
      observer.count("outbox_redriven", positions.length);
      observer.log("info", "outbox_redriven", { entries: positions.length });
      report();
    }
    return positions.length;
  }

  return {
    hold,
    list: (filter) => selected(driver, filter, limits.queryRowsDefault).map(letterOf),
    find: found,
    redrive(idOrLeaf) {
      redrivePositions([positionOf(idOrLeaf)]);
    },
    redriveAll(filter) {
      const most = filter.limit ?? Number.MAX_SAFE_INTEGER;
      let redriven = 0;
      for (let after = filter.after; redriven < most;) {
        const limit = Math.min(limits.queryRowsDefault, most - redriven);
        const page = after === undefined ? { limit } : { limit, after };
        const rows = selected(driver, { ...filter, ...page }, limit);
        redriven += redrivePositions(rows.map(({ position }) => position));
        if (rows.length < limit) break;
        after = rows.at(-1)?.position;
      }
      return redriven;
    },
    archive(idOrLeaf) {
      const now = clock.now();
      statements.archive.run(now, now, positionOf(idOrLeaf));
      report();
    },
    archiveOlderThan(ageMs) {
      const now = clock.now();
      const archived = statements.archiveOld.run(now, now, now - checkedAge(ageMs));
      report();
      return archived;
    },
    purge(ageMs) {
      const now = clock.now();
      const before = now - checkedAge(ageMs);
      statements.removeEntries.run(before);
      const purged = statements.purge.run(now, before);
      if (purged > 0) observer.log("info", "outbox_purged", { entries: purged });
      return purged;
    },
  };
}

function checkReason({ code, message, severity }: LetterReason): void {
  const fine =
    typeof code === "string" &&
    code !== "" &&
    code.length <= limits.nameBytesMax &&
    typeof message === "string" &&
    severities.includes(severity);
  if (!fine) throw new HoldfastError("outbox_query_invalid", { path: "/reason" });
}

function checkedAge(ageMs: number): number {
  if (Number.isFinite(ageMs) && ageMs >= 0) return Math.floor(ageMs);
  throw new HoldfastError("outbox_query_invalid", { path: "/age" });
}

function selected(
  driver: SqliteDriver,
  filter: DeadLetterFilter,
  limitDefault: number,
): readonly LetterRow[] {
  const { archived = false } = filter;
  const conditions = ["letter.purged_at IS NULL"];
  const values: SqlValue[] = [];
  const add = (condition: string, value: SqlValue | undefined, path: string): void => {
    if (value === undefined) return;
    const isText = typeof value === "string" && value.length <= limits.wordsCharactersMax;
    if (!isText && !Number.isSafeInteger(value)) {
      throw new HoldfastError("outbox_query_invalid", { path });
    }
    conditions.push(condition);
    values.push(value);
  };
  add("letter.code = ?", filter.code, "/code");
  add("letter.severity = ?", filter.severity, "/severity");
  add("events.type = ?", filter.type, "/type");
  add("outbox.lane = ?", filter.lane, "/lane");
  add("letter.created_at >= ?", filter.since, "/since");
  add("letter.created_at < ?", filter.until, "/until");
  add("letter.position > ?", filter.after, "/after");
  if (archived !== "any") {
    conditions.push(`letter.archived_at IS ${archived ? "NOT NULL" : "NULL"}`);
  }
  const { limit = limitDefault } = filter;
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new HoldfastError("outbox_query_invalid", { path: "/limit" });
  }
  const sql = `${letterRows} WHERE ${conditions.join(" AND ")} ORDER BY letter.position LIMIT ?`;
  return driver.prepare(sql).all<LetterRow>(...values, limit);
}

function letterOf(row: LetterRow): DeadLetter {
  return {
    position: row.position,
    id: row.id,
    leaf: row.leaf,
    type: row.type,
    op: row.op,
    stream: row.stream,
    lane: row.lane,
    enqueuedAt: row.enqueued_at,
    attempts: row.attempts,
    code: row.code,
    message: row.message,
    status: row.status ?? undefined,
    severity: row.severity,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    archivedAt: row.archived_at ?? undefined,
  };
}

const letterRows = `SELECT letter.position AS position, events.id AS id, events.leaf AS leaf,
  events.type AS type, json_extract(events.header, '$.op') AS op, events.stream AS stream,
  outbox.lane AS lane, outbox.enqueued_at AS enqueued_at, letter.attempts AS attempts,
  letter.code AS code, letter.message AS message, letter.status AS status,
  letter.severity AS severity, letter.created_at AS created_at, letter.updated_at AS updated_at,
  letter.archived_at AS archived_at
FROM dead_letters AS letter
  JOIN outbox ON outbox.position = letter.position
  JOIN events ON events.position = letter.position`;

function prepareStatements(driver: SqliteDriver) {
  return {
    open: driver.prepare(
      "SELECT count(*) AS value FROM dead_letters WHERE archived_at IS NULL AND purged_at IS NULL",
    ),
    give: driver.prepare(
      `UPDATE outbox SET state = 'dead', token = NULL, next_at = NULL, attempts = attempts + ?
       WHERE position = ? AND state <> 'dead'`,
    ),
    keep: driver.prepare(
      `INSERT INTO dead_letters
         (position, attempts, code, message, status, severity, created_at, updated_at)
       SELECT position, attempts, ?, ?, ?, ?, ?, ? FROM outbox WHERE position = ?
       ON CONFLICT (position) DO UPDATE SET attempts = excluded.attempts, code = excluded.code,
         message = excluded.message, status = excluded.status, severity = excluded.severity,
         updated_at = excluded.updated_at, archived_at = NULL, purged_at = NULL`,
    ),
    find: driver.prepare(
      `${letterRows} WHERE letter.purged_at IS NULL AND letter.position IN (
         SELECT position FROM events WHERE id = ? UNION ALL
         SELECT position FROM events WHERE leaf = ?)`,
    ),
    // Attempts are counted anew; what was tried before stays in the table of attempts.
    wait: driver.prepare(
      `UPDATE outbox SET state = 'waiting', attempts = 0, next_at = NULL
       WHERE position = ? AND state = 'dead'`,
    ),
    forget: driver.prepare("DELETE FROM dead_letters WHERE position = ? AND purged_at IS NULL"),
    archive: driver.prepare(
      `UPDATE dead_letters SET archived_at = ?, updated_at = ?
       WHERE position = ? AND archived_at IS NULL AND purged_at IS NULL`,
    ),
    archiveOld: driver.prepare(
      `UPDATE dead_letters SET archived_at = ?, updated_at = ?
       WHERE created_at <= ? AND archived_at IS NULL AND purged_at IS NULL`,
    ),
    removeEntries: driver.prepare(
      `DELETE FROM outbox WHERE position IN (SELECT position FROM dead_letters
         WHERE archived_at <= ? AND purged_at IS NULL)`,
    ),
    purge: driver.prepare(
      "UPDATE dead_letters SET purged_at = ? WHERE archived_at <= ? AND purged_at IS NULL",
    ),
  };
}
