/**
 * The door to WebSockets: as much of them as the live tail needs, in words of no platform. Node:
 * `packages/node/src/socket.ts`.
 *
 * An implementation refuses plaintext to other machines (`transport_insecure`), follows no redirect, offers no
 * compression, bounds each message, and answers pings. It fails with `network_unreachable`, `network_timeout`,
 * `sync_cancelled`, `answer_too_large`, `answer_malformed` and nothing else.
 */
import type { HttpAnswer } from "./http-port.ts";
import type { AbortSignalLike } from "./transport.ts";

/** One socket to open. */
export interface SocketRequest {
  /** With the scheme of HTTP. */
  readonly url: string;
  /** Offered to the server, which must take it. */
  readonly subprotocol: string;
  /** Sent as Authorization where the platform lets it, else offered as a subprotocol (`bearerSubprotocol`). */
  readonly token?: string;
  readonly signal?: AbortSignalLike;
  /** Time until it is open. */
  readonly openMs: number;
  /** The longest silence afterwards. */
  readonly silenceMs: number;
  readonly messageBytesMax: number;
}

/** Told of a socket: `refused`, or `opened` and messages; then `ended`, once. Nothing once it was closed. */
export interface SocketListener {
  opened(): void;
  /** An HTTP answer instead of a socket; where a platform does not show it, it ends unopened. */
  refused(answer: HttpAnswer): void;
  /** Text; anything else is `answer_malformed`. */
  message(text: string): void;
  /** `closeCode` of the other side, where there was one; else why it ended. */
  ended(error: unknown, closeCode?: number): void;
}

/** Sockets that bring messages. */
export interface SocketPort {
  /** The returned function closes the socket. */
  open(request: SocketRequest, listener: SocketListener): () => void;
}
