/** How a server log of the caller's tenant went on in another one: what a device needs to follow it. */
import {
  createStoredTree,
  type EpochAnswer,
  type EpochRequest,
  HoldfastError,
  invariant,
  proveConsistency,
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import { createShardProof, serverLogOrigin } from "../log/checkpoints.ts";
import type { ServerReads, SuccessionRow } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";

/** Throws `not_found` for a log of others, for one that is not there, and for one that nothing went on for. */
export function proveEpoch(
  deps: EngineDeps,
  caller: Caller,
  { log, size }: EpochRequest,
): Promise<EpochAnswer> {
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new HoldfastError("request_malformed", { part: "size" });
  }
  return deps.store.read(caller.tenant, async (reads) => {
    await admit(reads, caller);
    const step = (await reads.successions(caller.tenant)).find(
      ({ from }) => serverLogOrigin(deps.host, from.shard, from.log) === log,
    );
    if (step === undefined) throw new HoldfastError("not_found");
    const { from, to } = step;
    const last = await reads.checkpoint(from.shard, step.size, from.log);
    const newest = await reads.checkpoint(to.shard, undefined, to.log);
    invariant(last !== undefined && newest !== undefined, "both logs of a step have checkpoints");
    const proof = createShardProof(deps.crypto, reads, to, newest);
    return {
      epoch: await proof.prove(0),
      checkpoint: newest.note,
      last: last.note,
      consistency: await consistencyOf(deps, reads, step, size),
    };
  });
}

async function consistencyOf(
  { crypto }: EngineDeps,
  reads: ServerReads,
  { from, size: last }: SuccessionRow,
  held: number,
): Promise<EpochAnswer["consistency"]> {
  if (held === 0 || held >= last) return [];
  const { shard, log } = from;
  const tree = createStoredTree(crypto, last, (spans) => reads.serverHashes(shard, spans, log));
  return tree.prove((by, hashOf) => proveConsistency(by, held, last, hashOf));
}
