/**
 * Receipts that stand beyond the end of their server log: a restored server does not know them any more. They stay as
 * evidence of what the server had taken, and count for nothing else.
 */
import { openEpochText } from "../proof/server-epoch.ts";
import type { IndexRanges } from "../proof/server-leaf.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";
import { localValues } from "./local-values.ts";

/** A receipt as it is kept. */
export interface KeptReceipt {
  /** Of its row. */
  readonly number: number;
  /** Leaves of the device log that it is about. */
  readonly size: number;
  readonly leaf: string;
  readonly log: string;
  readonly index: number;
  readonly treeSize: number;
  readonly path: Uint8Array;
}

/** Is that leaf of a server log one that its successor does not count? */
type IsBeyond = (log: string, index: number) => boolean;

/** How far server logs went, by the statements of those that went on for them. */
function logEnds(epochs: readonly { readonly leaf: string }[]): IsBeyond {
  const ends = new Map<string, number>();
  for (const { leaf } of epochs) {
    const statement = openEpochText(leaf);
    if (statement !== undefined) ends.set(statement.origin, statement.size);
  }
  return (log, index) => index >= (ends.get(log) ?? Infinity);
}

/**
 * A foreign device log of which a restored server has less than is held here: `size` of the newest note that is held.
 * `from`: events behind that position were passed over, because nothing joins their note to that one yet.
 */
export interface LostLog {
  readonly size: number;
  readonly from?: number;
}

const lostPrefix = "lost/";
const lostName = (device: string, incarnation: string): string =>
  `${lostPrefix}${device}/${incarnation}`;

/** Receipts of device logs, and foreign logs that a server has lost a part of, over one connection. */
export function lostReceipts(driver: SqliteDriver) {
  const values = localValues(driver);
  const isBeyond = (): IsBeyond =>
    logEnds(
      driver
        .prepare("SELECT value FROM sync WHERE name GLOB 'epoch/*'")
        .all<{ value: string }>()
        .map(({ value }) => JSON.parse(value) as { readonly leaf: string }),
    );
  const receipts = (log: number, least: number): readonly KeptReceipt[] =>
    driver
      .prepare(
        `SELECT number, size, leaf, log, leaf_index AS "index", log_size AS treeSize, path
         FROM server_leaves WHERE incarnation = ? AND kind = 'receipt' AND size >= ?
         ORDER BY number DESC`,
      )
      .all<KeptReceipt>(log, least);
  return {
    putLost(device: string, incarnation: string, { size, from }: LostLog): void {
      const kept = from === undefined ? { size } : { size, from };
      values.set(lostName(device, incarnation), JSON.stringify(kept));
    },
    lostLog(device: string, incarnation: string): LostLog | undefined {
      const value = values.get(lostName(device, incarnation));
      return value === undefined ? undefined : (JSON.parse(value) as LostLog);
    },
    lostLogs(): readonly (LostLog & { readonly device: string; readonly incarnation: string })[] {
      return values.list(lostPrefix).map(({ name, value }) => {
        const [device = "", incarnation = ""] = name.slice(lostPrefix.length).split("/");
        return { ...(JSON.parse(value) as LostLog), device, incarnation };
      });
    },
    dropLost(device: string, incarnation: string): void {
      values.remove(lostName(device, incarnation));
    },
    /** Plaintext of the events of that type in those ranges of a device log. */
    pubsOf<Pub>(log: number, type: string, ranges: IndexRanges): readonly Pub[] {
      const select = driver.prepare(
        `SELECT header FROM events WHERE type = ? AND incarnation = ? AND sequence > ? AND sequence <= ?
         ORDER BY sequence`,
      );
      return ranges.flatMap(([from, to]) =>
        select
          .all<{ header: string }>(type, log, from, to)
          .map(({ header }) => (JSON.parse(header) as { readonly pub: Pub }).pub),
      );
    },
    /** The newest receipt of at least that size that the server still knows of. */
    receiptCovering(log: number, size: number): KeptReceipt | undefined {
      const beyond = isBeyond();
      return receipts(log, size).find((row) => !beyond(row.log, row.index));
    },
    /** Of those that the server still knows of, the one of the greatest size, and of these the newest. */
    largestReceipt(log: number): KeptReceipt | undefined {
      const beyond = isBeyond();
      return largest(receipts(log, 0).filter((row) => !beyond(row.log, row.index)));
    },
    /** Of those that the server does not know any more, the one of the greatest size. */
    largestLost(log: number): KeptReceipt | undefined {
      const beyond = isBeyond();
      return largest(receipts(log, 0).filter((row) => beyond(row.log, row.index)));
    },
    isLost(receipt: number): boolean {
      const row = driver
        .prepare(`SELECT log, leaf_index AS "index" FROM server_leaves WHERE number = ?`)
        .get<{ log: string; index: number }>(receipt);
      return row !== undefined && isBeyond()(row.log, row.index);
    },
  };
}

/** Of those of the same size, the first; there may be as many as the log has commits. */
function largest(rows: readonly KeptReceipt[]): KeptReceipt | undefined {
  return rows.reduce<KeptReceipt | undefined>(
    (most, row) => (most === undefined || row.size > most.size ? row : most),
    undefined,
  );
}
