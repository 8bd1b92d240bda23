/**
 * The live tail in a run. The server's side is the real one; between it and a device stands the network, where
 * hints are late, overtake each other, come twice or not at all. A stream whose other end died is noticed when
 * the network says so, or by its silence.
 */
import {
  HoldfastError,
  type HttpAnswer,
  type HttpRequest,
  type HttpStreamListener,
} from "@holdfast/core";
import { openEventTail, type SyncServer, type Tokens } from "@holdfast/server/engine";
import type { SimProcess } from "./sim-process.ts";

/** What a server tells of a stream that it was asked for. */
export interface StreamEnds {
  refused(error: unknown): void;
  chunk(bytes: Uint8Array): void;
  /** Nothing more comes. */
  ended(): void;
}

/** Serves a tail as one process of a server; the returned function is called when the reader has gone. */
export function serveTail(
  at: { readonly process: SimProcess; readonly server: SyncServer; readonly tokens: Tokens },
  request: HttpRequest,
  ends: StreamEnds,
): () => void {
  const { process, server, tokens } = at;
  const { clock, timers } = process;
  const reader = { cancel: (): void => undefined };
  let gone = false;
  process.atDeath(() => {
    if (!gone) ends.ended();
  });
  tokens.admit([request.headers["authorization"] ?? ""]).then(
    (caller) => {
      if (gone || !process.alive) return;
      const stream = openEventTail(
        { server, clock, timers },
        caller,
        () => undefined,
      ).body.getReader();
      reader.cancel = () => void stream.cancel();
      const pump = async (): Promise<void> => {
        const { done, value } = await stream.read();
        process.deliver("tail", () => {
          if (gone) return;
          if (done) ends.ended();
          else {
            ends.chunk(value);
            void pump();
          }
        });
      };
      void pump();
    },
    (error: unknown) => {
      process.deliver("tail", () => {
        ends.refused(error);
      });
    },
  );
  return () => {
    gone = true;
    reader.cancel();
  };
}

/** How a device hears of one stream; nothing is told after its end. */
export interface StreamHearing {
  chunk(bytes: Uint8Array): void;
  refused(answer: HttpAnswer): void;
  ended(error: unknown): void;
  /** The device has closed it. */
  close(): void;
}

/** The device's end: a stream that is silent for too long has ended. `left`: the network gives it up. */
export function hearStream(
  process: SimProcess,
  request: HttpRequest,
  listener: HttpStreamListener,
  left: () => void,
): StreamHearing {
  let over = false;
  let stopTimer = (): void => undefined;
  const finish = (): boolean => {
    if (over) return false;
    over = true;
    stopTimer();
    left();
    return true;
  };
  const ended = (error: unknown): void => {
    if (finish()) listener.ended(error);
  };
  const listen = (): void => {
    stopTimer();
    stopTimer = process.timers.after(request.timeoutMs, () => {
      ended(new HoldfastError("network_timeout"));
    });
  };
  listen();
  process.atDeath(finish);
  const deliver = (run: () => void): void => {
    process.deliver("net", () => {
      if (!over) run();
    });
  };
  return {
    chunk(bytes) {
      deliver(() => {
        listen();
        listener.chunk(bytes);
      });
    },
    refused(answer) {
      deliver(() => {
        if (!finish()) return;
        listener.refused(answer);
        listener.ended(undefined);
      });
    },
    ended(error) {
      deliver(() => {
        ended(error);
      });
    },
    close() {
      finish();
    },
  };
}
