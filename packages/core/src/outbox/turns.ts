/**
 * Whose turn it is: the entries that a worker may lease now.
 *
 * Urgent lane first, then order of position; first in, first out per stream: an entry waits while an earlier
 * one of its stream is leased by somebody else or is not due. Urgent never waits behind normal, so that an
 * urgent entry waits for earlier urgent ones of its stream only. Dead letters hold nobody up.
 *
 * Where the other side cannot put events in order by itself, the worker asks for the order `stream`: nothing
 * passes an earlier entry of its stream. An urgent entry then takes the earlier ones of its stream along, and
 * a dead letter holds its stream up until somebody redrives or archives it.
 *
 * The walk reads entries in their order through an index and stops at the wish, or after it has passed over
 * `limits.outboxWalkEntriesMax` of a lane: where more than that many wait in a row behind a blocked stream,
 * what stands behind them gets its turn once the stream is free.
 */
import { limits } from "../std/limits.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { outboxWaitMsMax } from "./backoff.ts";

/** Urgent entries never wait behind normal ones. */
export type Lane = "urgent" | "normal";

/**
 * What may pass what. `lane`: urgent entries pass normal ones of their stream, everything passes dead letters.
 * `stream`: nothing passes an earlier entry of its stream, dead letters that are not archived included.
 */
export type TurnOrder = "lane" | "stream";

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

/** What holds streams up, and for whom. */
interface Blocks {
  readonly order: TurnOrder;
  readonly rows: ReadonlyMap<string, BlockRow>;
}

export interface Turns {
  /** Up to `wish` entries that may be leased at `now`, in order. */
  next(wish: number, now: number, order: TurnOrder): readonly Candidate[];
  /** When an entry that waits may go: `now` when one may already, else when the next wait ends. */
  nextDueAt(now: number, order: TurnOrder): number | undefined;
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

  function walk(lane: Lane, wish: number, blocks: Blocks) {
    const found: Candidate[] = [];
    let after = 0;
    let passedOver = 0;
    while (passedOver < limits.outboxWalkEntriesMax) {
      const page = Math.min(
        pageEntries,
        blocks.rows.size === 0 ? wish - found.length : pageEntries,
      );
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

  function blocksAt(now: number, order: TurnOrder): Blocks {
    const select = order === "lane" ? statements.blocks : statements.blocksWithDead;
    const rows = select.all<BlockRow>(now, now + outboxWaitMsMax);
    return { order, rows: new Map(rows.map((row) => [row.stream, row])) };
  }

  /** Each urgent entry behind the normal ones of its stream that it would pass. They are due: nothing blocks it. */
  function withEarlier(urgent: readonly Candidate[], wish: number): readonly Candidate[] {
    const all = urgent.flatMap((entry) => [
      ...statements.earlier.all<Candidate>(entry.position, entry.position),
      entry,
    ]);
    return [...new Map(all.map((entry) => [entry.position, entry])).values()].slice(0, wish);
  }

  function turnsAt(wish: number, blocks: Blocks): readonly Candidate[] {
    const urgent = walk("urgent", wish, blocks);
    const found = blocks.order === "lane" ? urgent.found : withEarlier(urgent.found, wish);
    // Urgent entries that were not looked at may be earlier ones of a normal entry's stream.
    if (found.length === wish || !urgent.ended) return found;
    const taken = new Set(found.map(({ position }) => position));
    const left = blocks.order === "lane" ? wish - found.length : wish;
    const normal = walk("normal", left, blocks).found;
    return [...found, ...normal.filter(({ position }) => !taken.has(position))].slice(0, wish);
  }

  return {
    next(wish, now, order) {
      ready(now);
      // Where nothing is due, nobody asks what holds what up: it may be the whole outbox.
      if (statements.due.get() === undefined) return [];
      return turnsAt(wish, blocksAt(now, order));
    },
    nextDueAt(now, order) {
      const latest = now + outboxWaitMsMax;
      // Those whose time has come, without the write that `next` does.
      const come = [
        ...statements.come.all<PageRow>(now, pageEntries),
        ...statements.unwound.all<PageRow>(latest, pageEntries),
      ];
      if (come.length > 0 || statements.due.get() !== undefined) {
        const blocks = blocksAt(now, order);
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
function isFree({ stream, lane, position }: PageRow, blocks: Blocks): boolean {
  const block = blocks.rows.get(stream);
  const since = lane === "urgent" && blocks.order === "lane" ? block?.urgent : block?.first;
  return since === undefined || since === null || position < since;
}

// Named, because statistics cannot know that due entries are the first ones of the index.
const indexed = "outbox INDEXED BY outbox_by_turn";
const lanes = "lane IN ('urgent', 'normal')";
const entryRows = `SELECT outbox.position AS position, outbox.lane AS lane, outbox.attempts AS attempts,
    outbox.enqueued_at AS enqueued_at, events.stream AS stream
  FROM ${indexed} CROSS JOIN events ON events.position = outbox.position
  WHERE outbox.state = 'waiting'`;

/** `held`: what blocks a stream besides what is leased and what is not due. */
function blockRows(held: string): string {
  return `SELECT events.stream AS stream, min(blocking.position) AS first,
      min(CASE WHEN blocking.lane = 'urgent' THEN blocking.position END) AS urgent
    FROM (
      SELECT position, lane FROM ${indexed} WHERE state = 'leased'
      UNION ALL
      SELECT position, lane FROM ${indexed}
      WHERE state = 'waiting' AND ${lanes} AND next_at > ? AND next_at <= ?
      ${held}
    ) AS blocking CROSS JOIN events ON events.position = blocking.position
    GROUP BY events.stream`;
}

const deadRows = `UNION ALL
      SELECT outbox.position, outbox.lane FROM outbox
      JOIN dead_letters ON dead_letters.position = outbox.position
      WHERE outbox.state = 'dead' AND dead_letters.archived_at IS NULL`;

function prepareStatements(driver: SqliteDriver) {
  return {
    ready: driver.prepare(
      `UPDATE ${indexed} SET next_at = NULL WHERE state = 'waiting' AND ${lanes} AND next_at <= ?`,
    ),
    unwind: driver.prepare(
      `UPDATE ${indexed} SET next_at = NULL WHERE state = 'waiting' AND ${lanes} AND next_at > ?`,
    ),
    blocks: driver.prepare(blockRows("")),
    blocksWithDead: driver.prepare(blockRows(deadRows)),
    earlier: driver.prepare(
      `SELECT outbox.position AS position, outbox.lane AS lane, outbox.attempts AS attempts,
         outbox.enqueued_at AS enqueued_at
       FROM events CROSS JOIN outbox ON outbox.position = events.position
       WHERE events.stream = (SELECT stream FROM events WHERE position = ?)
         AND events.position < ? AND outbox.state = 'waiting' AND outbox.lane = 'normal'
       ORDER BY events.position`,
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
