/**
 * Reading the server logs of the caller's tenant, the newest or a former one: checkpoints, proofs and leaves, for
 * whoever verifies them. A log is named by its origin, or by its shard, whose newest log it then is; what belongs to
 * another tenant looks like what is not there.
 */
import {
  type ConsistencyAnswer,
  type ConsistencyRequest,
  createStoredTree,
  HoldfastError,
  type InclusionAnswer,
  type InclusionRequest,
  invariant,
  type LeavesAnswer,
  proveConsistency,
  proveInclusion,
  type StoredTree,
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import { serverLogOrigin } from "../log/checkpoints.ts";
import type { CheckpointRow, ServerLogName, ServerReads } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";

/** Leaves of one answer. */
const leavesMax = 1_000;

interface CallersLog {
  readonly reads: ServerReads;
  readonly of: ServerLogName;
  readonly newest: CheckpointRow;
}

function inCallersLog<T>(
  deps: EngineDeps,
  caller: Caller,
  named: string | undefined,
  work: (log: CallersLog) => Promise<T> | T,
): Promise<T> {
  return deps.store.read(caller.tenant, async (reads) => {
    await admit(reads, caller);
    const of = await logOf(deps, reads, caller.tenant, named);
    const newest = await reads.checkpoint(of.shard, undefined, of.log);
    invariant(newest !== undefined, "a server log has a checkpoint");
    return work({ reads, of, newest });
  });
}

/** Throws `not_found`. */
async function logOf(
  { host }: EngineDeps,
  reads: ServerReads,
  tenant: string,
  named: string | undefined,
): Promise<ServerLogName> {
  const row = await reads.tenant(tenant);
  invariant(row !== undefined, "a device is of a tenant that is there");
  const newest = await reads.head(row.shard);
  if (named === undefined) return newest;
  const logs = [...(await reads.successions(tenant)).map(({ from }) => from), newest];
  const found = logs.findLast(
    ({ shard, log }) => shard === named || serverLogOrigin(host, shard, log) === named,
  );
  if (found === undefined) throw new HoldfastError("not_found");
  return found;
}

function treeOf(
  { crypto }: EngineDeps,
  reads: ServerReads,
  { shard, log }: ServerLogName,
  size: number,
): StoredTree {
  return createStoredTree(crypto, size, (spans) => reads.serverHashes(shard, spans, log));
}

/** Throws `not_found` for a log that is none of the caller's tenant, as all of these do. */
export function newestCheckpoint(
  deps: EngineDeps,
  caller: Caller,
  log?: string,
): Promise<{ readonly checkpoint: string }> {
  return inCallersLog(deps, caller, log, ({ newest }) => ({ checkpoint: newest.note }));
}

/** Throws `request_malformed` beyond the newest checkpoint. */
export function proveLeaf(
  deps: EngineDeps,
  caller: Caller,
  { index, size, log }: InclusionRequest,
): Promise<InclusionAnswer> {
  return inCallersLog(deps, caller, log, async ({ reads, of, newest }) => {
    holdTo(size, 1, newest.size, "size");
    holdTo(index, 0, size - 1, "index");
    const [text] = await reads.serverLeaves(of.shard, index, index + 1, of.log);
    invariant(text !== undefined, "a leaf below the checkpoint is there");
    const path = await treeOf(deps, reads, of, size).prove((by, hashOf) =>
      proveInclusion(by, index, size, hashOf),
    );
    return { leaf: { text, index, path } };
  });
}

/** Throws `request_malformed` beyond the newest checkpoint. */
export function proveGrowth(
  deps: EngineDeps,
  caller: Caller,
  { before, size, log }: ConsistencyRequest,
): Promise<ConsistencyAnswer> {
  return inCallersLog(deps, caller, log, async ({ reads, of, newest }) => {
    holdTo(size, 1, newest.size, "size");
    holdTo(before, 1, size, "before");
    const path = await treeOf(deps, reads, of, size).prove((by, hashOf) =>
      proveConsistency(by, before, size, hashOf),
    );
    return { path };
  });
}

/** Leaves [from, to) below the newest checkpoint, at most 1,000. Throws `request_malformed`. */
export function readLeaves(
  deps: EngineDeps,
  caller: Caller,
  from: number,
  to: number,
  log?: string,
): Promise<LeavesAnswer> {
  return inCallersLog(deps, caller, log, async ({ reads, of, newest }) => {
    holdTo(from, 0, newest.size, "from");
    holdTo(to, from, Number.MAX_SAFE_INTEGER, "to");
    const end = Math.min(to, newest.size, from + leavesMax);
    return { leaves: await reads.serverLeaves(of.shard, from, end, of.log) };
  });
}

function holdTo(value: number, least: number, most: number, part: string): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw new HoldfastError("request_malformed", { part });
  }
}
