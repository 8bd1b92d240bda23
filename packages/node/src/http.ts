/**
 * The `HttpPort` on node:http and node:https rather than `fetch`: only there can pins, idle limits of a stream and
 * the size of headers be set, and bytes be counted as they are decompressed.
 */
import { createHash, X509Certificate } from "node:crypto";
import { Agent as PlainAgent, type IncomingMessage, request as plainRequest } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { createGunzip, createZstdDecompress, gzipSync, zstdCompressSync } from "node:zlib";
import {
  HoldfastError,
  type HttpAnswer,
  type HttpPort,
  type HttpRequest,
  type HttpStreamListener,
  isHoldfastError,
  parsePins,
  parseServerUrl,
} from "@holdfast/core";

/** Choices that TLS needs. */
export interface HttpOptions {
  /** PEM certificates that are trusted instead of the platform's. */
  readonly certificates?: string;
  /** Keys that the server may have, besides a certificate that is trusted; see `parsePins`. Only https goes then. */
  readonly pins?: readonly string[];
}

/** Connections are kept; `close` ends them. */
export interface NodeHttp extends HttpPort {
  /**
   * Other pins from now on. Requests under way end as they began; every later one goes over a connection whose
   * key was checked against the new set. Throws `pins_invalid`, and then the former set stays.
   */
  setPins(pins: readonly string[]): void;
  close(): void;
}

const headerBytesMax = 16 * 1024;
const socketsMax = 8;

/** HTTP for one process. Throws `pins_invalid`. */
export function createNodeHttp(options: HttpOptions = {}): NodeHttp {
  const kept = { keepAlive: true, maxSockets: socketsMax };
  const plain = new PlainAgent(kept);
  const agents: Agents = {
    plain,
    tls: tlsAgent(options.pins),
    plaintext: options.pins === undefined,
  };

  function tlsAgent(pins: readonly string[] | undefined): TlsAgent {
    const { certificates } = options;
    return new TlsAgent({
      ...kept,
      // Whatever the environment says (NODE_TLS_REJECT_UNAUTHORIZED).
      rejectUnauthorized: true,
      ...(certificates === undefined ? {} : { ca: certificates }),
      ...(pins === undefined ? {} : pinned(parsePins(pins))),
    });
  }

  const open = (request: HttpRequest, told: Told): Exchange =>
    createExchange(request, told, agents);
  return {
    request: async (request) =>
      new Promise((resolve, reject) => {
        const exchange = open(request, {
          answered(incoming, body) {
            collect(body, request.answerBytesMax).then(
              (bytes) => {
                exchange.done();
                resolve(answerOf(incoming, bytes));
              },
              (error: unknown) => {
                exchange.fail(error);
              },
            );
          },
          failed: reject,
        });
        exchange.start(request.timeoutMs);
      }),
    stream: (request, listener) => openStream(request, listener, open),
    setPins(pins) {
      const before = agents.tls;
      agents.tls = tlsAgent(pins);
      agents.plaintext = false;
      retire(before);
    },
    close() {
      plain.destroy();
      agents.tls.destroy();
    },
  };
}

/** Where connections come from. */
interface Agents {
  readonly plain: PlainAgent;
  tls: TlsAgent;
  /** May plaintext go to this machine? */
  plaintext: boolean;
}

/** Idle connections end now, those in use when they become idle. */
function retire(agent: TlsAgent): void {
  for (const sockets of Object.values(agent.freeSockets)) {
    for (const socket of sockets ?? []) socket.destroy();
  }
  agent.on("free", (socket: Socket) => {
    socket.destroy();
  });
}

/** Options of TLS that let only keys of that set through, before a byte of a request is written. */
function pinned(digests: ReadonlySet<string>) {
  return {
    // A resumed session is not checked again.
    maxCachedSessions: 0,
    checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
      const problem = checkServerIdentity(host, certificate);
      if (problem !== undefined) return problem;
      const spki = new X509Certificate(certificate.raw).publicKey.export({
        type: "spki",
        format: "der",
      });
      const digest = createHash("sha256").update(spki).digest("base64");
      return digests.has(digest) ? undefined : new HoldfastError("certificate_pin_mismatch");
    },
  };
}

interface Told {
  answered(incoming: IncomingMessage, body: Readable): void;
  failed(error: unknown): void;
}

/** One request on its way: ends once, by `done`, `fail`, its time or its signal. */
interface Exchange {
  start(timeoutMs: number): void;
  /** Begins the time anew. */
  alive(): void;
  done(): void;
  fail(error: unknown): void;
}

function createExchange(request: HttpRequest, told: Told, agents: Agents): Exchange {
  let timer: NodeJS.Timeout | undefined;
  let outgoing: ReturnType<typeof plainRequest> | undefined;
  let over = false;
  const stop = (): boolean => {
    if (over) return false;
    over = true;
    clearTimeout(timer);
    request.signal?.removeEventListener("abort", cancel);
    return true;
  };
  const fail = (error: unknown): void => {
    if (!stop()) return;
    outgoing?.destroy();
    told.failed(failureOf(error));
  };
  function cancel(): void {
    fail(new HoldfastError("sync_cancelled"));
  }
  const start = (timeoutMs: number): void => {
    timer = setTimeout(() => {
      fail(new HoldfastError("network_timeout", { ms: timeoutMs }));
    }, timeoutMs);
    if (request.signal?.aborted === true) {
      cancel();
      return;
    }
    request.signal?.addEventListener("abort", cancel);
    try {
      const { secure } = parseServerUrl(request.url.replace(/\?.*$/s, ""));
      if (!secure && !agents.plaintext) throw new HoldfastError("transport_insecure");
      const { body, headers } = compressed(request);
      const send = secure ? tlsRequest : plainRequest;
      outgoing = send(request.url, {
        method: request.method,
        agent: secure ? agents.tls : agents.plain,
        maxHeaderSize: headerBytesMax,
        headers: {
          ...headers,
          "accept-encoding": "zstd, gzip",
          ...(body === undefined ? {} : { "content-length": body.length }),
        },
      });
      outgoing.on("error", fail);
      // Nobody asked for another protocol; without a listener nothing would be told.
      outgoing.on("upgrade", () => {
        fail(new HoldfastError("answer_malformed", { part: "upgrade" }));
      });
      outgoing.on("response", (incoming) => {
        incoming.on("error", fail);
        try {
          told.answered(incoming, decompressed(incoming));
        } catch (error) {
          fail(error);
        }
      });
      outgoing.end(body);
    } catch (error) {
      fail(error);
    }
  };
  return { start, alive: () => timer?.refresh(), done: () => void stop(), fail };
}

function openStream(
  request: HttpRequest,
  listener: HttpStreamListener,
  open: (request: HttpRequest, told: Told) => Exchange,
): () => void {
  let closed = false;
  const ended = (error: unknown): void => {
    if (closed) return;
    closed = true;
    listener.ended(error);
  };
  const exchange = open(request, {
    answered(incoming, body) {
      if (incoming.statusCode !== 200) {
        collect(body, request.answerBytesMax).then(
          (bytes) => {
            exchange.done();
            if (closed) return;
            listener.refused(answerOf(incoming, bytes));
            ended(undefined);
          },
          (error: unknown) => {
            exchange.fail(error);
          },
        );
        return;
      }
      body.on("data", (chunk: Buffer) => {
        exchange.alive();
        if (!closed) listener.chunk(chunk);
      });
      body.on("error", exchange.fail);
      body.on("end", () => {
        exchange.done();
        ended(undefined);
      });
    },
    failed: ended,
  });
  exchange.start(request.timeoutMs);
  return () => {
    closed = true;
    exchange.fail(new HoldfastError("sync_cancelled"));
  };
}

function compressed(request: HttpRequest): {
  readonly body: Uint8Array | undefined;
  readonly headers: Readonly<Record<string, string>>;
} {
  const { body, encoding, headers } = request;
  if (body === undefined || encoding === undefined) return { body, headers };
  const smaller = encoding === "zstd" ? zstdCompressSync(body) : gzipSync(body, { level: 1 });
  if (smaller.length >= body.length) return { body, headers };
  return { body: smaller, headers: { ...headers, "content-encoding": encoding } };
}

function decompressed(incoming: IncomingMessage): Readable {
  const encoding = incoming.headers["content-encoding"];
  if (encoding === undefined || encoding === "identity") return incoming;
  const turned =
    encoding === "zstd" ? createZstdDecompress() : encoding === "gzip" ? createGunzip() : undefined;
  if (turned === undefined) {
    throw new HoldfastError("answer_malformed", { part: "content-encoding" });
  }
  incoming.on("error", (error) => turned.destroy(error));
  return incoming.pipe(turned);
}

/** The whole body, as long as it keeps below the limit: what is beyond is never held. */
export async function collect(body: Readable, max: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > max) throw new HoldfastError("answer_too_large", { max });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** An answer as the port tells it. */
export function answerOf(incoming: IncomingMessage, body: Uint8Array): HttpAnswer {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    if (typeof value === "string") headers[name] = value;
  }
  return { status: incoming.statusCode ?? 0, headers, body };
}

/** Every failure of sockets and TLS is the network's; of zlib: the answer's. Only codes leave, no addresses. */
export function failureOf(error: unknown): unknown {
  if (isHoldfastError(error)) return error;
  const reason = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  if (reason === undefined) return error;
  if (reason.startsWith("Z_") || reason.startsWith("ZSTD_")) {
    return new HoldfastError("answer_malformed", { part: "content-encoding", reason });
  }
  return new HoldfastError("network_unreachable", { reason });
}
