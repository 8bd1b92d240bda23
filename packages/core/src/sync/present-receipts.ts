/** What is presented to a server that knows less of its log than this device holds of it. */
import { parseServerLogOrigin } from "../proof/server-key.ts";
import { hashesOf } from "../proof/verify-server-log.ts";
import { isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { ExchangeTools } from "./exchange.ts";
import type { PresentedReceipt, PresentRequest } from "./messages/present.ts";
import type { SyncStore } from "./sync-store.ts";
import type { KnownLog, SyncTables } from "./sync-tables.ts";
import { presentName } from "./take-lost-tail.ts";
import type { Transport } from "./transport.ts";

/** The newest checkpoint alone: what a server is shown that has less of its log and knows of no log after it. */
export function planShow(tables: SyncTables): PresentRequest | undefined {
  const held = tables.checkpoint();
  const checkpoint = held && tables.checkpointNote(held.log, held.size);
  return checkpoint === undefined ? undefined : { checkpoint, receipts: [] };
}

/** Receipts beyond the end of a log that a restored server went on from; empty: nothing is to be presented. */
export function planPresent(tables: SyncTables): readonly PresentRequest[] {
  const log = tables.value(presentName);
  const held =
    log === undefined ? undefined : tables.checkpointWithin(log, Number.MAX_SAFE_INTEGER);
  const checkpoint = held && tables.checkpointNote(held.log, held.size);
  if (checkpoint === undefined) return [];
  const logs: readonly Pick<KnownLog, "number">[] = [
    ...tables.ownLogs(),
    ...tables.foreignNotes(limits.pullOriginsMax),
  ];
  const receipts = logs.flatMap(({ number }) => presented(tables, number));
  const requests: PresentRequest[] = [{ checkpoint, receipts: receipts.slice(0, most) }];
  for (let from = most; from < receipts.length; from += most) {
    requests.push({ checkpoint, receipts: receipts.slice(from, from + most) });
  }
  return requests;
}

const most = limits.presentedReceiptsMax;

function presented(tables: SyncTables, number: number): readonly PresentedReceipt[] {
  const lost = tables.largestLost(number);
  const path = lost && hashesOf(lost.path);
  const checkpoint = lost && tables.checkpointNote(lost.log, lost.treeSize);
  if (lost === undefined || path === undefined || checkpoint === undefined) return [];
  if (parseServerLogOrigin(lost.log) === undefined) return [];
  return [{ receipt: { text: lost.leaf, index: lost.index, path }, checkpoint }];
}

/** Presents what a restored server lost, once; nothing where nothing is to be presented. Throws what the transport throws. */
export async function presentReceipts(
  store: Pick<SyncStore, "planPresent" | "presented">,
  transport: Pick<Transport, "present">,
  { call }: Pick<ExchangeTools, "call">,
): Promise<void> {
  const requests = store.planPresent();
  if (requests.length === 0) return;
  for (const request of requests) await call((options) => transport.present(request, options));
  await store.presented();
}

/**
 * Shows the newest checkpoint to a server that has less of its log. Throws `server_put_back` where the server sees by it
 * that its database is an older copy; one that knows of no such message has said all that it can.
 */
export async function showCheckpoint(
  store: Pick<SyncStore, "planShow">,
  send: (request: PresentRequest) => Promise<void>,
): Promise<void> {
  const request = store.planShow();
  if (request === undefined) return;
  try {
    await send(request);
  } catch (error) {
    if (!isHoldfastError(error, "not_found") && !isHoldfastError(error, "method_refused"))
      throw error;
  }
}
