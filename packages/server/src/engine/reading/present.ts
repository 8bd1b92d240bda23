/**
 * What devices hold of a server log that this database does not: checkpoints and receipts that this server signed
 * itself. Anything else proves nothing and is passed over.
 *
 * A checkpoint of the newest log, or of a later one, beyond what is here shows that the database is an older copy of
 * one that went on. It is kept, and from then on nothing more is signed in that log (`server_put_back`): two trees under
 * one name would be a fork. A restore (`admin/restore-logs.ts`) begins the log that goes on. Receipts beyond the end of a
 * log that has such a successor are kept as evidence of what was lost, and of who may have it still.
 */
import {
  base64,
  type Checkpoint,
  checkProvenLeaf,
  type DeviceStatement,
  type ErrorCode,
  HoldfastError,
  isHoldfastError,
  openSignedCheckpoint,
  parseDeviceLogOrigin,
  parseServerLogOrigin,
  parseStatement,
  type PresentedReceipt,
  type PresentRequest,
  utf8,
} from "@holdfast/core";
import { known as knownDevice } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import { algorithmOf, serverLogOrigin } from "../log/checkpoints.ts";
import type { QuarantineRow, ServerReads, ShardHead } from "../server-store.ts";
import { shownName } from "../store-rows.ts";
import { type KeptEvidence, lostReceiptCode } from "./kept-evidence.ts";
import type { Caller } from "../sync-server.ts";

/** Code of kept checkpoints. */
const putBackCode: ErrorCode = "server_put_back";

/** Throws `caller_unknown`, `server_put_back`. */
export async function present(
  deps: EngineDeps,
  caller: Caller,
  request: PresentRequest,
): Promise<void> {
  const isPutBack = await deps.store.write(caller.tenant, async (tx) => {
    await knownDevice(tx, caller);
    const row = await tx.tenant(caller.tenant);
    const newest = row && (await tx.head(row.shard));
    if (newest === undefined) throw new HoldfastError("caller_unknown");
    const at = deps.clock.now();
    const checkpoint = openOwn(deps, request.checkpoint);
    const log = checkpoint && (await logBeyond(deps, tx, newest, checkpoint));
    if (log !== undefined) {
      const { tenant, device, incarnation } = caller;
      const note = request.checkpoint;
      const kept = { tenant, device, incarnation, code: putBackCode, note, from: log, at };
      await tx.addQuarantine({ ...kept, bytes: shownName(newest.shard, log) });
    }
    const rows = await lostReceipts(deps, tx, caller, request.receipts, at);
    for (const kept of rows) await tx.addQuarantine(kept);
    return log !== undefined;
  });
  if (!isPutBack) return;
  deps.observer.log("error", "server_put_back");
  throw new HoldfastError("server_put_back");
}

function openOwn({ crypto, key }: EngineDeps, note: string): Checkpoint | undefined {
  return openSignedCheckpoint(crypto, note, { algorithm: algorithmOf(key.spki), spki: key.spki });
}

/**
 * Number of the log that must not be signed any more, when the checkpoint shows more than is here: leaves beyond the
 * newest log, another tree than it had at that size, a later log of the shard, or a shard that nobody knows.
 */
async function logBeyond(
  { host }: EngineDeps,
  reads: ServerReads,
  newest: ShardHead,
  { origin, size, root }: Checkpoint,
): Promise<number | undefined> {
  const { shard, log: newestLog, leaves } = newest;
  const log = parseServerLogOrigin(origin)?.log ?? 0;
  if (origin !== serverLogOrigin(host, shard, log)) {
    const known = await reads.shards();
    const isKnown = known.some((one) => origin === serverLogOrigin(host, one.shard, log));
    return isKnown || !origin.startsWith(`${host}/holdfast/`) ? undefined : newestLog;
  }
  if (log !== newestLog) return log > newestLog ? log : undefined;
  if (size > leaves) return log;
  const here = await reads.checkpoint(shard, size);
  return here !== undefined && base64(here.root) !== base64(root) ? log : undefined;
}

/** Receipts that no log here holds, each of a device log of the tenant, and larger than any that was kept of it. */
async function lostReceipts(
  deps: EngineDeps,
  reads: ServerReads,
  { tenant, device: by }: Caller,
  presented: readonly PresentedReceipt[],
  at: number,
): Promise<readonly QuarantineRow[]> {
  const largest = new Map<string, number>();
  for (const row of await reads.quarantineOf(tenant, lostReceiptCode)) {
    const name = `${row.device}/${row.incarnation}`;
    largest.set(name, Math.max(row.from, largest.get(name) ?? 0));
  }
  const rows: QuarantineRow[] = [];
  for (const { receipt, checkpoint: note } of presented) {
    const statement = await openLost(deps, reads, tenant, receipt, note);
    const log = statement && parseDeviceLogOrigin(statement.origin);
    if (statement === undefined || log?.tenant !== tenant) continue;
    const { device, incarnation } = log;
    const name = `${device}/${incarnation}`;
    if (statement.size <= (largest.get(name) ?? 0)) continue;
    largest.set(name, statement.size);
    const held = (await reads.deviceLog(tenant, device, incarnation))?.size ?? 0;
    const { text, index } = receipt;
    const path = receipt.path.map((hash) => base64(hash));
    const kept: KeptEvidence = { by, held, receipt: text, index, path };
    const bytes = utf8(JSON.stringify(kept));
    const code = lostReceiptCode;
    rows.push({ tenant, device, incarnation, code, note, from: statement.size, bytes, at });
  }
  return rows;
}

/** The statement, when this server signed it in a log of the tenant that ends before it. */
async function openLost(
  deps: EngineDeps,
  reads: ServerReads,
  tenant: string,
  receipt: PresentedReceipt["receipt"],
  note: string,
): Promise<DeviceStatement | undefined> {
  const checkpoint = openOwn(deps, note);
  if (checkpoint === undefined || !checkProvenLeaf(deps.crypto, receipt, checkpoint))
    return undefined;
  const ended = (await reads.successions(tenant)).find(
    ({ from }) => serverLogOrigin(deps.host, from.shard, from.log) === checkpoint.origin,
  );
  if (ended === undefined || receipt.index < ended.size) return undefined;
  try {
    const statement = parseStatement(receipt.text);
    return statement.kind === "receipt" ? statement : undefined;
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) return undefined;
    throw error;
  }
}
