/**
 * The live tail over a WebSocket. Where none can be had (a proxy that knows none, an older server), the tail is
 * opened as server-sent events instead; only a refusal in the protocol's own form is the server's verdict.
 */
import { utf8 } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import { hintShape } from "./codec/error-codec.ts";
import { readJson } from "./codec/json-codec.ts";
import { refusalOf } from "./http-refusal.ts";
import type { SocketPort, SocketRequest } from "./socket-port.ts";
import { tailCloseCodes, tailSubprotocol } from "./tail-wire.ts";
import type { CallOptions, TailListener, Transport } from "./transport.ts";

/** What {@link createSocketTail} needs. */
export interface SocketTailDeps {
  readonly socket: SocketPort;
  /** Address of the tail. */
  readonly url: string;
  /** The tail as server-sent events. */
  readonly events: Transport["tail"];
}

/** Refusals with these would meet server-sent events just the same. */
const verdicts: ReadonlySet<unknown> = new Set([401, 403, 429, 503]);

/** The `tail` of a transport that has sockets. */
export function createSocketTail(deps: SocketTailDeps): Transport["tail"] {
  // An answer instead of a socket is a property of the way there: it is not asked for again.
  const way = { without: false };
  return (listener, options) =>
    way.without ? deps.events(listener, options) : openSocket(deps, way, listener, options);
}

function openSocket(
  { socket, url, events }: SocketTailDeps,
  way: { without: boolean },
  listener: TailListener,
  options: CallOptions,
): () => void {
  let over = false;
  let opened = false;
  let closeEvents: (() => void) | undefined;
  const open = { close: (): void => undefined };
  const close = (): void => {
    over = true;
    open.close();
    closeEvents?.();
  };
  const end = (error: unknown): void => {
    if (over) return;
    close();
    listener.ended(error);
  };
  const hint = (head: number): void => {
    if (!over) listener.hint(head);
  };
  open.close = socket.open(requestOf(url, options), {
    opened() {
      opened = true;
    },
    refused(answer) {
      const error = refusalOf(answer);
      const told = Object.hasOwn(error.details, "request_id");
      if (told && verdicts.has(error.details["status"])) end(error);
      else way.without = true;
    },
    message(text) {
      // Empty: the heartbeat.
      if (over || text === "") return;
      try {
        hint(readJson(hintShape, utf8(text)).head);
      } catch (error) {
        end(isHoldfastError(error) ? malformed(error) : error);
      }
    },
    ended(error, closeCode) {
      if (over) return;
      if (opened) end(closeCode === tailCloseCodes.token ? tokenRefused() : error);
      else if (isHoldfastError(error, "sync_cancelled")) end(error);
      else closeEvents = events({ hint, ended: end }, options);
    },
  });
  // It may have ended before there was anything to close.
  if (over) close();
  return close;
}

function requestOf(url: string, { token, signal }: CallOptions): SocketRequest {
  return {
    url,
    subprotocol: tailSubprotocol,
    ...(token === undefined ? {} : { token }),
    ...(signal === undefined ? {} : { signal }),
    openMs: limits.tailOpenMs,
    silenceMs: limits.tailHeartbeatMs * 3,
    messageBytesMax: limits.tailMessageBytesMax,
  };
}

function tokenRefused(): HoldfastError {
  return new HoldfastError("token_refused", { part: "tail" });
}

function malformed(error: HoldfastError): HoldfastError {
  return new HoldfastError("answer_malformed", { part: "tail", reason: error.code });
}
