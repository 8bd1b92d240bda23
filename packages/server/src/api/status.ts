/**
 * Which HTTP status each code has that may leave the server. What is not listed is the server's own trouble: it
 * leaves as `server_failed` without details, and the log names it under the request's id.
 */
import { type ErrorCode, errorCodes, HoldfastError } from "@holdfast/core";

/** Status by code; 401 asks for a token, 403 will not change by asking again. */
export const statusByCode: Readonly<Partial<Record<ErrorCode, number>>> = {
  message_malformed: 400,
  query_parameter_invalid: 400,
  grant_malformed: 400,
  header_invalid: 400,
  note_malformed: 400,
  server_leaf_malformed: 400,
  token_refused: 401,
  assertion_refused: 401,
  not_found: 404,
  method_refused: 405,
  request_timeout: 408,
  message_too_large: 413,
  event_too_large: 413,
  content_type_refused: 415,
  encoding_refused: 415,
  requests_too_many: 429,
  headers_too_many: 431,
  server_failed: 500,
  server_busy: 503,
};

/** Seconds that a refused caller should wait, where the refusal does not say. */
const waitSeconds = 1;

/** A refusal as it leaves. */
export interface Refusal {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
  /** Whole seconds, for 429 and 503. */
  readonly retryAfter: number | undefined;
}

/** Storage that is full, locked or stopping, and a key device that is away, is trouble that passes. */
const passing: ReadonlySet<ErrorCode> = new Set([
  "store_busy",
  "store_full",
  "store_io_error",
  "store_closed",
  "store_overloaded",
  "durability_unmet",
  "key_provider_timeout",
  "key_provider_failed",
  "key_provider_unavailable",
  "key_fallback_refused",
]);

/** What a failure becomes on the wire; never a stack, a path or a text of the platform. */
export function refusalFor(
  error: unknown,
  more: Readonly<Partial<Record<ErrorCode, number>>> = {},
): Refusal {
  const failure = publicFailure(error, more);
  const { code, details } = failure;
  const status = statusByCode[code] ?? more[code] ?? 500;
  const { meaning, action } = errorCodes[code];
  const wait = details["retry_after_ms"];
  const retryAfter =
    status === 429 || status === 503
      ? Math.max(waitSeconds, Math.ceil(Number(wait ?? 0) / 1_000))
      : undefined;
  return { status, code, message: `${meaning} ${action}`, details, retryAfter };
}

function publicFailure(
  error: unknown,
  more: Readonly<Partial<Record<ErrorCode, number>>>,
): HoldfastError {
  if (!(error instanceof HoldfastError)) return new HoldfastError("server_failed");
  const { code } = error;
  if (statusByCode[code] !== undefined || more[code] !== undefined) return error;
  return new HoldfastError(passing.has(code) ? "server_busy" : "server_failed");
}
