/** Entries as operators see them: listed a page at a time, and one with everything that was tried. */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { SqliteDriver, SqlValue } from "../store/sqlite-driver.ts";
import type { Attempt, Attempts } from "./attempts.ts";
import type { DeadLetter, DeadLetters } from "./dead-letters.ts";
import type { Lane } from "./turns.ts";

export type EntryState = "waiting" | "leased" | "dead";

/** One entry with what its event's header says. Times are UTC milliseconds. */
export interface ListedEntry {
  readonly position: number;
  /** Id of the event. */
  readonly id: string;
  readonly leaf: string;
  readonly type: string;
  readonly op: string;
  readonly stream: string;
  readonly lane: Lane;
  readonly state: EntryState;
  readonly enqueuedAt: number;
  readonly attempts: number;
  /** `undefined`: due at once, or dead. */
  readonly nextAt: number | undefined;
}

/** One entry, what was tried, and why it was given up on. */
export interface EntryDetail extends ListedEntry {
  readonly tried: readonly Attempt[];
  readonly letter: DeadLetter | undefined;
}

/** Which entries; all conditions must hold. */
export interface EntryFilter {
  readonly state?: EntryState;
  readonly lane?: Lane;
  /** recordedAt, UTC ms, inclusive. */
  readonly since?: number;
  /** After this position. */
  readonly after?: number;
  /** At most; default `limits.queryRowsDefault`. */
  readonly limit?: number;
}

export interface Entries {
  /** In order of position. Throws `outbox_query_invalid`. */
  list(filter?: EntryFilter): readonly ListedEntry[];
  count(filter?: EntryFilter): number;
  /** By event id or leaf. */
  show(idOrLeaf: string): EntryDetail | undefined;
}

interface EntryRow {
  readonly position: number;
  readonly id: string;
  readonly leaf: string;
  readonly type: string;
  readonly op: string;
  readonly stream: string;
  readonly lane: Lane;
  readonly state: EntryState;
  readonly enqueued_at: number;
  readonly attempts: number;
  readonly next_at: number | null;
}

export function createEntries(deps: {
  readonly driver: SqliteDriver;
  readonly attempts: Attempts;
  readonly deadLetters: DeadLetters;
}): Entries {
  const { driver } = deps;
  const one = driver.prepare(
    `${entryRows} WHERE outbox.position IN (
       SELECT position FROM events WHERE id = ? UNION ALL
       SELECT position FROM events WHERE leaf = ?)`,
  );
  return {
    list(filter = {}) {
      const { where, values } = conditionsOf(filter);
      const { limit = limits.queryRowsDefault } = filter;
      if (!Number.isSafeInteger(limit) || limit < 1) invalid("/limit");
      return driver
        .prepare(`${entryRows} ${where} ORDER BY outbox.position LIMIT ?`)
        .all<EntryRow>(...values, limit)
        .map(entryOf);
    },
    count(filter = {}) {
      const { where, values } = conditionsOf(filter);
      const sql = `SELECT count(*) AS value FROM outbox ${where}`;
      return driver.prepare(sql).get<{ value: number }>(...values)?.value ?? 0;
    },
    show(idOrLeaf) {
      const row = one.get<EntryRow>(idOrLeaf, idOrLeaf);
      if (row === undefined) return undefined;
      const tried = deps.attempts.of(row.position);
      return { ...entryOf(row), tried, letter: deps.deadLetters.find(row.leaf) };
    },
  };
}

const entryRows = `SELECT outbox.position AS position, events.id AS id, events.leaf AS leaf,
  events.type AS type, json_extract(events.header, '$.op') AS op, events.stream AS stream,
  outbox.lane AS lane, outbox.state AS state, outbox.enqueued_at AS enqueued_at,
  outbox.attempts AS attempts, outbox.next_at AS next_at
FROM outbox CROSS JOIN events ON events.position = outbox.position`;

function invalid(path: string): never {
  throw new HoldfastError("outbox_query_invalid", { path });
}

function conditionsOf(filter: EntryFilter): { where: string; values: readonly SqlValue[] } {
  const given: readonly (readonly [
    condition: string,
    value: SqlValue | undefined,
    fine: boolean,
  ])[] = [
    ["outbox.state = ?", filter.state, isOneOf(filter.state, ["waiting", "leased", "dead"])],
    ["outbox.lane = ?", filter.lane, isOneOf(filter.lane, ["urgent", "normal"])],
    ["outbox.enqueued_at >= ?", filter.since, Number.isSafeInteger(filter.since)],
    ["outbox.position > ?", filter.after, Number.isSafeInteger(filter.after)],
  ];
  const conditions: string[] = [];
  const values: SqlValue[] = [];
  for (const [condition, value, fine] of given) {
    if (value === undefined) continue;
    if (!fine) invalid(`/${condition.slice("outbox.".length).split(" ")[0] ?? ""}`);
    conditions.push(condition);
    values.push(value);
  }
  return { where: conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`, values };
}

function isOneOf(value: string | undefined, words: readonly string[]): boolean {
  return value !== undefined && words.includes(value);
}

function entryOf({ enqueued_at, next_at, ...row }: EntryRow): ListedEntry {
  return { ...row, enqueuedAt: enqueued_at, nextAt: next_at ?? undefined };
}
