/**
 * The live tail: server-sent events that say how far the shard has grown. Hints, nothing else: a reader who misses
 * one pulls a little later. A slow reader gets the newest hint once it reads; one that does not read is let go.
 * The stream ends when its token does, and for a device that was revoked at the next heartbeat.
 */
import { type Clock, hintShape, limits, type Timers, utf8, writeJson } from "@holdfast/core";
import type { SyncServer } from "../engine/sync-server.ts";
import type { Admitted } from "./tokens.ts";

/** Ports of {@link openTail}. */
export interface TailDeps {
  readonly server: Pick<SyncServer, "watch" | "checkpoint">;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** One tail: what is sent, and the way to end it. */
export interface Tail {
  readonly body: ReadableStream<Uint8Array>;
  end(): void;
}

const beginning = utf8(": open\n\n");
const heartbeat = utf8(": heartbeat\n\n");
const farewell = utf8("event: end\ndata: {}\n\n");
/** Heartbeats that a reader may leave unread. */
const unreadMax = 3;

function hintBytes(head: number): Uint8Array {
  return Buffer.concat([utf8("event: hint\ndata: "), writeJson(hintShape, { head }), utf8("\n\n")]);
}

/** Tells of the caller's tenant until the token expires; `ended` is called once. */
export function openTail(deps: TailDeps, caller: Admitted, ended: () => void): Tail {
  const { server, clock, timers } = deps;
  let waiting: number | undefined;
  let unread = 0;
  let over = false;
  let controller: ReadableStreamDefaultController<Uint8Array>;
  const stops: (() => void)[] = [];
  const stop = (last?: Uint8Array): void => {
    if (over) return;
    over = true;
    for (const each of stops) each();
    if (last !== undefined) controller.enqueue(last);
    ended();
  };
  const end = (): void => {
    if (over) return;
    stop(farewell);
    controller.close();
  };
  const flush = (): void => {
    if (over || waiting === undefined || (controller.desiredSize ?? 0) <= 0) return;
    controller.enqueue(hintBytes(waiting));
    waiting = undefined;
  };
  const beat = (): void => {
    if (over) return;
    unread = (controller.desiredSize ?? 0) <= 0 ? unread + 1 : 0;
    if (unread > unreadMax) {
      end();
      return;
    }
    if (unread === 0) controller.enqueue(heartbeat);
    // Any question of a reader tells whether the device may still ask.
    void server.checkpoint(caller).catch(end);
    stops.push(timers.after(limits.tailHeartbeatMs, beat, true));
  };
  const body = new ReadableStream<Uint8Array>(
    {
      start(given) {
        controller = given;
        controller.enqueue(beginning);
        const left = Math.max(0, caller.expires - clock.now());
        stops.push(timers.after(left, end, true));
        stops.push(timers.after(limits.tailHeartbeatMs, beat, true));
        stops.push(
          server.watch(caller.tenant, (head) => {
            waiting = Math.max(waiting ?? 0, head);
            flush();
          }),
        );
      },
      pull: flush,
      cancel() {
        stop();
      },
    },
    { highWaterMark: 16 },
  );
  return { body, end };
}
