/**
 * The server's engine, one module for each thing that it is asked:
 *
 * - `founding/` a device presents a code and becomes one of a tenant; the first founds it,
 * - `ingest/` pushes: `offer.ts` bounds and leaves, `verify-push.ts` signature, root, overlap and fork,
 *   `plan-push.ts` a verdict for each body, `push.ts` the writing,
 * - `log/` the server log: statements, checkpoints, proofs, and how it goes on in another one,
 * - `reading/` pulls, devices, conflicts, grants, the server log,
 * - `shredding/` what is shredded: in force by events, gone in the background, seen by nobody in between,
 * - `admin/` codes, revocation, moving a tenant to another shard.
 *
 * All writing goes through one loop (`write-loop.ts`), which signs a checkpoint in the transaction of each group;
 * all reading is from one committed state. Storage is a port (`server-store.ts`) whose every answer is awaited.
 */
import { base64, type Hello, limits } from "@holdfast/core";
import { addCode, addFoundingCode } from "./admin/codes.ts";
import { listShards, moveTenant } from "./admin/move-tenant.ts";
import { restoreLogs } from "./admin/restore-logs.ts";
import { revoke } from "./admin/revoke.ts";
import type { EngineDeps } from "./engine-deps.ts";
import { enrol } from "./founding/enrol.ts";
import { createOwnNode } from "./founding/own-node.ts";
import { push } from "./ingest/push.ts";
import { algorithmOf } from "./log/checkpoints.ts";
import { listConflicts } from "./reading/conflicts.ts";
import { listDevices } from "./reading/devices.ts";
import { createPutBackTenants } from "./put-back-tenants.ts";
import { proveEpoch } from "./reading/epoch.ts";
import { examineShards } from "./reading/examine.ts";
import { listGrants, sendGrants } from "./reading/grants.ts";
import { listLost } from "./reading/lost.ts";
import { present } from "./reading/present.ts";
import { pull } from "./reading/pull.ts";
import { newestCheckpoint, proveGrowth, proveLeaf, readLeaves } from "./reading/server-log.ts";
import { createShredder } from "./shredding/shredder.ts";
import type { AssertionKey, Caller, SyncServer } from "./sync-server.ts";
import { createWriteLoop, type WriteLoop } from "./write-loop.ts";

/**
 * A server over a store, which stays the caller's to close. Throws `vkey_malformed` for a checkpoint key of no
 * known algorithm.
 */
export function createSyncServer(deps: EngineDeps): SyncServer {
  algorithmOf(deps.key.spki);
  const loop = createWriteLoop({ ...deps, now: () => deps.clock.now() });
  const own = createOwnNode(deps, loop);
  const putBack = createPutBackTenants(deps);
  const shredder = createShredder(deps, loop);
  // What a server that was stopped had not finished.
  shredder.wakeAll();
  const pushing = { own, onShred: shredder.wake };
  return {
    hello: () => Promise.resolve(greet(deps)),
    ready: async () => {
      await deps.store.check();
      await putBack.check();
    },
    enrol: async (request) => enrol(deps, loop, own, request),
    addFoundingCode: async (digest, expires) => addFoundingCode(loop, digest, expires),
    assertionKey: (caller) => assertionKey(deps, caller),
    push: async (caller, request, raw) =>
      putBack.noted(caller.tenant, push(deps, loop, pushing, caller, request, raw)),
    pull: async (caller, request) => pull(deps, caller, request),
    grants: async (caller, after) => listGrants(deps, caller, after),
    sendGrants: async (caller, request) => sendGrants(loop, caller, request),
    devices: async (caller) => listDevices(deps, caller),
    addCode: async (caller, request) => addCode(loop, caller, request),
    revoke: async (caller, request) => revoke(deps, loop, own, caller, request),
    conflicts: async (caller, stream) => listConflicts(deps, caller, stream),
    checkpoint: async (caller, log) => newestCheckpoint(deps, caller, log),
    inclusion: async (caller, request) => proveLeaf(deps, caller, request),
    consistency: async (caller, request) => proveGrowth(deps, caller, request),
    leaves: async (caller, from, to, log) => readLeaves(deps, caller, from, to, log),
    epoch: async (caller, request) => proveEpoch(deps, caller, request),
    present: async (caller, request) =>
      putBack.noted(caller.tenant, present(deps, caller, request)),
    moveTenant: async (request) => moveTenant(deps, loop, own, request),
    restoreLogs: async () => restoreLogs(deps),
    lost: async () => listLost(deps),
    examine: async () => examineShards(deps),
    shards: async () => listShards(deps),
    node: async (tenant) => own.in(tenant),
    watch: (tenant, listener) => watch(deps, loop, tenant, listener),
    onEvents: (listener) => loop.onEvents(listener),
    async close() {
      await shredder.close();
      await loop.close();
    },
  };
}

/** What this process places, it knows at once; of other nodes' events the store tells. */
function watch(
  { store }: EngineDeps,
  loop: WriteLoop,
  tenant: string,
  listener: (head: number) => void,
): () => void {
  let told = 0;
  const tell = (head: number): void => {
    if (head <= told) return;
    told = head;
    listener(head);
  };
  const ends = [
    loop.onEvents((of, head) => {
      if (of === tenant) tell(head);
    }),
    store.watch?.(tenant, tell),
  ];
  return () => {
    for (const end of ends) end?.();
  };
}

function greet({ key, host, reads, clock, greeting }: EngineDeps): Hello {
  return {
    protocol: { oldest: 1, newest: 1 },
    schema: greeting?.schema ?? "",
    key: base64(key.spki),
    host,
    reads,
    encodings: greeting?.encodings ?? [],
    limits: {
      pushBytes: limits.pushBytesMax,
      pushBodies: limits.pushBodiesMax,
      pushLeaves: limits.pushLeavesMax,
      pullEvents: limits.pullEventsMax,
      pullBytes: limits.pullBytesMax,
      eventBytes: limits.eventBytesMax,
    },
    time: clock.now(),
  };
}

function assertionKey({ store }: EngineDeps, caller: Caller): Promise<AssertionKey | undefined> {
  return store.read(caller.tenant, async (reads) => {
    const { tenant, device, incarnation } = caller;
    const row = await reads.device(tenant, device);
    const log = await reads.deviceLog(tenant, device, incarnation);
    if (row === undefined || log === undefined) return undefined;
    const { algorithm, spki } = log;
    return { algorithm, spki, role: row.role, pushOnly: row.status === "revoked" };
  });
}
