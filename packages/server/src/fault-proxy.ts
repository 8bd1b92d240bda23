/**
 * An HTTP proxy that does to requests what networks and servers do: refuses them, cuts them in the middle of
 * their body, swallows answers after the server has acted, answers in the server's place, slows down. The
 * fault of each request is chosen by a function, so that a test decides by path, by count or by a seed of its
 * own. Connections are kept alive on both sides, as on a real path. For tests and for load tests; it listens on
 * this machine alone, and knows no WebSockets: a request for one is passed on as if it had not asked.
 */
import {
  Agent,
  createServer,
  type IncomingMessage,
  request as sendPlain,
  type ServerResponse,
} from "node:http";
import { Agent as TlsAgent, request as sendSecure } from "node:https";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What happens to one request. */
export type Fault =
  | { readonly kind: "pass"; readonly delayMs?: number }
  /** The connection is reset before anything of the request reaches the server. */
  | { readonly kind: "refuse"; readonly delayMs?: number }
  /** Passes so many bytes of the body on, then resets both sides. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** The server acts and answers; the device never hears of it. */
  | { readonly kind: "drop-answer"; readonly delayMs?: number }
  /** Answers for the server, which never sees the request. */
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
    };

/** A request as the chooser sees it. */
export interface Passing {
  /** From 0, over all requests of the proxy. */
  readonly number: number;
  readonly path: string;
}

/** A proxy that runs. */
export interface FaultProxy {
  readonly url: string;
  /** How many requests met each kind. */
  readonly met: Readonly<Record<Fault["kind"], number>>;
  /** How many requests there were, and bytes of bodies each way. */
  readonly traffic: { readonly requests: number; readonly up: number; readonly down: number };
  /** Chooses the fault of the next requests. */
  choose(fault: (request: Passing) => Fault): void;
  /** Points at another server: its port on this machine, or its address. */
  target(server: number | string): void;
  close(): Promise<void>;
}

const hopHeaders = new Set([
  "connection",
  "keep-alive",
  "host",
  "transfer-encoding",
  "expect",
  "upgrade",
]);

function addressOf(server: number | string): URL {
  return new URL(typeof server === "number" ? `http://127.0.0.1:${server}` : server);
}

/** Starts one before a server: its port on this machine, or its address. */
export async function startFaultProxy(before: number | string): Promise<FaultProxy> {
  let upstreamUrl = addressOf(before);
  let choice: (request: Passing) => Fault = () => ({ kind: "pass" });
  const met = { pass: 0, refuse: 0, cut: 0, "drop-answer": 0, answer: 0 };
  const traffic = { requests: 0, up: 0, down: 0 };
  const agents = { plain: new Agent({ keepAlive: true }), tls: new TlsAgent({ keepAlive: true }) };

  const server = createServer((request, response) => {
    const path = (request.url ?? "/").split("?")[0] as string;
    const fault = choice({ number: traffic.requests++, path });
    met[fault.kind] += 1;
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    void meet(request, response, fault).catch(() => {
      request.socket.resetAndDestroy();
    });
  });

  async function meet(
    request: IncomingMessage,
    response: ServerResponse,
    fault: Fault,
  ): Promise<void> {
    if ("delayMs" in fault && fault.delayMs !== undefined) await sleep(fault.delayMs);
    if (fault.kind === "refuse") request.socket.resetAndDestroy();
    else if (fault.kind === "answer") {
      request.resume();
      response.writeHead(fault.status, { ...fault.headers, "content-length": "0" }).end();
    } else pass(request, response, fault);
  }

  function pass(
    request: IncomingMessage,
    response: ServerResponse,
    fault: Extract<Fault, { kind: "pass" | "cut" | "drop-answer" }>,
  ): void {
    const headers = Object.fromEntries(
      Object.entries(request.headers).filter(([name]) => !hopHeaders.has(name)),
    );
    const secure = upstreamUrl.protocol === "https:";
    const root = upstreamUrl.pathname.replace(/\/$/, "");
    const upstream = (secure ? sendSecure : sendPlain)({
      host: upstreamUrl.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: upstreamUrl.port,
      agent: secure ? agents.tls : agents.plain,
      method: request.method,
      path: `${root}${request.url ?? "/"}`,
      headers,
    });
    const reset = (): void => {
      upstream.destroy();
      request.socket.resetAndDestroy();
    };
    upstream.on("error", reset);
    response.on("close", () => {
      if (!response.writableFinished) upstream.destroy();
    });
    let seen = 0;
    request.on("data", (bytes: Buffer) => {
      const room = fault.kind === "cut" ? fault.afterBytes - seen : bytes.length;
      seen += bytes.length;
      traffic.up += bytes.length;
      upstream.write(bytes.subarray(0, Math.max(0, room)));
      // What was written leaves first: the server has begun to read when the connection goes.
      if (room < bytes.length) setTimeout(reset, 5);
    });
    request.on("end", () => {
      if (fault.kind === "cut") setTimeout(reset, 5);
      else upstream.end();
    });
    upstream.on("response", (answer) => {
      answer.on("error", reset);
      if (fault.kind === "drop-answer") {
        answer.resume().on("end", reset);
        return;
      }
      answer.on("data", (bytes: Buffer) => (traffic.down += bytes.length));
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    });
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const own = (server.address() as AddressInfo).port;
  return {
    url: `http://127.0.0.1:${own}`,
    met,
    traffic,
    choose(fault) {
      choice = fault;
    },
    target(next) {
      upstreamUrl = addressOf(next);
    },
    async close() {
      agents.plain.destroy();
      agents.tls.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
