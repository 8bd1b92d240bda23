/** The live tail as server-sent events (WHATWG HTML §9.2): a hint is an event, a heartbeat a comment. */
import { hintShape, utf8, writeJson } from "@holdfast/core";
import { feedTail, type Tail, type TailDeps, type TailFeed } from "./tail.ts";
import type { Admitted } from "./tokens.ts";

/** A tail with the body of the answer that carries it. */
export interface EventTail extends Tail {
  readonly body: ReadableStream<Uint8Array>;
}

const beginning = utf8(": open\n\n");
const heartbeat = utf8(": heartbeat\n\n");
const farewell = utf8("event: end\ndata: {}\n\n");

function hintBytes(head: number): Uint8Array {
  return Buffer.concat([utf8("event: hint\ndata: "), writeJson(hintShape, { head }), utf8("\n\n")]);
}

/** Tells of the caller's tenant until the token expires; `ended` is called once. */
export function openEventTail(deps: TailDeps, caller: Admitted, ended: () => void): EventTail {
  let feed: TailFeed | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const ready = (): boolean => (controller.desiredSize ?? 0) > 0;
        controller.enqueue(beginning);
        const wire = {
          ready,
          isRead: ready,
          hint(head: number): void {
            controller.enqueue(hintBytes(head));
          },
          heartbeat(): void {
            controller.enqueue(heartbeat);
          },
          end(): void {
            controller.enqueue(farewell);
            controller.close();
          },
        };
        feed = feedTail(deps, caller, wire, ended);
      },
      pull: () => feed?.flush(),
      cancel: () => feed?.left(),
    },
    { highWaterMark: 16 },
  );
  return {
    body,
    end(why) {
      feed?.end(why);
    },
  };
}
