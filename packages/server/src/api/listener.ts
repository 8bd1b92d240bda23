/**
 * The listening socket and its bounds: time for headers and for requests, size and number of headers, idle
 * connections, connections of one address. One address that takes too much is cut; the others do not notice.
 */
import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { base64url, type ErrorCode, HoldfastError } from "@holdfast/core";
import { getRequestListener, RequestError } from "@hono/node-server";
import { addressName } from "./address.ts";
import { refusalAnswer, writeAnswer } from "./answers.ts";
import type { Api } from "./app.ts";
import { refusalFor } from "./status.ts";
import { asksForTail } from "./upgrade.ts";

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
  api: Pick<Api, "fetch" | "upgrade">,
  bounds: ListenerBounds,
  tls?: TlsFiles,
): Server {
  const listener = getRequestListener((request, env) => api.fetch(request, env as never), {
    overrideGlobalObjects: false,
    // Before the application sees it: an address, or a name of the host, that is none.
    errorHandler: (error) =>
      refusal(error instanceof RequestError ? "message_malformed" : "server_failed"),
  });
  const options = {
    headersTimeout: bounds.headersMs,
    requestTimeout: bounds.requestMs,
    keepAliveTimeout: bounds.keepAliveMs,
    connectionsCheckingInterval: checkMs,
    maxHeaderSize: bounds.headerBytesMax,
    // A request without a host is refused below, with a code like any other.
    requireHostHeader: false,
    insecureHTTPParser: false,
    // Whatever else somebody would upgrade to is passed over (RFC 9110 §7.8).
    shouldUpgradeCallback: asksForTail,
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
  // What is expected of the answer changes nothing: RFC 9110 §10.1.1 lets a server pass over it.
  server.on("checkExpectation", answer);
  server.on("upgrade", (incoming, socket, head) => {
    void api.upgrade(incoming, socket as Socket, head);
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    void refuseUnread(error, socket as Socket);
  });
  // One more than is allowed: Node leaves out what is beyond, and then nobody could count it.
  server.maxHeadersCount = bounds.headersMax + 1;
  server.setTimeout(bounds.idleMs);
  boundAddresses(server, bounds.addressConnections);
  return server;
}

/** Codes of Node for what its parser refuses; everything else is a malformed request. */
const unreadCodes: Readonly<Record<string, ErrorCode>> = {
  HPE_HEADER_OVERFLOW: "headers_too_many",
  ERR_HTTP_REQUEST_TIMEOUT: "request_timeout",
};

function refusal(code: ErrorCode): Response {
  return refusalAnswer(base64url(randomBytes(12)), refusalFor(new HoldfastError(code)));
}

/** A request that the parser could not read, or that did not come in time, is refused like any other: by a code. */
async function refuseUnread(error: NodeJS.ErrnoException, socket: Socket): Promise<void> {
  // An answer that has begun cannot be another one.
  const begun = (socket as { readonly _httpMessage?: ServerResponse | null })._httpMessage;
  if (!socket.writable || error.code === "ECONNRESET" || begun?.headersSent === true) {
    socket.destroy();
    return;
  }
  await writeAnswer(socket, refusal(unreadCodes[error.code ?? ""] ?? "message_malformed"));
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
