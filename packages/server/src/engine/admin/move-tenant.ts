/** Moving a tenant to another shard, and the shards that there are: acts of the operator, not of any device. */
import { base64url, HoldfastError, isHoldfastError } from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import type { OwnNode } from "../founding/own-node.ts";
import { serverLogOrigin } from "../log/checkpoints.ts";
import { beginNextLog } from "../log/succession.ts";
import type { ShardRow } from "../server-store.ts";
import type { WriteLoop } from "../write-loop.ts";

/** Which tenant, and the name of its new shard; default: one made from chance. */
export interface MoveRequest {
  readonly tenant: string;
  readonly shard?: string;
}

/** What was sealed, and what goes on for it. */
export interface MoveAnswer {
  readonly tenant: string;
  /** Origin of the log that was sealed, and its leaves. */
  readonly sealed: { readonly log: string; readonly size: number };
  /** Origin of the log that goes on for it. */
  readonly log: string;
  /** Device logs that were stated again there. */
  readonly deviceLogs: number;
}

const shardName = /^[A-Za-z0-9_-]{1,64}$/;

/** Throws `tenant_unknown`, `shard_taken`. What is under way lands wholly before the move or wholly after it. */
export async function moveTenant(
  deps: EngineDeps,
  loop: WriteLoop,
  own: OwnNode,
  { tenant, shard }: MoveRequest,
): Promise<MoveAnswer> {
  // In its turn among the calls of this moment, as a push is.
  const known = own.in(tenant);
  const node = typeof known === "string" ? known : await nodeIn(known);
  const to = shard ?? base64url(deps.random.bytes(16));
  return loop.submit<MoveAnswer>({
    tenant,
    bytes: 0,
    alone: true,
    async judge(reads) {
      const row = await reads.tenant(tenant);
      if (row === undefined) throw new HoldfastError("tenant_unknown");
      const taken = (await reads.shards()).some((each) => each.shard === to);
      if (taken || !shardName.test(to)) throw new HoldfastError("shard_taken");
      return async (tx) => {
        const now = (): number => deps.clock.now();
        const begun = await beginNextLog({ ...deps, now }, tx, row, {
          to: { shard: to, log: 1 },
          node,
        });
        const { from, logs } = begun;
        const log = serverLogOrigin(deps.host, from.shard, from.log);
        return () => {
          deps.observer.log("info", "server_tenant_moved");
          return {
            tenant,
            sealed: { log, size: from.last.size },
            log: serverLogOrigin(deps.host, to, 1),
            deviceLogs: logs,
          };
        };
      };
    },
  });
}

/** Device id of the node that states it. Throws `tenant_unknown`, also for what is no tenant's id. */
async function nodeIn(enrolled: ReturnType<OwnNode["in"]>): Promise<string> {
  try {
    return await enrolled;
  } catch (error) {
    const unknown = ["caller_unknown", "request_malformed"] as const;
    if (!unknown.some((code) => isHoldfastError(error, code))) throw error;
    throw new HoldfastError("tenant_unknown", {}, { cause: error });
  }
}

/** Every shard, sealed ones included. */
export async function listShards({ store }: EngineDeps): Promise<readonly ShardRow[]> {
  return store.read(undefined, (reads) => reads.shards());
}
