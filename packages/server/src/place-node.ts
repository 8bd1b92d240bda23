/** The node's own log: its opening is pushed like any device's, so that devices pull it and may grant to it. */
import { encodePush, type Header, parseHeader, type PushRequest } from "@holdfast/core";
import type { ServerNode } from "./engine/engine-deps.ts";
import type { SyncServer } from "./engine/sync-server.ts";

/**
 * The server, placing its node in each tenant that is founded. Whoever lost the answer of founding presents the
 * code again, and pushing the same again is no change: so a crash in between keeps nothing out.
 */
export function withNodes(
  server: SyncServer,
  nodeFor: (tenant: string) => Promise<ServerNode>,
): SyncServer {
  return {
    ...server,
    async enrol(request) {
      const answer = await server.enrol(request);
      if (answer.founder === answer.device) await placeNode(server, answer.tenant, nodeFor);
      return answer;
    },
  };
}

async function placeNode(
  server: SyncServer,
  tenant: string,
  nodeFor: (tenant: string) => Promise<ServerNode>,
): Promise<void> {
  const { opening, note } = await nodeFor(tenant);
  const { dev: device, inc: incarnation } = parseHeader(opening) as Header;
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
