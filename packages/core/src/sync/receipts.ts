/** The receipt that covers one event, with what proves it. */
import { base64 } from "../std/bytes.ts";
import { hashesOf } from "../proof/verify-server-log.ts";
import { isInRanges } from "./ranges.ts";
import type { Acknowledgements } from "./rest/acknowledgements.ts";
import type { SyncTables } from "./sync-tables.ts";

/** The server's statement that it holds an event, provable without the server. */
export interface EventReceipt {
  /** JCS text of the statement (`proof/server-leaf.ts`). */
  readonly statement: string;
  /** C2SP signed note over the server log that holds the statement. */
  readonly checkpoint: string;
  /** Place of the statement in the server log, and its inclusion path, base64. */
  readonly proof: { readonly index: number; readonly path: readonly string[] };
}

/**
 * Is the event below a receipted size and not owed, or acknowledged by a backend that gives no receipts? Of
 * other installations: it came from the server.
 */
export function isDelivered(
  tables: SyncTables,
  acknowledged: Pick<Acknowledgements, "has">,
  position: number,
): boolean {
  const place = tables.placeOf(position);
  if (place === undefined) return false;
  if (!tables.ownLogs().some(({ number }) => number === place.number)) return true;
  const { size, owed } = tables.pushed(place.number);
  const isReceipted = place.index < size && !isInRanges(owed, place.index);
  return isReceipted || acknowledged.has(place);
}

/** The newest receipt that covers the event; `undefined` while there is none. */
export function receiptOf(tables: SyncTables, position: number): EventReceipt | undefined {
  const place = tables.placeOf(position);
  if (place === undefined || !isDelivered(tables, { has: () => false }, position)) return undefined;
  const row = tables.receiptCovering(place.number, place.index + 1);
  const checkpoint = row && tables.checkpointNote(row.log, row.treeSize);
  const path = row && hashesOf(row.path);
  if (row === undefined || checkpoint === undefined || path === undefined) return undefined;
  return {
    statement: row.leaf,
    checkpoint,
    proof: { index: row.index, path: path.map((hash) => base64(hash)) },
  };
}
