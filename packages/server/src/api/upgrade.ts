/**
 * Requests for a WebSocket: the live tail, and nothing else. They pass the same gate as every request and are
 * refused in the same form. The token comes as Authorization or, from where nobody can set headers, as an offered
 * subprotocol; never in the address, which others log.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { bearerSubprotocol, HoldfastError, limits, tailSubprotocol } from "@holdfast/core";
import { WebSocketServer } from "ws";
import { writeAnswer } from "./answers.ts";
import { readQuery } from "./query.ts";
import { tailRoute } from "./routes.ts";
import { openSocketTail } from "./socket-tail.ts";
import type { Tail, TailDeps } from "./tail.ts";
import type { Admitted } from "./tokens.ts";

/** What stands around an upgrade. */
export interface UpgradeDeps extends TailDeps {
  /** Counts the request in; what it returns counts it out. Throws refusals. */
  readonly enter: (incoming: IncomingMessage) => () => void;
  readonly admitted: (authorization: readonly string[]) => Promise<Admitted>;
  /** Opens a tail within the device's bound. */
  readonly openTail: <T extends Tail>(
    caller: Admitted,
    open: (ended: () => void) => T,
  ) => Promise<T>;
  readonly opened: () => void;
  readonly refuse: (error: unknown) => Response;
}

/** Takes over a socket whose request asked for a WebSocket. */
export type Upgrade = (incoming: IncomingMessage, socket: Socket, head: Buffer) => Promise<void>;

/** Time that a reader has to answer a close frame. */
const closeMs = 2_000;
/** Time that a refused caller has to take the refusal. */
const refusedMs = 1_000;

// Named first, because the types of `ws` know no `closeTimeout`.
const socketOptions = {
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  maxPayload: limits.tailMessageBytesMax,
  closeTimeout: closeMs,
  handleProtocols: () => tailSubprotocol,
};

/** Is it a request that {@link createUpgrade} answers? Any other is answered as if it had not asked. */
export function asksForTail({ method, url = "", headers }: IncomingMessage): boolean {
  const path = url.split("?")[0];
  return (
    method === "GET" && path === tailRoute.path && headers.upgrade?.toLowerCase() === "websocket"
  );
}

/** The handler of upgrades. */
export function createUpgrade(deps: UpgradeDeps): Upgrade {
  const sockets = new WebSocketServer(socketOptions);
  // What `ws` finds wrong with the handshake is refused like anything else, below.
  sockets.on("wsClientError", () => undefined);

  const open = (
    incoming: IncomingMessage,
    socket: Socket,
    head: Buffer,
    caller: Admitted,
  ): Promise<Tail> =>
    deps.openTail(caller, (ended) => {
      let tail: Tail | undefined;
      sockets.handleUpgrade(incoming, socket, head, (webSocket) => {
        tail = openSocketTail(deps, caller, webSocket, ended);
      });
      if (tail === undefined) throw malformed("handshake");
      return tail;
    });

  return async (incoming, socket, head) => {
    socket.on("error", () => undefined);
    try {
      const leave = deps.enter(incoming);
      socket.once("close", leave);
      if (socket.destroyed) leave();
      readQuery(tailRoute, (incoming.url ?? "").slice(tailRoute.path.length));
      const caller = await deps.admitted(authorizationOf(incoming));
      await open(incoming, socket, head, caller);
      deps.opened();
    } catch (error) {
      const answer = deps.refuse(error);
      socket.setTimeout(refusedMs, () => socket.destroy());
      await writeAnswer(socket, answer);
    }
  };
}

function malformed(part: string): HoldfastError {
  return new HoldfastError("message_malformed", { part });
}

/** The token as a header would bring it. Throws `message_malformed` where the subprotocol is not offered. */
function authorizationOf({ headersDistinct: headers }: IncomingMessage): readonly string[] {
  const offered = (headers["sec-websocket-protocol"] ?? [])
    .flatMap((line) => line.split(","))
    .map((name) => name.trim());
  if (!offered.includes(tailSubprotocol)) throw malformed("sec-websocket-protocol");
  const tokens = offered
    .filter((name) => name.startsWith(bearerSubprotocol))
    .map((name) => `Bearer ${name.slice(bearerSubprotocol.length)}`);
  return [...(headers["authorization"] ?? []), ...tokens];
}
