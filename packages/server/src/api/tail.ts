/**
 * The live tail: hints that say how far the shard has grown, and nothing else: a reader who misses one pulls a
 * little later. A slow reader gets the newest hint once it reads; one that does not read is let go. A tail ends
 * when its token does, and for a device that was revoked at the next heartbeat.
 *
 * What carries the hints is a {@link TailWire}: server-sent events (`event-tail.ts`) or a WebSocket
 * (`socket-tail.ts`). Both are tails of the device, bounded together.
 */
import { type Clock, limits, type Timers } from "@holdfast/core";
import type { SyncServer } from "../engine/sync-server.ts";
import type { Admitted } from "./tokens.ts";

/** Ports of a tail. */
export interface TailDeps {
  readonly server: Pick<SyncServer, "watch" | "checkpoint">;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Why the server ends a tail: its token is used up, its reader does not read, the server stops. */
export type TailEnd = "token" | "unread" | "stopping";

/** One tail that is open. */
export interface Tail {
  end(why: TailEnd): void;
}

/** What carries the hints of one tail to its reader. */
export interface TailWire {
  /** Would it take a hint now? If not, it calls {@link TailFeed.flush} once it would. */
  ready(): boolean;
  /** Has the reader taken what came before? */
  isRead(): boolean;
  hint(head: number): void;
  heartbeat(): void;
  /** The last word; the wire closes itself. */
  end(why: TailEnd): void;
}

/** The source of one tail. */
export interface TailFeed extends Tail {
  /** The wire takes hints again. */
  flush(): void;
  /** The reader has left. */
  left(): void;
}

/** Heartbeats that a reader may leave unread. */
const unreadMax = 3;

/** Tells the wire of the caller's tenant until the token expires; `ended` is called once. */
export function feedTail(
  { server, clock, timers }: TailDeps,
  caller: Admitted,
  wire: TailWire,
  ended: () => void,
): TailFeed {
  let waiting: number | undefined;
  let unread = 0;
  let over = false;
  let stopBeat: (() => void) | undefined;
  const stops: (() => void)[] = [];
  const left = (): void => {
    if (over) return;
    over = true;
    stopBeat?.();
    for (const stop of stops) stop();
    ended();
  };
  const end = (why: TailEnd): void => {
    if (over) return;
    left();
    wire.end(why);
  };
  const flush = (): void => {
    if (over || waiting === undefined || !wire.ready()) return;
    const head = waiting;
    waiting = undefined;
    wire.hint(head);
  };
  const beat = (): void => {
    if (over) return;
    unread = wire.isRead() ? 0 : unread + 1;
    if (unread > unreadMax) {
      end("unread");
      return;
    }
    if (unread === 0) wire.heartbeat();
    // Any question of a reader tells whether the device may still ask.
    void server.checkpoint(caller).catch(() => {
      end("token");
    });
    stopBeat = timers.after(limits.tailHeartbeatMs, beat, true);
  };
  const expired = (): void => {
    end("token");
  };
  stops.push(timers.after(Math.max(0, caller.expires - clock.now()), expired, true));
  stopBeat = timers.after(limits.tailHeartbeatMs, beat, true);
  stops.push(
    server.watch(caller.tenant, (head) => {
      waiting = Math.max(waiting ?? 0, head);
      flush();
    }),
  );
  return { end, flush, left };
}
