/**
 * The door to HTTP: as much of it as the transport needs, in words of no platform. Node: `packages/node/src/http.ts`.
 *
 * An implementation refuses plaintext to other machines (`transport_insecure`), never follows redirects, and
 * bounds what it reads, decompressed bytes included. It fails with `network_unreachable`, `network_timeout`,
 * `sync_cancelled`, `answer_too_large`, `answer_malformed` (a body that does not decompress), where keys are
 * pinned `certificate_pin_mismatch` before anything was sent, and nothing else; every answer with a status,
 * whatever the status, is an answer.
 */
import type { AbortSignalLike } from "./transport.ts";

/** One request. */
export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Compression of the body; the port sets content-encoding when it used it. */
  readonly encoding?: "zstd" | "gzip";
  readonly signal?: AbortSignalLike;
  /** From the start to the last byte of the answer; of a stream: the longest silence. */
  readonly timeoutMs: number;
  /** Decompressed bytes of the answer. A stream is bounded by its reader. */
  readonly answerBytesMax: number;
}

/** One answer. */
export interface HttpAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Told of a stream: either `refused` or chunks; then `ended`, once. Nothing is told after it was closed. */
export interface HttpStreamListener {
  /** The status was not 200. */
  refused(answer: HttpAnswer): void;
  chunk(bytes: Uint8Array): void;
  /** `undefined`: the server ended it. */
  ended(error: unknown): void;
}

/** Requests with one answer, and answers that go on. */
export interface HttpPort {
  request(request: HttpRequest): Promise<HttpAnswer>;
  /** The returned function closes the stream. */
  stream(request: HttpRequest, listener: HttpStreamListener): () => void;
}
