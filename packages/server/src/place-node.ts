/** The node's own logs: their openings are pushed like any device's, so that devices pull them and may grant. */
import { encodePush, type Header, parseHeader, type PushRequest } from "@holdfast/core";
import type { ServerStore } from "./engine/server-store.ts";
import type { SyncServer } from "./engine/sync-server.ts";
import type { NodeKeys } from "./node-keys.ts";

/** Tenants that are remembered; an older one costs a push that changes nothing. */
const placedMax = 100_000;

/**
 * The server, placing its node in each tenant before it takes the first push there. Pushing the same again is no
 * change: so a crash in between keeps nothing out, and a tenant may be met by a node any number of times.
 */
export function withNodes(server: SyncServer, store: ServerStore, keys: NodeKeys): SyncServer {
  const placed = new Map<string, Promise<void>>();
  const place = (tenant: string): Promise<void> => {
    const found = placed.get(tenant);
    if (found !== undefined) return found;
    const made = placeNode(server, store, keys, tenant);
    if (placed.size >= placedMax) placed.delete(placed.keys().next().value ?? "");
    placed.set(tenant, made);
    made.catch(() => placed.delete(tenant));
    return made;
  };
  return {
    ...server,
    async enrol(request) {
      const answer = await server.enrol(request);
      await place(answer.tenant);
      return answer;
    },
    async push(caller, request, raw) {
      await place(caller.tenant);
      return server.push(caller, request, raw);
    },
  };
}

async function placeNode(
  server: SyncServer,
  store: ServerStore,
  keys: NodeKeys,
  tenant: string,
): Promise<void> {
  const device = await server.node(tenant);
  const log = await store.read(
    tenant,
    async (reads) => (await reads.deviceLogs(tenant, device))[0],
  );
  const { opening, note } = keys.nodeFor(tenant, log?.opening);
  const { inc: incarnation } = parseHeader(opening) as Header;
  const request: PushRequest = {
    device,
    incarnation,
    from: 0,
    note,
    entries: [{ kind: "full", body: { header: opening, frames: [] } }],
    fills: [],
    checkpoint: 0,
  };
  await server.push({ tenant, device, incarnation }, request, encodePush(request));
}
