/**
 * The listening socket and its bounds: time for headers and for requests, size and number of headers, idle
 * connections, connections of one address. One address that takes too much is cut; the others do not notice.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { addressName } from "./address.ts";
import type { Api } from "./app.ts";

/** Bounds of connections, all from the configuration. */
export interface ListenerBounds {
  readonly headersMs: number;
  readonly requestMs: number;
  readonly idleMs: number;
  readonly keepAliveMs: number;
  readonly headerBytesMax: number;
  readonly headersMax: number;
  readonly addressConnections: number;
}

/** How often Node looks for requests that take too long. */
const checkMs = 1_000;

/** PEM texts. */
export interface TlsFiles {
  readonly certificate: Uint8Array;
  readonly key: Uint8Array;
}

/** A server for the application; it does not listen yet. */
export function createListener(
  api: Pick<Api, "fetch">,
  bounds: ListenerBounds,
  tls?: TlsFiles,
): Server {
  const listener = getRequestListener((request, env) => api.fetch(request, env as never), {
    overrideGlobalObjects: false,
  });
  const options = {
    headersTimeout: bounds.headersMs,
    requestTimeout: bounds.requestMs,
    keepAliveTimeout: bounds.keepAliveMs,
    connectionsCheckingInterval: checkMs,
    maxHeaderSize: bounds.headerBytesMax,
    requireHostHeader: true,
    insecureHTTPParser: false,
  };
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    void listener(incoming, outgoing);
  };
  const server =
    tls === undefined
      ? createServer(options, answer)
      : createTlsServer(
          {
            ...options,
            cert: Buffer.from(tls.certificate),
            key: Buffer.from(tls.key),
            minVersion: "TLSv1.2",
          },
          answer,
        );
  // One more than is allowed: Node leaves out what is beyond, and then nobody could count it.
  server.maxHeadersCount = bounds.headersMax + 1;
  server.setTimeout(bounds.idleMs);
  boundAddresses(server, bounds.addressConnections);
  return server;
}

function boundAddresses(server: Server, most: number): void {
  const open = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const address = addressName(socket.remoteAddress);
    const count = (open.get(address) ?? 0) + 1;
    if (count > most) {
      socket.destroy();
      return;
    }
    open.set(address, count);
    socket.once("close", () => {
      const left = (open.get(address) ?? 1) - 1;
      if (left === 0) open.delete(address);
      else open.set(address, left);
    });
  });
}
