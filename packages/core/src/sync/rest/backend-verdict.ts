/**
 * What a backend's answer means: a total table from HTTP status (RFC 9110 §15) to an outcome, shown in
 * spec/rest-transport.md, row by row; a test walks one against the other. Pure.
 */
import type { ErrorCode } from "../../std/errors.ts";
import type { BackendOperation } from "./backend.ts";

/** What one answer means for its event. */
export type BackendVerdict =
  | { readonly kind: "acknowledged" }
  /** The backend's state is another than the event supposes: the route's strategy decides. */
  | { readonly kind: "conflict" }
  /** It will not take this event as it is: a dead letter. */
  | { readonly kind: "refused" }
  /** A failure that retry.ts classifies by its code: tried again, or a token is asked for. */
  | { readonly kind: "failed"; readonly code: ErrorCode };

const acknowledged: BackendVerdict = { kind: "acknowledged" };
const refused: BackendVerdict = { kind: "refused" };
const conflict: BackendVerdict = { kind: "conflict" };
const failed = (code: ErrorCode): BackendVerdict => ({ kind: "failed", code });

const single: Readonly<Record<number, BackendVerdict>> = {
  401: failed("token_refused"),
  407: failed("token_refused"),
  408: failed("request_timeout"),
  409: conflict,
  412: conflict,
  423: failed("server_busy"),
  425: failed("server_busy"),
  429: failed("requests_too_many"),
  503: failed("server_busy"),
};

/** What the request was. */
export interface Judged {
  readonly operation: BackendOperation;
  readonly absent: "acknowledged" | "refused";
  /** Attempts at this event before this one, since it was enqueued or redriven. */
  readonly attempts: number;
}

/**
 * Attempts of an event whose answer may have been lost, during which 409 may be about its own first request,
 * still under way at the backend (draft-ietf-httpapi-idempotency-key-header §2.6).
 */
export const ownConflictAttemptsMax = 3;

/** The verdict for a status. Total: what is no status is a malformed answer. */
export function backendVerdict(status: number, request: Judged): BackendVerdict {
  if (status >= 200 && status < 300) return acknowledged;
  if (request.operation === "delete") {
    // Gone for good is what was asked for; "not found" may also be a wrong address.
    if (status === 410) return acknowledged;
    if (status === 404 && request.absent === "acknowledged") return acknowledged;
  }
  const { attempts } = request;
  if (status === 409 && attempts > 0 && attempts <= ownConflictAttemptsMax) {
    return failed("server_busy");
  }
  const known = single[status];
  if (known !== undefined) return known;
  if (status >= 300 && status < 400) return failed("redirect_refused");
  if (status >= 400 && status < 500) return refused;
  if (status >= 500 && status < 600) return failed("server_failed");
  return failed("answer_malformed");
}
