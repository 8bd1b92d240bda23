/**
 * A database that was put back to an older copy: the newest log of every shard goes on in a later one, whose first leaf
 * names the last checkpoint that the copy can prove. Devices that hold more follow it by that leaf, take back what the
 * server lost, and push it again.
 *
 * The number of the log that goes on is taken from the clock, in seconds, unless a greater one is known: the same copy
 * may be put back twice, and two logs of one name would be a fork. Each tenant is one transaction; a tenant whose log
 * was begun like this and has nothing in it yet is left as it is, so that an act that was interrupted is done again from
 * the beginning.
 */
import { invariant } from "@holdfast/core";
import type { EngineDeps } from "../engine-deps.ts";
import { keepCheckpoint, serverLogOrigin } from "../log/checkpoints.ts";
import { beginNextLog } from "../log/succession.ts";
import { proveNewest } from "../reading/examine.ts";
import type { DeviceLogRow, ServerWrites, ShardHead, TenantRow } from "../server-store.ts";

/** How the log of one tenant goes on. */
export interface RestoredLog {
  readonly tenant: string;
  /** `begun` by this act, or `already` by an earlier one and unused since. */
  readonly status: "begun" | "already";
  /** Origin of the log that the copy ended with, and the size of its last checkpoint. */
  readonly last: { readonly log: string; readonly size: number };
  /** Origin of the log that goes on for it. */
  readonly log: string;
  /** Last position that an event has in the copy. */
  readonly events: number;
}

/** Throws `server_log_unproven` for leaves that do not make the tree of their checkpoint; nothing of that tenant is changed. */
export async function restoreLogs(deps: EngineDeps): Promise<readonly RestoredLog[]> {
  const shards = await deps.store.read(undefined, (reads) => reads.shards());
  const restored: RestoredLog[] = [];
  for (const { tenant, sealed } of shards) {
    if (sealed) continue;
    restored.push(await deps.store.write(tenant, (tx) => restoreLog(deps, tx, tenant)));
  }
  return restored;
}

async function restoreLog(
  deps: EngineDeps,
  tx: ServerWrites,
  tenant: string,
): Promise<RestoredLog> {
  const row = await tx.tenant(tenant);
  invariant(row !== undefined, "a shard that is listed has its tenant");
  const head = await tx.head(row.shard);
  const shown = await tx.shownLog(row.shard);
  const step = (await tx.successions(tenant)).at(-1);
  const { host } = deps;
  if (step !== undefined && shown < head.log && (await isUnused(tx, row, head))) {
    const { from, size } = step;
    return {
      tenant,
      status: "already",
      last: { log: serverLogOrigin(host, from.shard, from.log), size },
      log: serverLogOrigin(host, row.shard, head.log),
      events: head.events,
    };
  }
  await proveNewest(deps, tx, head);
  const to = { shard: row.shard, log: nextLog(head.log, shown, deps.clock.now()) };
  const now = (): number => deps.clock.now();
  const begun = await beginNextLog({ ...deps, now }, tx, row, { to, node: row.node });
  await keepCheckpoint({ ...deps, now }, tx, row.shard);
  deps.observer.log("warn", "server_log_restored");
  return {
    tenant,
    status: "begun",
    last: { log: serverLogOrigin(host, head.shard, head.log), size: begun.from.last.size },
    log: serverLogOrigin(host, to.shard, to.log),
    events: head.events,
  };
}

/** A number that no log of the shard has had, known here or not. */
export function nextLog(newest: number, shown: number, now: number): number {
  return Math.max(newest + 1, shown + 1, Math.floor(now / 1_000));
}

/** Was the log begun by a restore, and does it hold nothing but what it began with? */
async function isUnused(
  tx: ServerWrites,
  { tenant, shard }: TenantRow,
  head: ShardHead,
): Promise<boolean> {
  const step = (await tx.successions(tenant)).at(-1);
  const isRestored = step?.from.shard === shard && step.to.log === head.log;
  if (!isRestored) return false;
  const logs = await tx.deviceLogs(tenant);
  return head.leaves === logs.reduce((sum, log) => sum + statementsOf(log), 1);
}

function statementsOf({ receipt, revocation }: DeviceLogRow): number {
  return 1 + (receipt === undefined ? 0 : 1) + (revocation === undefined ? 0 : 1);
}
