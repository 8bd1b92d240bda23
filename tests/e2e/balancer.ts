/**
 * A load balancer as small as one can be: each request goes to the next node that is ready; when a node refuses the
 * connection, to the one after. A request that a node has begun to take is never sent twice.
 */
import {
  createServer,
  type IncomingMessage,
  request as send,
  type ServerResponse,
} from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

/** One of the nodes behind it. */
export interface Backend {
  readonly port: number;
  ready: boolean;
}

export interface Balancer {
  readonly port: number;
  /** Requests that went to each port. */
  readonly served: ReadonlyMap<number, number>;
  /** The nodes that there are now. */
  point(ports: readonly number[]): void;
  close(): Promise<void>;
}

const checkMs = 100;

export async function startBalancer(): Promise<Balancer> {
  let backends: readonly Backend[] = [];
  let next = 0;
  const served = new Map<number, number>();
  const server = createServer((request, response) => {
    request.on("error", () => undefined);
    response.on("error", () => undefined);
    void pass(request, response);
  });

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const { port } of candidates()) {
      const socket = await connected(port);
      if (socket === undefined) continue;
      served.set(port, (served.get(port) ?? 0) + 1);
      forward(request, response, socket);
      return;
    }
    request.resume();
    response.writeHead(503, { "content-length": "0" }).end();
  }

  /** All of them, those that are ready first, beginning with another one each time. */
  function candidates(): readonly Backend[] {
    const at = next++ % Math.max(1, backends.length);
    const turned = [...backends.slice(at), ...backends.slice(0, at)];
    return [...turned.filter(({ ready }) => ready), ...turned.filter(({ ready }) => !ready)];
  }

  const check = setInterval(() => {
    for (const backend of backends) {
      fetch(`http://127.0.0.1:${backend.port}/readyz`, { headers: { connection: "close" } }).then(
        ({ ok }) => (backend.ready = ok),
        () => (backend.ready = false),
      );
    }
  }, checkMs);

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    served,
    point(ports) {
      backends = ports.map((port) => ({ port, ready: true }));
    },
    async close() {
      clearInterval(check);
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A connection to that port; `undefined`: refused. */
function connected(port: number): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      resolve(socket);
    });
    socket.on("error", () => {
      resolve(undefined);
    });
  });
}

function forward(request: IncomingMessage, response: ServerResponse, socket: Socket): void {
  const { connection: _connection, ...headers } = request.headers;
  const upstream = send({
    createConnection: () => socket,
    method: request.method,
    path: request.url,
    headers: { ...headers, connection: "close" },
  });
  const reset = (): void => {
    upstream.destroy();
    request.socket.resetAndDestroy();
  };
  upstream.on("error", reset);
  response.on("close", () => {
    if (!response.writableFinished) upstream.destroy();
  });
  upstream.on("response", (answer) => {
    answer.on("error", reset);
    const { connection: _, ...rest } = answer.headers;
    response.writeHead(answer.statusCode ?? 502, rest);
    response.flushHeaders();
    answer.pipe(response);
  });
  request.on("aborted", () => upstream.destroy());
  request.pipe(upstream);
}
