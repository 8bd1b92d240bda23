/**
 * The transport over HTTP: one request a message (spec/sync-protocol.md). It keeps no state but the compression
 * that `hello` offered; retrying, tokens and waiting are the engine's.
 */
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { utf8 } from "../std/bytes.ts";
import { limits } from "../std/limits.ts";
import { hintShape } from "./codec/error-codec.ts";
import { readJson, writeJson } from "./codec/json-codec.ts";
import * as shapes from "./codec/message-shapes.ts";
import { decodePage, encodePush } from "./codec/push-codec.ts";
import type { Shape } from "./codec/shape.ts";
import { encodeTokenRequest, tokenAnswerShape } from "./codec/token-codec.ts";
import type { HttpAnswer, HttpPort, HttpRequest } from "./http-port.ts";
import { refusalOf } from "./http-refusal.ts";
import { createEventReader } from "./server-sent-events.ts";
import { parseServerUrl } from "./server-url.ts";
import type { SocketPort } from "./socket-port.ts";
import { createSocketTail } from "./socket-tail.ts";
import type { CallOptions, TailListener, Transport } from "./transport.ts";

/** Media types of the protocol. */
export const mediaTypes = {
  json: "application/json",
  form: "application/x-www-form-urlencoded",
  push: "application/vnd.holdfast.push.v1",
  page: "application/vnd.holdfast.page.v1",
  events: "text/event-stream",
} as const;

/** Below this, compression costs more than it saves. */
const compressedFromBytes = 1_024;

interface Call {
  readonly path: string;
  readonly body?: Uint8Array;
  readonly type?: string;
  readonly accept?: string;
  readonly answerBytesMax?: number;
}

/** What a transport reaches the server by. */
export interface HttpTransportDeps {
  readonly http: HttpPort;
  /** The live tail goes over a WebSocket where one can be had; without it, as server-sent events. */
  readonly socket?: SocketPort;
}

/** A transport to the server at that address. Throws `transport_insecure` and `server_url_invalid`. */
export function createHttpTransport(deps: HttpTransportDeps, url: string): Transport {
  const { endpoint, root } = parseServerUrl(url);
  let encoding: "zstd" | "gzip" | undefined;

  const requestOf = (call: Call, options: CallOptions): HttpRequest => ({
    method: call.body === undefined ? "GET" : "POST",
    url: `${root}${call.path}`,
    headers: {
      accept: call.accept ?? mediaTypes.json,
      ...(call.type === undefined ? {} : { "content-type": call.type }),
      ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` }),
    },
    ...(call.body === undefined ? {} : { body: call.body }),
    ...(encoding === undefined || (call.body?.length ?? 0) < compressedFromBytes
      ? {}
      : { encoding }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    timeoutMs: limits.requestMsMax,
    answerBytesMax: call.answerBytesMax ?? limits.messageJsonBytesMax,
  });

  const answerTo = async (call: Call, options: CallOptions): Promise<HttpAnswer> => {
    if (options.signal?.aborted === true) throw new HoldfastError("sync_cancelled");
    const answer = await deps.http.request(requestOf(call, options));
    if (answer.status < 200 || answer.status > 299) throw refusalOf(answer);
    return answer;
  };
  const asked = async <T>(call: Call, options: CallOptions, shape: Shape<T>): Promise<T> =>
    readAnswer(await answerTo(call, options), (body) => readJson(shape, body));
  const json = <T>(path: string, shape: Shape<T>, message: T): Call => ({
    path,
    body: writeJson(shape, message),
    type: mediaTypes.json,
  });
  const tailPath = "/v1/tail";
  const events = (listener: TailListener, options: CallOptions): (() => void) => {
    const request = requestOf({ path: tailPath, accept: mediaTypes.events }, options);
    return openTail(deps.http, { ...request, timeoutMs: limits.tailHeartbeatMs * 3 }, listener);
  };
  const { socket } = deps;
  const tail =
    socket === undefined ? events : createSocketTail({ socket, url: `${root}${tailPath}`, events });

  return {
    endpoint,
    async hello(options) {
      const hello = await asked({ path: "/v1" }, options, shapes.helloShape);
      encoding = hello.encodings[0];
      return hello;
    },
    enrol: (request, options) =>
      asked(json("/v1/enrol", shapes.enrolRequestShape, request), options, shapes.enrolAnswerShape),
    token(request, options) {
      const body = encodeTokenRequest(request);
      return asked({ path: "/v1/token", body, type: mediaTypes.form }, options, tokenAnswerShape);
    },
    push: (request, options) =>
      asked(
        { path: "/v1/push", body: encodePush(request), type: mediaTypes.push },
        options,
        shapes.pushAnswerShape,
      ),
    async pull(request, options) {
      const call = json("/v1/pull", shapes.pullRequestShape, request);
      const page = { accept: mediaTypes.page, answerBytesMax: limits.pullPageBytesMax };
      return readAnswer(await answerTo({ ...call, ...page }, options), decodePage);
    },
    grants: (after, options) =>
      asked({ path: `/v1/grants?after=${after}` }, options, shapes.grantsAnswerShape),
    async sendGrants(request, options) {
      await answerTo(json("/v1/grants", shapes.grantsRequestShape, request), options);
    },
    async devices(options) {
      const answer = await asked({ path: "/v1/devices" }, options, shapes.devicesAnswerShape);
      return answer.devices;
    },
    async addCode(request, options) {
      await answerTo(json("/v1/codes", shapes.codeRequestShape, request), options);
    },
    async revoke(request, options) {
      await answerTo(json("/v1/devices/revoke", shapes.revokeRequestShape, request), options);
    },
    conflicts: (stream, options) =>
      asked(
        { path: stream === undefined ? "/v1/conflicts" : `/v1/conflicts?stream=${stream}` },
        options,
        shapes.conflictsAnswerShape,
      ),
    checkpoint: (options) =>
      asked({ path: "/v1/log/checkpoint" }, options, shapes.checkpointAnswerShape),
    inclusion: ({ index, size, log }, options) =>
      asked(
        { path: `/v1/log/inclusion?index=${index}&size=${size}${ofLog(log)}` },
        options,
        shapes.inclusionAnswerShape,
      ),
    consistency: ({ before, size, log }, options) =>
      asked(
        { path: `/v1/log/consistency?before=${before}&size=${size}${ofLog(log)}` },
        options,
        shapes.consistencyAnswerShape,
      ),
    epoch: ({ log, size }, options) =>
      asked(
        { path: `/v1/log/epoch?log=${encodeURIComponent(log)}&size=${size}` },
        options,
        shapes.epochAnswerShape,
      ),
    async present(request, options) {
      await answerTo(json("/v1/log/receipts", shapes.presentRequestShape, request), options);
    },
    tail,
  };
}

const ofLog = (log: string | undefined): string =>
  log === undefined ? "" : `&log=${encodeURIComponent(log)}`;

/** What answered may be anything: a message that cannot be read is not our fault. */
function readAnswer<T>(answer: HttpAnswer, read: (body: Uint8Array) => T): T {
  try {
    return read(answer.body);
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    const { part = null, reason = error.code } = error.details;
    throw new HoldfastError("answer_malformed", { part, reason, status: answer.status });
  }
}

function openTail(http: HttpPort, request: HttpRequest, listener: TailListener): () => void {
  const stream = { close: (): void => undefined };
  let over = false;
  const end = (error: unknown): void => {
    if (over) return;
    over = true;
    stream.close();
    listener.ended(error);
  };
  const read = createEventReader(({ event, data }) => {
    if (over) return;
    if (event === "end") end(new HoldfastError("token_refused", { part: "tail" }));
    else if (event === "hint") listener.hint(readJson(hintShape, utf8(data)).head);
  });
  stream.close = http.stream(request, {
    refused: (answer) => {
      end(refusalOf(answer));
    },
    chunk(bytes) {
      try {
        read(bytes);
      } catch (error) {
        end(isHoldfastError(error) ? tailMalformed(error) : error);
      }
    },
    ended: end,
  });
  // It may have ended before there was anything to close.
  if (over) stream.close();
  return () => {
    over = true;
    stream.close();
  };
}

function tailMalformed(error: HoldfastError): HoldfastError {
  return new HoldfastError("answer_malformed", { part: "tail", reason: error.code });
}
