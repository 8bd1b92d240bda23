/**
 * Revocation: from now on the device reads nothing, and what it records beyond the receipted size of each of its
 * logs is custody outside the shared view. The server log says so.
 */
import { HoldfastError, invariant, noteDigest, type RevokeRequest, rootOf } from "@holdfast/core";
import { admitAdmin } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import type { OwnNode } from "../founding/own-node.ts";
import { statementText } from "../log/statements.ts";
import { grantRecipient } from "../reading/grants.ts";
import type { DeviceLogRow, ServerWrites } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";
import type { WriteLoop } from "../write-loop.ts";

/** Throws `role_insufficient`, `device_unknown`; revoking a revoked device is no change. */
export async function revoke(
  deps: EngineDeps,
  loop: WriteLoop,
  own: OwnNode,
  caller: Caller,
  request: RevokeRequest,
): Promise<void> {
  const { tenant } = caller;
  const node = await own.in(tenant);
  return loop.submit<void>({
    tenant,
    bytes: 0,
    async judge(reads) {
      await admitAdmin(reads, caller);
      const device = await reads.device(tenant, request.device);
      // Nodes state receipts as devices of their own, enrolled by no code: those are not an admin's to revoke.
      if (device === undefined || device.code === undefined) {
        throw new HoldfastError("device_unknown");
      }
      const logs = await reads.deviceLogs(tenant, request.device);
      return async (tx) => {
        if (device.status === "active")
          await end(deps, tx, { tenant, device: request.device, logs, node });
        return () => undefined;
      };
    },
  });
}

interface Ended {
  readonly tenant: string;
  readonly device: string;
  readonly logs: readonly DeviceLogRow[];
  /** Device id of the node that states it. */
  readonly node: string;
}

async function end(
  deps: EngineDeps,
  tx: ServerWrites,
  { tenant, device, logs, node }: Ended,
): Promise<void> {
  const row = await tx.tenant(tenant);
  invariant(row !== undefined, "a device is of a tenant that is there");
  await tx.revokeDevice(tenant, device);
  const received = deps.clock.now();
  for (const log of logs) {
    await tx.dropGrants(tenant, grantRecipient(log));
    const text = statementText(deps.crypto, {
      kind: "revoke",
      tenant,
      device,
      incarnation: log.incarnation,
      size: log.size,
      root: rootOf(deps.crypto, log.range),
      note: noteDigest(deps.crypto, log.note ?? ""),
      owed: log.owed,
      received,
      node,
    });
    const revocation = await tx.addServerLeaves(row.shard, [text]);
    const ended = { ...log, cutoff: log.size, revocation };
    await tx.extendDeviceLog(tenant, ended, log.size, []);
  }
  deps.observer.count("server_revocations", 1);
}
