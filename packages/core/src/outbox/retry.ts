/**
 * What a failure of an exchange means for the next try: a closed table from code, and where the code is not
 * known from HTTP status (RFC 9110 §15), to a class, and from the class to what to do. Pure.
 *
 * | Class | What it is | Next try | Attempts at most | Opens the breaker after |
 * | --- | --- | --- | --- | --- |
 * | network | nobody answered, or the answer was cut off | after | none | 5 |
 * | server | the server failed (5xx) | after | none | 5 |
 * | busy | the server asks to slow down (429, 425) | after | none | 8 |
 * | stale | the server knows more or less than was believed (409) | now | 64 | never |
 * | local | this device could not store or lost its lease | after | none | never |
 * | auth | the token is not accepted (401, 403) | auth | none | never |
 * | size | too much in one exchange (413) | smaller | 32 | never |
 * | refused | the server will never take it as it is (400, 415, 422, 431) | never | 1 | never |
 * | contradiction | the server finds this log or this software wrong | halt | none | never |
 * | unknown | a code that this release does not know | after | 1,000 | 10 |
 *
 * "None" is deliberate: a device that is offline for months gives nothing up. 32 halvings take any exchange
 * to one event. `auth` and `halt` leave the entries as they are.
 */

/** What to do after a failure. */
export type Retry = "now" | "after" | "auth" | "smaller" | "never" | "halt";

/** Kinds of failures, for limits of attempts and for the breaker. */
export type FailureClass =
  | "network"
  | "server"
  | "busy"
  | "stale"
  | "local"
  | "auth"
  | "size"
  | "refused"
  | "contradiction"
  | "unknown";

/** A number for each class. */
export type ByFailureClass = Readonly<Record<FailureClass, number>>;

const retries: Readonly<Record<FailureClass, Retry>> = {
  network: "after",
  server: "after",
  busy: "after",
  stale: "now",
  local: "after",
  auth: "auth",
  size: "smaller",
  refused: "never",
  contradiction: "halt",
  unknown: "after",
};

/** Attempts after which an entry becomes a dead letter; 0: never. */
export const attemptsMaxDefault: ByFailureClass = {
  network: 0,
  server: 0,
  busy: 0,
  stale: 64,
  local: 0,
  auth: 0,
  size: 32,
  refused: 1,
  contradiction: 0,
  unknown: 1_000,
};

/** Failures in a row after which the breaker opens; 0: failures of this class say nothing of the endpoint. */
export const breakerThresholdsDefault: ByFailureClass = {
  network: 5,
  server: 5,
  busy: 8,
  stale: 0,
  local: 0,
  auth: 0,
  size: 0,
  refused: 0,
  contradiction: 0,
  unknown: 10,
};

/** Every class, in the order of the table above. */
export const failureClasses = Object.keys(retries) as readonly FailureClass[];

/**
 * Codes that say more than the status, by class. What the server says of a whole log (`push_*`, `opening_wrong`)
 * halts: giving up on the entries, exchange by exchange, would empty the outbox into dead letters because of
 * one altered row or one bug. What it says of one event arrives as a disposition and is rejected alone.
 */
const codesOf: Readonly<Partial<Record<FailureClass, readonly string[]>>> = {
  network: [
    "network_unreachable",
    "network_timeout",
    "request_timeout",
    // What a captive portal answers.
    "redirect_refused",
    "answer_malformed",
  ],
  server: ["server_failed", "answer_too_large", "sync_no_progress"],
  busy: [
    "server_busy",
    "server_behind",
    "server_put_back",
    "requests_too_many",
    "backend_refuses_all",
  ],
  stale: [
    "push_stale",
    "push_reopened",
    "device_log_forked",
    "incarnation_contended",
    "server_log_moved",
  ],
  local: ["lease_lost", "outbox_lease_lost", "sync_cancelled", "sync_closed", "breaker_open"],
  auth: [
    "token_refused",
    "assertion_refused",
    "caller_unknown",
    "device_revoked",
    "role_insufficient",
    "access_denied",
  ],
  refused: [
    // One body alone that no exchange is large enough for.
    "event_too_large",
    // What a backend that gives no receipts says of one event, and what no request can be made of.
    "backend_conflict",
    "backend_refused",
    "backend_route_missing",
    "backend_event_unreadable",
    "backend_body_invalid",
  ],
  size: ["message_too_large", "push_too_large", "batch_too_large"],
  contradiction: [
    "server_key_changed",
    "certificate_pin_mismatch",
    "message_malformed",
    "request_malformed",
    "opening_wrong",
    "push_foreign",
    "push_malformed",
    "push_note_malformed",
    "push_signature_wrong",
    "push_root_wrong",
  ],
};

const byCode: ReadonlyMap<string, FailureClass> = new Map(
  Object.entries(codesOf).flatMap(([failureClass, codes]) =>
    codes.map((code) => [code, failureClass as FailureClass] as const),
  ),
);

/** Codes of this device's own storage. */
const localPrefix = "store_";

/** The class of a failure. `status`: HTTP status where there was an answer. */
export function failureClassOf(code: string, status?: number): FailureClass {
  const known = byCode.get(code);
  if (known !== undefined) return known;
  if (status !== undefined) return classOfStatus(status);
  return code.startsWith(localPrefix) ? "local" : "unknown";
}

function classOfStatus(status: number): FailureClass {
  switch (status) {
    case 401:
    case 403:
    case 407:
      return "auth";
    case 408:
      return "network";
    case 409:
      return "stale";
    case 413:
      return "size";
    case 425:
    case 429:
      return "busy";
    case 400:
    case 415:
    case 422:
    case 431:
      return "refused";
    default:
      // 404, 451 and the like come from whatever stands between as often as from the server.
      return status >= 500 && status < 600 ? "server" : "unknown";
  }
}

/** What to do after a failure of that class. */
export function retryOfClass(failureClass: FailureClass): Retry {
  return retries[failureClass];
}

/** What to do after a failure with that code, or else with that HTTP status. */
export function retryOf(code: string, status?: number): Retry {
  return retries[failureClassOf(code, status)];
}
