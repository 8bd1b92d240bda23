/**
 * What a restored server lost of what this device holds, in the transaction that keeps its epoch.
 *
 * Own events that only lost receipts covered are undelivered again: they come back into the outbox, and are pushed like
 * any other. Pulls go on from the last position that the restored server knows of. A foreign log whose newest note the
 * server does not have is remembered with the size of that note: until its device has pushed again, pages show less of
 * it than is held here (judge-page.ts), and when it has, they must contain what is held. Grants are fetched anew, and
 * those that went to the server with lost events are sent again. Nothing that is held is forgotten: checkpoints and
 * receipts stay as evidence.
 */
import { keyGrantedType, type KeyGrantedPub } from "../event/system.ts";
import { type EpochStatement } from "../proof/server-epoch.ts";
import { parseStatement } from "../proof/server-leaf.ts";
import { acknowledged, subtractRanges } from "./ranges.ts";
import { lostGrantName } from "./lost-grants.ts";
import type { KeptReceipt } from "./lost-receipts.ts";
import { nothingPushed, type PushedLog, type SyncTables } from "./sync-tables.ts";

/** Where the receipts stand that are still to be presented to the server. */
export const presentName = "present";

/** One own log of which the server knows less than it had receipted. */
export interface ReturnedLog {
  readonly incarnation: string;
  readonly receipted: number;
  readonly size: number;
}

/** Takes back what the lost part of the server log had proven; the own logs that it concerns. */
export function takeLostTail(
  tables: SyncTables,
  epoch: Pick<EpochStatement, "origin" | "events">,
): readonly ReturnedLog[] {
  const returned = tables.ownLogs().flatMap(({ number, incarnation }) => {
    const before = tables.pushed(number);
    if (before.receipt === undefined || !tables.isLost(before.receipt)) return [];
    const after = pushedBy(tables.largestReceipt(number));
    tables.putPushed(number, after);
    const lost = subtractRanges(
      acknowledged(before.size, before.owed),
      acknowledged(after.size, after.owed),
    );
    tables.enqueueAgain(number, lost);
    const granted = tables.pubsOf<KeyGrantedPub>(number, keyGrantedType, lost);
    for (const pub of granted) grantAgain(tables, pub);
    return [{ incarnation, receipted: before.size, size: after.size }];
  });
  for (const { number, device, incarnation, size } of tables.foreignNotes()) {
    const known = tables.largestReceipt(number)?.size ?? 0;
    if (size > known) tables.putLost(device, incarnation, { size });
  }
  movePullsBack(tables, epoch.events);
  tables.put(presentName, epoch.origin);
  return returned;
}

/** What the server has by that receipt. Where it only counts what is owed, everything is: it is offered once more. */
function pushedBy(receipt: KeptReceipt | undefined): PushedLog {
  if (receipt === undefined) return nothingPushed;
  const { size, owed, received: receivedAt } = parseStatement(receipt.leaf);
  const everything = size === 0 ? [] : [[0, size] as const];
  const ranges = Array.isArray(owed) ? (owed as PushedLog["owed"]) : everything;
  return { size, owed: ranges, receipt: receipt.number, receivedAt };
}

function movePullsBack(tables: SyncTables, through: number): void {
  for (const { scope, position } of tables.pulls()) {
    if (position > through) tables.putPull(scope, through);
  }
  for (const name of ["pull_head", "pull_began"]) {
    if (Number(tables.value(name) ?? 0) > through) tables.put(name, String(through));
  }
  for (const event of tables.newer()) {
    if (event.position <= through) continue;
    tables.dropNewer(event.device, event.incarnation, event.index);
    tables.putNewer({ ...event, position: through + 1 });
  }
  for (const lost of tables.lostLogs()) {
    if ((lost.from ?? 0) > through)
      tables.putLost(lost.device, lost.incarnation, { ...lost, from: through });
  }
}

function grantAgain(tables: SyncTables, { device, hpke, keys }: KeyGrantedPub): void {
  for (const { key, generation } of keys) {
    tables.put(lostGrantName({ device, hpke, key, generation }), "");
  }
}
