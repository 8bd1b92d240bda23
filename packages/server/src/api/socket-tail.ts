/**
 * The live tail over a WebSocket (RFC 6455): a hint is a text message, the heartbeat an empty one beside a ping,
 * whose pong says that the reader reads. The reader sends nothing: whoever does is let go.
 */
import { fromUtf8, hintShape, tailCloseCodes, writeJson } from "@holdfast/core";
import type { WebSocket } from "ws";
import { feedTail, type Tail, type TailDeps } from "./tail.ts";
import type { Admitted } from "./tokens.ts";

/** As much of a WebSocket as a tail uses. */
export type TailSocket = Pick<WebSocket, "bufferedAmount" | "send" | "ping" | "close" | "on">;

/** Tells of the caller's tenant until the token expires; `ended` is called once. */
export function openSocketTail(
  deps: TailDeps,
  caller: Admitted,
  socket: TailSocket,
  ended: () => void,
): Tail {
  let isAnswered = true;
  const ready = (): boolean => socket.bufferedAmount === 0;
  const sent = (): void => {
    feed.flush();
  };
  const wire = {
    ready,
    isRead: () => isAnswered && ready(),
    hint(head: number): void {
      socket.send(fromUtf8(writeJson(hintShape, { head })), sent);
    },
    heartbeat(): void {
      isAnswered = false;
      socket.ping();
      socket.send("", sent);
    },
    end(why: keyof typeof tailCloseCodes): void {
      socket.close(tailCloseCodes[why]);
    },
  };
  const feed = feedTail(deps, caller, wire, ended);
  socket.on("pong", () => {
    isAnswered = true;
  });
  socket.on("message", () => {
    feed.left();
    socket.close(tailCloseCodes.spoke);
  });
  socket.on("error", feed.left);
  socket.on("close", feed.left);
  return feed;
}
