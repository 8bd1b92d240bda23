/** Reading the server log of the caller's shard: checkpoints, proofs and leaves, for whoever verifies it. */
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
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import type { CheckpointRow, ServerReads } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";

/** Leaves of one answer. */
const leavesMax = 1_000;

interface CallersLog {
  readonly reads: ServerReads;
  readonly shard: string;
  readonly newest: CheckpointRow;
}

function inCallersLog<T>(
  { store }: EngineDeps,
  caller: Caller,
  work: (log: CallersLog) => Promise<T> | T,
): Promise<T> {
  return store.read(caller.tenant, async (reads) => {
    await admit(reads, caller);
    const row = await reads.tenant(caller.tenant);
    const newest = row === undefined ? undefined : await reads.checkpoint(row.shard);
    invariant(row !== undefined && newest !== undefined, "a tenant has a checkpoint");
    return work({ reads, shard: row.shard, newest });
  });
}

export function newestCheckpoint(
  deps: EngineDeps,
  caller: Caller,
): Promise<{ readonly checkpoint: string }> {
  return inCallersLog(deps, caller, ({ newest }) => ({ checkpoint: newest.note }));
}

/** Throws `request_malformed` beyond the newest checkpoint. */
export function proveLeaf(
  deps: EngineDeps,
  caller: Caller,
  { index, size }: InclusionRequest,
): Promise<InclusionAnswer> {
  return inCallersLog(deps, caller, async ({ reads, shard, newest }) => {
    holdTo(size, 1, newest.size, "size");
    holdTo(index, 0, size - 1, "index");
    const [text] = await reads.serverLeaves(shard, index, index + 1);
    invariant(text !== undefined, "a leaf below the checkpoint is there");
    const tree = createStoredTree(deps.crypto, size, (spans) => reads.serverHashes(shard, spans));
    const path = await tree.prove((by, hashOf) => proveInclusion(by, index, size, hashOf));
    return { leaf: { text, index, path } };
  });
}

/** Throws `request_malformed` beyond the newest checkpoint. */
export function proveGrowth(
  deps: EngineDeps,
  caller: Caller,
  { before, size }: ConsistencyRequest,
): Promise<ConsistencyAnswer> {
  return inCallersLog(deps, caller, async ({ reads, shard, newest }) => {
    holdTo(size, 1, newest.size, "size");
    holdTo(before, 1, size, "before");
    const tree = createStoredTree(deps.crypto, size, (spans) => reads.serverHashes(shard, spans));
    return { path: await tree.prove((by, hashOf) => proveConsistency(by, before, size, hashOf)) };
  });
}

/** Leaves [from, to) below the newest checkpoint, at most 1,000. Throws `request_malformed`. */
export function readLeaves(
  deps: EngineDeps,
  caller: Caller,
  from: number,
  to: number,
): Promise<LeavesAnswer> {
  return inCallersLog(deps, caller, async ({ reads, shard, newest }) => {
    holdTo(from, 0, newest.size, "from");
    holdTo(to, from, Number.MAX_SAFE_INTEGER, "to");
    const end = Math.min(to, newest.size, from + leavesMax);
    return { leaves: await reads.serverLeaves(shard, from, end) };
  });
}

function holdTo(value: number, least: number, most: number, part: string): void {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw new HoldfastError("request_malformed", { part });
  }
}
