/** Answers as they leave: compressed when asked for, never cached, with the request's id. */
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import { gzip, zstdCompress } from "node:zlib";
import { type ErrorAnswer, errorAnswerShape, mediaTypes, writeJson } from "@holdfast/core";
import type { Refusal } from "./status.ts";

const compressors = { zstd: promisify(zstdCompress), gzip: promisify(gzip) } as const;
/** Below this, compression costs more than it saves. */
const compressedFromBytes = 1_024;

const always = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
} as const;

/** Headers of every answer. */
export function headersOf(requestId: string, type?: string): Record<string, string> {
  return {
    ...always,
    "x-request-id": requestId,
    ...(type === undefined ? {} : { "content-type": type }),
  };
}

/** The strongest compression that the caller takes without a quality of 0. */
function wanted(accepted: string | undefined): keyof typeof compressors | undefined {
  const offers = (accepted ?? "").toLowerCase().split(",");
  const takes = (name: string): boolean =>
    offers.some((offer) => {
      const [encoding = "", ...parameters] = offer.split(";").map((text) => text.trim());
      return encoding === name && !parameters.some((text) => /^q=0(\.0*)?$/.test(text));
    });
  return takes("zstd") ? "zstd" : takes("gzip") ? "gzip" : undefined;
}

/** A message, or 204. */
export async function messageAnswer(
  requestId: string,
  type: string,
  body: Uint8Array | undefined,
  accepted: string | undefined,
): Promise<Response> {
  if (body === undefined) return new Response(null, { status: 204, headers: headersOf(requestId) });
  const headers = { ...headersOf(requestId, type), vary: "accept-encoding" };
  const encoding = body.length < compressedFromBytes ? undefined : wanted(accepted);
  if (encoding === undefined) return new Response(own(body), { headers });
  const smaller = await compressors[encoding](body);
  return new Response(own(smaller), { headers: { ...headers, "content-encoding": encoding } });
}

function own(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes as Uint8Array<ArrayBuffer>;
}

/**
 * A refusal. It may go out while the body still comes: the listener takes in what is left for half a second, so that
 * a caller reads the answer before the connection ends.
 */
export function refusalAnswer(requestId: string, refusal: Refusal): Response {
  const { status, code, message, details, retryAfter } = refusal;
  const answer: ErrorAnswer = { code, message, requestId, details };
  return new Response(writeJson(errorAnswerShape, answer), {
    status,
    headers: {
      ...headersOf(requestId, mediaTypes.json),
      ...(retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }),
      ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
    },
  });
}

/** Writes an answer where no HTTP is spoken any more, or never was, and ends the connection. */
export async function writeAnswer(socket: Socket, answer: Response): Promise<void> {
  if (!socket.writable) {
    socket.destroy();
    return;
  }
  const body = Buffer.from(await answer.arrayBuffer());
  const more = [
    ["content-length", body.length],
    ["connection", "close"],
  ];
  const lines = [...answer.headers, ...more].map(([name, value]) => `${name}: ${value}\r\n`);
  const { status } = answer;
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join("")}\r\n`;
  socket.end(Buffer.concat([Buffer.from(head, "latin1"), body]));
}
