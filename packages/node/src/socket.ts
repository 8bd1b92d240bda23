/**
 * The `SocketPort` on `ws` rather than on Node's own WebSocket: only there can certificates be set, messages be
 * bounded, compression be left out, and an answer instead of a socket be read.
 */
import {
  HoldfastError,
  type HttpAnswer,
  limits,
  parseServerUrl,
  type SocketListener,
  type SocketPort,
  type SocketRequest,
} from "@holdfast/core";
import { type RawData, WebSocket } from "ws";
import { answerOf, collect, failureOf, type HttpOptions } from "./http.ts";
import type { IncomingMessage } from "node:http";

/** WebSockets for one process. */
export function createNodeSocket(options: HttpOptions = {}): SocketPort {
  const trusted = options.certificates === undefined ? {} : { ca: options.certificates };
  return {
    open: (request, listener) => openSocket(request, listener, trusted),
  };
}

/** Room for the close frame of the other side. */
const closeMs = 1_000;

function openSocket(
  request: SocketRequest,
  listener: SocketListener,
  trusted: { readonly ca?: string },
): () => void {
  let over = false;
  let socket: WebSocket | undefined;
  const end = (error: unknown, closeCode?: number): void => {
    if (over) return;
    stop();
    listener.ended(error, closeCode);
  };
  const late = (ms: number) => () => {
    end(new HoldfastError("network_timeout", { ms }));
  };
  let timer = setTimeout(late(request.openMs), request.openMs);
  const cancel = (): void => {
    end(new HoldfastError("sync_cancelled"));
  };
  const stop = (): void => {
    over = true;
    clearTimeout(timer);
    request.signal?.removeEventListener("abort", cancel);
    if (socket?.readyState === WebSocket.OPEN) socket.close();
    else socket?.terminate();
  };
  if (request.signal?.aborted === true) {
    cancel();
    return stop;
  }
  request.signal?.addEventListener("abort", cancel);
  try {
    socket = socketOf(request, trusted);
  } catch (error) {
    end(error);
    return stop;
  }
  socket.on("open", () => {
    if (over) return;
    clearTimeout(timer);
    timer = setTimeout(late(request.silenceMs), request.silenceMs);
    listener.opened();
  });
  socket.on("unexpected-response", (_, incoming) => {
    void refusalIn(incoming).then((answer) => {
      if (over) return;
      listener.refused(answer);
      end(undefined);
    });
  });
  socket.on("ping", () => timer.refresh());
  socket.on("message", (bytes, isBinary) => {
    if (over) return;
    timer.refresh();
    if (isBinary) end(new HoldfastError("answer_malformed", { part: "socket" }));
    else listener.message(textOf(bytes));
  });
  socket.on("error", (error) => {
    end(socketFailure(error));
  });
  socket.on("close", (code) => {
    end(undefined, code);
  });
  return stop;
}

function socketOf(request: SocketRequest, trusted: { readonly ca?: string }): WebSocket {
  const { url, subprotocol, token, messageBytesMax } = request;
  parseServerUrl(url);
  // Named first, because the types of `ws` know no `closeTimeout`.
  const options = {
    ...trusted,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    followRedirects: false,
    maxPayload: messageBytesMax,
    closeTimeout: closeMs,
  };
  return new WebSocket(url.replace(/^http/, "ws"), subprotocol, options);
}

/** What answered instead. Only a refusal has a body worth reading: another answer may go on for ever. */
async function refusalIn(incoming: IncomingMessage): Promise<HttpAnswer> {
  let body: Uint8Array = new Uint8Array();
  try {
    if ((incoming.statusCode ?? 0) >= 400)
      body = await collect(incoming, limits.messageJsonBytesMax);
  } catch {
    // The status still speaks.
  }
  incoming.destroy();
  return answerOf(incoming, body);
}

function textOf(bytes: RawData): string {
  return Buffer.isBuffer(bytes)
    ? bytes.toString("utf8")
    : Buffer.concat([bytes].flat() as Buffer[]).toString();
}

const tooLarge: ReadonlySet<string> = new Set(["WS_ERR_UNSUPPORTED_MESSAGE_LENGTH"]);

/** What does not speak WebSocket is an answer that cannot be read; everything else is the network's. */
function socketFailure(error: Error & { readonly code?: string }): unknown {
  const { code } = error;
  if (code !== undefined && tooLarge.has(code)) return new HoldfastError("answer_too_large");
  if (code === undefined || code.startsWith("WS_ERR_")) {
    return new HoldfastError("answer_malformed", { part: "socket", reason: code ?? "handshake" });
  }
  return failureOf(error);
}
