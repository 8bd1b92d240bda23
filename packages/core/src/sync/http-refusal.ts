/** What an HTTP answer that is not a message means: one code of the error table, with status and wait. */
import { type ErrorCode, type ErrorDetails, errorCodes, HoldfastError } from "../std/errors.ts";
import { type ErrorAnswer, errorAnswerShape } from "./codec/error-codec.ts";
import { readJson } from "./codec/json-codec.ts";
import type { HttpAnswer } from "./http-port.ts";

const byStatus: Readonly<Record<number, ErrorCode>> = {
  401: "token_refused",
  404: "not_found",
  405: "method_refused",
  408: "request_timeout",
  413: "message_too_large",
  415: "content_type_refused",
  429: "requests_too_many",
  503: "server_busy",
};

/** Codes that only this side can mean; from a server they would steer the engine. */
const ownCodes: ReadonlySet<string> = new Set<ErrorCode>([
  "answer_malformed",
  "answer_too_large",
  "network_timeout",
  "network_unreachable",
  "redirect_refused",
  "sync_cancelled",
  "transport_insecure",
]);

/** The failure that an answer outside 2xx stands for: the server's own code where this version knows it. */
export function refusalOf(answer: HttpAnswer): HoldfastError {
  const { status } = answer;
  const told = status >= 400 ? toldBy(answer) : undefined;
  const known =
    told !== undefined && Object.hasOwn(errorCodes, told.code) && !ownCodes.has(told.code);
  const code = known ? (told.code as ErrorCode) : codeOf(status);
  return new HoldfastError(code, { ...told?.details, ...factsOf(answer, told) });
}

function codeOf(status: number): ErrorCode {
  if (status >= 300 && status < 400) return "redirect_refused";
  return byStatus[status] ?? (status >= 500 ? "server_failed" : "request_refused");
}

function factsOf(answer: HttpAnswer, told: ErrorAnswer | undefined): ErrorDetails {
  const wait = /^\d{1,6}$/.exec(answer.headers["retry-after"] ?? "")?.[0];
  return {
    status: answer.status,
    ...(wait === undefined ? {} : { retry_after_ms: Number(wait) * 1_000 }),
    ...(told === undefined ? {} : { request_id: told.requestId }),
  };
}

function toldBy(answer: HttpAnswer): ErrorAnswer | undefined {
  try {
    return readJson(errorAnswerShape, answer.body);
  } catch {
    // Whoever stands between may answer in a form of its own: the status still speaks.
    return undefined;
  }
}
