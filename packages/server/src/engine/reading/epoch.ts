/** How a server log of the caller's tenant went on in another one: what a device needs to follow it. */
import {
  createHashSource,
  type EpochAnswer,
  type EpochRequest,
  HoldfastError,
  invariant,
  proveConsistency,
} from "@holdfast/core";
import { admit } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import { createShardProof, serverLogOrigin } from "../log/checkpoints.ts";
import type { ServerReads } from "../server-store.ts";
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
  return deps.store.read(async (reads) => {
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
      consistency: consistencyOf(deps, reads, step, size),
    };
  });
}

function consistencyOf(
  { crypto }: EngineDeps,
  reads: ServerReads,
  { from, size: last }: { readonly from: { shard: string; log: number }; readonly size: number },
  held: number,
): EpochAnswer["consistency"] {
  if (held === 0 || held >= last) return [];
  const hashOf = createHashSource(crypto, reads.serverTree(from.shard, from.log), last);
  return proveConsistency(crypto, held, last, hashOf);
}
