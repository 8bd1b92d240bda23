/**
 * Whose turn it is: the entries that a worker may lease now.
 *
 * Urgent lane first, then order of position; first in, first out per stream: an entry waits while an earlier
 * one of its stream is leased by somebody else or is not due. Urgent never waits behind normal, so that an
 * urgent entry waits for earlier urgent ones of its stream only. Dead letters hold nobody up.
 *
 * The walk reads entries in their order through an index and stops at the wish, or after it has passed over
 * `limits.outboxWalkEntriesMax` of a lane: where more than that many wait in a row behind a blocked stream,
 * what stands behind them gets its turn once the stream is free.
 */
import { limits } from "../std/limits.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { outboxWaitMsMax } from "./backoff.ts";

export type Lane = "urgent" | "normal";

/** An entry that waits and is due. */
export interface Candidate {
  readonly position: number;
  readonly lane: Lane;
  readonly attempts: number;
  readonly enqueued_at: number;
}

interface PageRow extends Candidate {
  readonly stream: string;
}

interface BlockRow {
  readonly stream: string;
  readonly first: number;
  readonly urgent: number | null;
}

export interface Turns {
  /** Up to `wish` entries that may be leased at `now`, in order. */
  next(wish: number, now: number): readonly Candidate[];
  /** When an entry that waits may go: `now` when one may already, else when the next wait ends. */
  nextDueAt(now: number): number | undefined;
}

const pageEntries = 256;

export function createTurns(driver: SqliteDriver): Turns {
  const statements = prepareStatements(driver);

  /** Due entries lose their time, so that those that may go stand together in the index. */
  function ready(now: number): void {
    statements.ready.run(now);
    // Further away than any wait: the clock went back since.
    statements.unwind.run(now + outboxWaitMsMax);
  }

  function walk(lane: Lane, wish: number, blocks: ReadonlyMap<string, BlockRow>) {
    const found: Candidate[] = [];
    let after = 0;
    let passedOver = 0;
    while (passedOver < limits.outboxWalkEntriesMax) {
      const page = Math.min(pageEntries, blocks.size === 0 ? wish - found.length : pageEntries);
      const rows = statements.page.all<PageRow>(lane, after, page);
      for (const { stream, ...row } of rows) {
        if (isFree({ ...row, stream }, blocks)) found.push(row);
        else passedOver += 1;
        if (found.length === wish) return { found, ended: true };
      }
      if (rows.length < page) return { found, ended: true };
      after = rows.at(-1)?.position ?? after;
    }
    return { found, ended: false };
  }

  function blocksAt(now: number): ReadonlyMap<string, BlockRow> {
    const rows = statements.blocks.all<BlockRow>(now, now + outboxWaitMsMax);
    return new Map(rows.map((row) => [row.stream, row]));
  }

  function turnsAt(wish: number, blocks: ReadonlyMap<string, BlockRow>): readonly Candidate[] {
    const urgent = walk("urgent", wish, blocks);
    // Urgent entries that were not looked at may be earlier ones of a normal entry's stream.
    if (urgent.found.length === wish || !urgent.ended) return urgent.found;
    return [...urgent.found, ...walk("normal", wish - urgent.found.length, blocks).found];
  }

  return {
    next(wish, now) {
      ready(now);
      // Where nothing is due, nobody asks what holds what up: it may be the whole outbox.
      if (statements.due.get() === undefined) return [];
      return turnsAt(wish, blocksAt(now));
    },
    nextDueAt(now) {
      const latest = now + outboxWaitMsMax;
      // Those whose time has come, without the write that `next` does.
      const come = [
        ...statements.come.all<PageRow>(now, pageEntries),
        ...statements.unwound.all<PageRow>(latest, pageEntries),
      ];
      if (come.length > 0 || statements.due.get() !== undefined) {
        const blocks = blocksAt(now);
        if (come.some((row) => isFree(row, blocks)) || turnsAt(1, blocks).length > 0) return now;
      }
      const [urgent, normal] = (["urgent", "normal"] as const).map(
        (lane) => statements.nextAt.get<{ value: number | null }>(lane, now)?.value ?? Infinity,
      );
      const next = Math.min(urgent as number, normal as number);
      return next > latest ? undefined : next;
    },
  };
}

/** May it go before what holds its stream up? */
function isFree(
  { stream, lane, position }: PageRow,
  blocks: ReadonlyMap<string, BlockRow>,
): boolean {
  const block = blocks.get(stream);
  const since = lane === "urgent" ? block?.urgent : block?.first;
  return since === undefined || since === null || position < since;
}

// Named, because statistics cannot know that due entries are the first ones of the index.
const indexed = "outbox INDEXED BY outbox_by_turn";
const lanes = "lane IN ('urgent', 'normal')";
const entryRows = `SELECT outbox.position AS position, outbox.lane AS lane, outbox.attempts AS attempts,
    outbox.enqueued_at AS enqueued_at, events.stream AS stream
  FROM ${indexed} CROSS JOIN events ON events.position = outbox.position
  WHERE outbox.state = 'waiting'`;

function prepareStatements(driver: SqliteDriver) {
  return {
    ready: driver.prepare(
      `UPDATE ${indexed} SET next_at = NULL WHERE state = 'waiting' AND ${lanes} AND next_at <= ?`,
    ),
    unwind: driver.prepare(
      `UPDATE ${indexed} SET next_at = NULL WHERE state = 'waiting' AND ${lanes} AND next_at > ?`,
    ),
    blocks: driver.prepare(
      `SELECT events.stream AS stream, min(blocking.position) AS first,
         min(CASE WHEN blocking.lane = 'urgent' THEN blocking.position END) AS urgent
       FROM (
         SELECT position, lane FROM ${indexed} WHERE state = 'leased'
         UNION ALL
         SELECT position, lane FROM ${indexed}
         WHERE state = 'waiting' AND ${lanes} AND next_at > ? AND next_at <= ?
       ) AS blocking CROSS JOIN events ON events.position = blocking.position
       GROUP BY events.stream`,
    ),
    page: driver.prepare(
      `${entryRows} AND outbox.lane = ? AND outbox.next_at IS NULL AND outbox.position > ?
       ORDER BY outbox.position LIMIT ?`,
    ),
    come: driver.prepare(`${entryRows} AND outbox.${lanes} AND outbox.next_at <= ? LIMIT ?`),
    unwound: driver.prepare(`${entryRows} AND outbox.${lanes} AND outbox.next_at > ? LIMIT ?`),
    due: driver.prepare(
      `SELECT 1 AS value FROM ${indexed}
       WHERE state = 'waiting' AND ${lanes} AND next_at IS NULL LIMIT 1`,
    ),
    nextAt: driver.prepare(
      `SELECT min(next_at) AS value FROM ${indexed}
       WHERE state = 'waiting' AND lane = ? AND next_at > ?`,
    ),
  };
}
