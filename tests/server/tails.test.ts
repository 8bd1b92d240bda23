/** Both transports of the live tail against a real server: the same suite, and the suite of every transport. */
import { describe, expect, it } from "vitest";
import { createHttpTransport, HoldfastError, type HttpPort } from "@holdfast/core";
import { createNodeHttp, createNodeSocket } from "@holdfast/node";
import {
  callerOf,
  tailSuite,
  type TailUnderTest,
  transportSuite,
  type TransportUnderTest,
} from "@holdfast/testkit";
import { startTestApi } from "./lab.ts";

const runner = {
  describe,
  it,
  check: (fact: boolean, text: string): void => {
    expect(fact, text).toBe(true);
  },
};

type Kind = "server-sent events" | "WebSocket";

async function subjectOf(kind: Kind): Promise<TailUnderTest & TransportUnderTest> {
  const lab = await startTestApi({ deviceTails: 3 });
  const { founder } = lab.engine;
  const reader = await lab.engine.join();
  const http = createNodeHttp();
  // A WebSocket that was replaced by server-sent events would prove nothing.
  const alone: HttpPort = {
    request: (request) => http.request(request),
    stream(_, listener) {
      listener.ended(new HoldfastError("answer_malformed", { part: "no WebSocket" }));
      return () => undefined;
    },
  };
  const ports = kind === "WebSocket" ? { http: alone, socket: createNodeSocket() } : { http };
  let size = 0;
  return {
    transport: createHttpTransport(ports, lab.url),
    token: () => lab.token(reader),
    tailsMax: 3,
    async grow() {
      founder.record([{ type: "NoteAdded" }]);
      await lab.engine.receipted(founder, size);
      size = founder.events.length;
    },
    pass: (milliseconds) => {
      lab.engine.clock.advance(milliseconds);
    },
    revoke: () =>
      lab.engine.server.revoke(callerOf(founder), { device: reader.device, why: "test" }),
    stop: () => {
      lab.api.stop();
    },
    async close() {
      http.close();
      await lab.close();
    },
  };
}

for (const kind of ["server-sent events", "WebSocket"] as const) {
  tailSuite(runner, kind, () => subjectOf(kind));
  transportSuite(runner, `HTTP with its tail as ${kind}`, () => subjectOf(kind));
}
