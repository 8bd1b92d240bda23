/**
 * A TCP proxy that does to connections what networks do: refuses them, cuts them in the middle of a request,
 * swallows answers after the server has acted, answers in the server's place, slows down. Faults are chosen per
 * connection by a function, so that a test decides by count or by chance of its own.
 */
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";

/** What happens to one connection. */
export type Fault =
  | { readonly kind: "pass"; readonly delayMs?: number }
  | { readonly kind: "refuse" }
  /** Passes so many bytes of requests on, then cuts both sides. */
  | { readonly kind: "cut"; readonly afterBytes: number }
  /** Passes the request on; cuts when the answer begins: the server has acted, the device does not know. */
  | { readonly kind: "drop-answer"; readonly delayMs?: number }
  /** Answers for the server. */
  | { readonly kind: "answer"; readonly status: number; readonly headers?: string };

export interface FaultProxy {
  readonly port: number;
  readonly url: string;
  /** How many connections met each kind. */
  readonly met: Readonly<Record<Fault["kind"], number>>;
  /** Chooses the fault of the next connections. */
  choose(fault: (connection: number) => Fault): void;
  /** Points at another server. */
  target(port: number): void;
  close(): Promise<void>;
}

export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  let port = targetPort;
  let choice: (connection: number) => Fault = () => ({ kind: "pass" });
  let connections = 0;
  const met = { pass: 0, refuse: 0, cut: 0, "drop-answer": 0, answer: 0 };
  const open = new Set<Socket>();
  const server: Server = createServer((client) => {
    const fault = choice(connections++);
    met[fault.kind] += 1;
    open.add(client);
    client.on("close", () => open.delete(client));
    client.on("error", () => client.destroy());
    handle(client, fault);
  });

  function handle(client: Socket, fault: Fault): void {
    if (fault.kind === "refuse") {
      client.resetAndDestroy();
      return;
    }
    if (fault.kind === "answer") {
      client.once("data", () => {
        const head = `HTTP/1.1 ${fault.status} Fault\r\n${fault.headers ?? ""}`;
        client.end(`${head}content-length: 0\r\nconnection: close\r\n\r\n`);
      });
      return;
    }
    const upstream = connect(port, "127.0.0.1");
    open.add(upstream);
    upstream.on("close", () => {
      open.delete(upstream);
      client.destroy();
    });
    upstream.on("error", () => client.destroy());
    client.on("close", () => upstream.destroy());
    pipe(client, upstream, fault);
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const own = (server.address() as AddressInfo).port;
  return {
    port: own,
    url: `http://127.0.0.1:${own}`,
    met,
    choose(fault) {
      choice = fault;
    },
    target(next) {
      port = next;
    },
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function pipe(client: Socket, upstream: Socket, fault: Fault): void {
  let sent = 0;
  const delay = "delayMs" in fault ? (fault.delayMs ?? 0) : 0;
  client.on("data", (bytes: Buffer) => {
    if (fault.kind === "cut" && sent + bytes.length > fault.afterBytes) {
      upstream.write(bytes.subarray(0, Math.max(0, fault.afterBytes - sent)));
      client.resetAndDestroy();
      upstream.end();
      return;
    }
    sent += bytes.length;
    if (delay === 0) upstream.write(bytes);
    else setTimeout(() => upstream.write(bytes), delay);
  });
  upstream.on("data", (bytes: Buffer) => {
    if (fault.kind === "drop-answer") {
      client.resetAndDestroy();
      upstream.destroy();
      return;
    }
    client.write(bytes);
  });
}
