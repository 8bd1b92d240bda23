/** A store that delivers, and a backend by script, over real HTTP on loopback. Time moves by hand. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Backend,
  type BackendRoute,
  type DeliveryPorts,
  type Draft,
  type Holdfast,
  type SyncEngine,
} from "@holdfast/core";
import {
  createNodeCrypto,
  createNodeHttp,
  type HttpOptions,
  type NodeHttp,
  openPlainSqlite,
  systemRandom,
} from "@holdfast/node";
import {
  createManualClock,
  createNoteDraft,
  createNoteRegistry,
  createRecordingObserver,
  createTestStore,
  type ManualClock,
  type RecordingObserver,
} from "@holdfast/testkit";

/** One request as the backend saw it. */
export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** How the script answers: a status, or `undefined` and anything with the response's own means. */
export type Script = (request: Seen, response: ServerResponse, at: number) => number | undefined;

/** A backend that records what it gets. */
export interface ScriptedBackend {
  readonly url: string;
  readonly port: number;
  readonly seen: readonly Seen[];
  script: Script;
  /** `METHOD path` of each request, in order of arrival. */
  lines(): readonly string[];
  /** Changes certificate and key of connections from now on. */
  present(identity: Identity): void;
  close(): void;
}

/** Certificate and key, PEM. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

const ends: (() => void | Promise<void>)[] = [];

/** Ends everything that tests have begun, the newest first. */
export async function endAll(): Promise<void> {
  for (const end of ends.splice(0).toReversed()) await end();
}

async function read(request: IncomingMessage): Promise<Seen> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const { method = "", url: path = "" } = request;
  const headers = request.headers as Record<string, string>;
  return { method, path, headers, body: Buffer.concat(chunks).toString() };
}

/** A backend on loopback; answers 200 until a script says otherwise. */
export async function scriptedBackend(identity?: Identity): Promise<ScriptedBackend> {
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    read(request).then(
      (arrived) => {
        seen.push(arrived);
        const status = backend.script(arrived, response, seen.length - 1);
        if (status !== undefined) response.writeHead(status).end("{}");
      },
      // A request that broke off was not one.
      () => undefined,
    );
  };
  const tls = identity === undefined ? undefined : createTlsServer(identity, answer);
  const server = tls ?? createServer(answer);
  // A backend that hangs up between two requests of a slow machine is another test's.
  server.keepAliveTimeout = 600_000;
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const backend: ScriptedBackend = {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}/api`,
    port,
    seen,
    script: () => 200,
    lines: () => seen.map(({ method, path }) => `${method} ${path}`),
    present(other) {
      tls?.setSecureContext(other);
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
  ends.push(() => {
    backend.close();
  });
  return backend;
}

/** Notes: one row for creation, one for every other operation. */
export const noteRoutes: readonly BackendRoute[] = [
  { type: "NoteTaken", op: "create", path: "/notes" },
  { type: "NoteTaken", path: "/notes/{stream}" },
];

/** A store, its engine, and the means to look at both. */
export interface Delivering {
  readonly store: Holdfast;
  readonly engine: SyncEngine;
  readonly clock: ManualClock;
  readonly observer: RecordingObserver;
  readonly http: NodeHttp;
  note(stream: string, text: string, more?: Partial<Draft>): Promise<string>;
  /** Another engine over the same store. */
  another(): SyncEngine;
  /** Lets every wait be over. */
  later(): void;
}

/** How a test differs from the usual. */
export interface Wish {
  readonly backend?: Partial<Backend>;
  readonly ports?: Partial<DeliveryPorts>;
  readonly http?: HttpOptions;
}

/** An empty store that delivers to that address. */
export async function delivering(url: string, wish: Wish = {}): Promise<Delivering> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-rest-"));
  const clock = createManualClock();
  const observer = createRecordingObserver();
  const path = join(folder, "store.db");
  const made = await createTestStore({
    crypto: createNodeCrypto(),
    random: systemRandom,
    clock,
    timers: clock,
    openDriver: (_, options) => openPlainSqlite({ path, ...options }),
  });
  const store = await made.open({ registry: createNoteRegistry(), observer });
  const http = createNodeHttp(wish.http);
  const begin = (): SyncEngine =>
    store.deliver({ url, routes: noteRoutes, ...wish.backend }, { http, ...wish.ports });
  const engine = begin();
  ends.push(async () => {
    await store.close();
    http.close();
    rmSync(folder, { recursive: true });
  });
  return {
    store,
    engine,
    clock,
    observer,
    http,
    another: begin,
    async note(stream, text, more) {
      const answer = await store.append(createNoteDraft(stream, text, more));
      if (answer.status !== "appended") throw new Error(answer.status);
      return answer.events[0]?.id ?? "";
    },
    later: () => {
      clock.advance(2 * 3_600_000);
    },
  };
}
