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
  type Bytes,
  type Checkpoint,
  checkProvenLeaf,
  type DeviceStatement,
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
import { lostShardsIn, shownName } from "../store-rows.ts";
import { type KeptEvidence, lostReceiptCode, shownCode } from "./kept-evidence.ts";
import type { Caller } from "../sync-server.ts";

/** Throws `caller_unknown`, `server_put_back`. */
export async function present(
  deps: EngineDeps,
  caller: Caller,
  request: PresentRequest,
): Promise<void> {
  // Signatures first: the writes of the tenant do not wait for them.
  const open = createOpening(deps);
  const checkpoint = open(request.checkpoint);
  const receipts = request.receipts.flatMap((one) => openReceipt(deps, open, caller.tenant, one));
  const isPutBack = await deps.store.write(caller.tenant, async (tx) => {
    await knownDevice(tx, caller);
    const row = await tx.tenant(caller.tenant);
    const newest = row && (await tx.head(row.shard));
    if (newest === undefined) throw new HoldfastError("caller_unknown");
    const at = deps.clock.now();
    const stopped = checkpoint && (await logBeyond(deps, tx, caller.tenant, newest, checkpoint));
    if (stopped !== undefined) {
      const { tenant, device, incarnation } = caller;
      const note = request.checkpoint;
      const { log, bytes } = stopped;
      const kept = { tenant, device, incarnation, code: shownCode, note, from: log, at, bytes };
      await tx.addQuarantine(kept);
    }
    const rows = await lostReceipts(deps, tx, caller, receipts, at);
    for (const kept of rows) await tx.addQuarantine(kept);
    return stopped !== undefined;
  });
  if (!isPutBack) return;
  deps.observer.log("error", "server_put_back");
  throw new HoldfastError("server_put_back");
}

/** Reads a note that this server signed; `undefined`: it did not. */
type Opening = (note: string) => Checkpoint | undefined;

/** Many receipts are proven by one checkpoint: each is looked at once. */
function createOpening({ crypto, key }: EngineDeps): Opening {
  const pinned = { algorithm: algorithmOf(key.spki), spki: key.spki };
  const opened = new Map<string, Checkpoint | undefined>();
  return (note) => {
    if (!opened.has(note)) opened.set(note, openSignedCheckpoint(crypto, note, pinned));
    return opened.get(note);
  };
}

/** What must not be signed any more, and what is kept so that it is not. */
interface Stopped {
  /** Number of the log. */
  readonly log: number;
  readonly bytes: Bytes;
}

/**
 * What is stopped when the checkpoint shows more than is here: leaves beyond the newest log, another tree than it had
 * at that size, a later log of the shard, or a shard that nobody knows. Such a shard was lost for good, and nothing of
 * it says when: a log that has gone on since it was shown has answered for it.
 */
async function logBeyond(
  { host }: EngineDeps,
  reads: ServerReads,
  tenant: string,
  newest: ShardHead,
  { origin, size, root }: Checkpoint,
): Promise<Stopped | undefined> {
  const { shard, log: newestLog, leaves } = newest;
  const named = parseServerLogOrigin(origin);
  const log = named?.log ?? 0;
  const beyond = { log, bytes: shownName(shard, log) };
  if (origin !== serverLogOrigin(host, shard, log)) {
    const known = await reads.shards();
    const isKnown = known.some((one) => origin === serverLogOrigin(host, one.shard, log));
    if (isKnown || named === undefined || !named.shard.startsWith(`${host}/holdfast/`))
      return undefined;
    const lost = named.shard.slice(`${host}/holdfast/`.length);
    const shown = (await reads.quarantineOf(tenant, shownCode)).map(({ bytes }) => bytes);
    if (lostShardsIn(shown, shard, newestLog).has(lost)) return undefined;
    return { log: newestLog, bytes: shownName(shard, newestLog, lost) };
  }
  if (log !== newestLog) return log > newestLog ? beyond : undefined;
  if (size > leaves) return beyond;
  const here = await reads.checkpoint(shard, size);
  return here !== undefined && base64(here.root) !== base64(root) ? beyond : undefined;
}

/** A receipt that this server signed, of a device log of the tenant. */
interface OpenReceipt {
  readonly presented: PresentedReceipt;
  readonly device: string;
  readonly incarnation: string;
  /** Leaves of the device log that it states. */
  readonly size: number;
  /** Origin of the server log that it stands in. */
  readonly origin: string;
}

function openReceipt(
  { crypto }: EngineDeps,
  open: Opening,
  tenant: string,
  presented: PresentedReceipt,
): readonly OpenReceipt[] {
  const { receipt, checkpoint: note } = presented;
  const checkpoint = open(note);
  if (checkpoint === undefined || !checkProvenLeaf(crypto, receipt, checkpoint)) return [];
  const statement = statementIn(receipt.text);
  const log = statement && parseDeviceLogOrigin(statement.origin);
  if (statement?.kind !== "receipt" || log?.tenant !== tenant) return [];
  const { device, incarnation } = log;
  const { size } = statement;
  return [{ presented, device, incarnation, size, origin: checkpoint.origin }];
}

function statementIn(text: string): DeviceStatement | undefined {
  try {
    return parseStatement(text);
  } catch (error) {
    if (isHoldfastError(error, "server_leaf_malformed")) return undefined;
    throw error;
  }
}

/** Receipts that no log here holds, each larger than any that was kept of its device log. */
async function lostReceipts(
  deps: EngineDeps,
  reads: ServerReads,
  { tenant, device: by }: Caller,
  receipts: readonly OpenReceipt[],
  at: number,
): Promise<readonly QuarantineRow[]> {
  if (receipts.length === 0) return [];
  const ends = new Map<string, number>();
  for (const { from, size } of await reads.successions(tenant)) {
    ends.set(serverLogOrigin(deps.host, from.shard, from.log), size);
  }
  const lost = receipts.filter(
    ({ origin, presented }) => presented.receipt.index >= (ends.get(origin) ?? Infinity),
  );
  if (lost.length === 0) return [];
  const largest = new Map<string, number>();
  for (const row of await reads.quarantineOf(tenant, lostReceiptCode)) {
    const name = `${row.device}/${row.incarnation}`;
    largest.set(name, Math.max(row.from, largest.get(name) ?? 0));
  }
  const rows: QuarantineRow[] = [];
  for (const { device, incarnation, size, presented } of lost) {
    const name = `${device}/${incarnation}`;
    if (size <= (largest.get(name) ?? 0)) continue;
    largest.set(name, size);
    const held = (await reads.deviceLog(tenant, device, incarnation))?.size ?? 0;
    const { receipt, checkpoint: note } = presented;
    const { text, index } = receipt;
    const path = receipt.path.map((hash) => base64(hash));
    const kept: KeptEvidence = { by, held, receipt: text, index, path };
    const bytes = utf8(JSON.stringify(kept));
    rows.push({ tenant, device, incarnation, code: lostReceiptCode, note, from: size, bytes, at });
  }
  return rows;
}
