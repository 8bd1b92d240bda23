/**
 * A backend that is no Holdfast server, as an application describes it: where it is, and for each event type
 * which request an event becomes. One event is one request; `Idempotency-Key` is the event's id.
 *
 * The table is checked before anything is sent ({@link compileBackend}). Paths hold nothing but the
 * application's own words and ids that say nothing (event, stream, scope, actor, device): a URL is logged by
 * whoever sees it, so that no payload may stand in it. Format and defaults: spec/rest-transport.md.
 */
import type { Operation, RecordedEvent } from "../../event/event.ts";
import { HoldfastError } from "../../std/errors.ts";
import type { JsonValue } from "../../std/json.ts";
import { limits } from "../../std/limits.ts";
import { parseServerUrl } from "../server-url.ts";

/** What a request does at the backend. */
export type BackendOperation = "create" | "update" | "delete" | "control";

/** Methods that carry events. */
export type BackendMethod = "POST" | "PUT" | "PATCH" | "DELETE";

/** Operations of events that are delivered; the others are a store's own book-keeping. */
export type DeliveredOperation = Extract<
  Operation,
  "create" | "amend" | "retract" | "resolve" | "sign" | "review" | "redact"
>;

/**
 * What happens when the backend answers 409 or 412. `review` (default): the entry becomes a dead letter, and
 * its stream waits for a person. `fetch`: the current state is fetched, and the event sent once more, with
 * `If-Match` where the state has an ETag; a second conflict is for review. `accept-remote`: the backend's state
 * stands; the entry is settled, and the conflict recorded.
 */
export type BackendConflictStrategy = "review" | "fetch" | "accept-remote";

/** What `fetch` found at the backend. */
export interface RemoteState {
  readonly etag: string | undefined;
  /** `undefined`: it was no JSON. */
  readonly value: JsonValue | undefined;
}

/** The body of a request. The same event must always give the same body; `undefined`: no body. */
export type BodyOf = (
  event: RecordedEvent,
  remote: RemoteState | undefined,
) => JsonValue | undefined;

/** One row of the table: which request an event of that type becomes. */
export interface BackendRoute {
  readonly type: string;
  /** For events with this operation only; such a row goes before one without. */
  readonly op?: DeliveredOperation;
  /** Default by `op`: create; amend and resolve update; retract deletes; sign, review and redact control. */
  readonly operation?: BackendOperation;
  /** Default by operation: POST, PUT, DELETE, POST. */
  readonly method?: BackendMethod;
  /** `/notes/{stream}`: literal segments and `{id} {stream} {scope} {actor} {device}`. */
  readonly path: string;
  /**
   * `event`: the event with its attribution (spec/rest-transport.md); `data`: the payload alone; `none`; or a
   * function of the application. Default: `none` for DELETE, else `event`.
   */
  readonly body?: "event" | "data" | "none" | BodyOf;
  readonly conflict?: BackendConflictStrategy;
  /** Where `fetch` finds the current state; default: `path`, except for POST. */
  readonly current?: string;
  /** What 404 means to a delete: that nothing is left to delete, or (default) a refusal. */
  readonly absent?: "acknowledged" | "refused";
}

/** Events of that type stay on the device: settled without a request. */
export interface SkippedType {
  readonly type: string;
  readonly op?: DeliveredOperation;
  readonly skip: true;
}

/** Where events go, and how. */
export interface Backend {
  /** https, or http to this machine; no credentials, query or fragment. */
  readonly url: string;
  readonly routes: readonly (BackendRoute | SkippedType)[];
  /** Sent with every request; no credentials, which come from a token source. */
  readonly headers?: Readonly<Record<string, string>>;
  /** One request, to the last byte of its answer. Default and bound: `limits.backendRequestMsMax`. */
  readonly timeoutMs?: number;
  /** Decompressed bytes of one answer. Default: `limits.backendAnswerBytesMax`. */
  readonly answerBytesMax?: number;
  /** Requests under way at once, of different streams. Default 4, at most `limits.backendRequestsMax`. */
  readonly requestsAtOnce?: number;
}

/** A row with its defaults filled in. */
export interface CompiledRoute {
  readonly operation: BackendOperation;
  readonly method: BackendMethod;
  readonly path: string;
  readonly body: "event" | "data" | "none" | BodyOf;
  readonly conflict: BackendConflictStrategy;
  readonly current: string | undefined;
  readonly absent: "acknowledged" | "refused";
}

/** A backend that was checked. */
export interface CompiledBackend {
  /** Scheme, host and port: names breaker and attempts. */
  readonly endpoint: string;
  readonly root: string;
  readonly secure: boolean;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly answerBytesMax: number;
  readonly requestsAtOnce: number;
  /** The row for an event; `undefined`: none. */
  routeOf(type: string, op: DeliveredOperation): CompiledRoute | "skip" | undefined;
}

const operationOf: Readonly<Record<DeliveredOperation, BackendOperation>> = {
  create: "create",
  amend: "update",
  resolve: "update",
  retract: "delete",
  sign: "control",
  review: "control",
  redact: "control",
};

const deliveredOperations = Object.keys(operationOf) as readonly DeliveredOperation[];

const methodOf: Readonly<Record<BackendOperation, BackendMethod>> = {
  create: "POST",
  update: "PUT",
  delete: "DELETE",
  control: "POST",
};

const methods: ReadonlySet<string> = new Set(Object.values(methodOf)).add("PATCH");
const strategies: ReadonlySet<string> = new Set(["review", "fetch", "accept-remote"]);
const bodies: ReadonlySet<string> = new Set(["event", "data", "none"]);

/** Is this an operation whose events are delivered? */
export function isDelivered(op: Operation): op is DeliveredOperation {
  return Object.hasOwn(operationOf, op);
}

/** Headers that are this side's to set, or that would carry credentials out of configuration. */
const ownHeaders =
  /^(authorization|cookie2?|proxy-.*|host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|content-.*|accept(-encoding)?|idempotency-key|if-.*)$/;
const headerName = /^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$/;
const headerValue = /^[\x20-\x7e]{0,1024}$/;

/** Checks a backend. Throws `backend_invalid`, `server_url_invalid`, `transport_insecure`. */
export function compileBackend(backend: Backend): CompiledBackend {
  const { endpoint, root, secure } = parseServerUrl(backend.url);
  const rows = compileRows(backend.routes);
  return {
    endpoint,
    root,
    secure,
    headers: compileHeaders(backend.headers ?? {}),
    timeoutMs: bounded("timeoutMs", backend.timeoutMs, limits.backendRequestMsMax),
    answerBytesMax: bounded(
      "answerBytesMax",
      backend.answerBytesMax,
      limits.backendAnswerBytesMax,
      limits.messageJsonBytesMax,
    ),
    requestsAtOnce: bounded("requestsAtOnce", backend.requestsAtOnce, 4, limits.backendRequestsMax),
    routeOf: (type, op) => rows.get(keyOf(type, op)),
  };
}

/** Every event type with every operation that has a row. */
function compileRows(routes: Backend["routes"]): ReadonlyMap<string, CompiledRoute | "skip"> {
  const seen = new Set<string>();
  const rows = new Map<string, CompiledRoute | "skip">();
  const put = (row: BackendRoute | SkippedType, op: DeliveredOperation, part: string): void => {
    rows.set(keyOf(row.type, op), "skip" in row ? "skip" : compileRoute(row, op, part));
  };
  for (const [at, row] of routes.entries()) {
    const part = `/routes/${at}`;
    if (row.op !== undefined && !isDelivered(row.op)) invalid(`${part}/op`);
    if (row.type === "" || row.type.length > limits.nameBytesMax) invalid(`${part}/type`);
    const key = keyOf(row.type, row.op);
    if (seen.has(key)) invalid(part, "two rows for the same events");
    seen.add(key);
    const ops = row.op === undefined ? deliveredOperations : [row.op];
    for (const op of ops) {
      // A row for this operation alone goes before one for all of them, wherever it stands.
      const overruled = row.op === undefined && routes.some(sameEvents(row.type, op));
      if (!overruled) put(row, op, part);
    }
  }
  return rows;
}

function sameEvents(type: string, op: DeliveredOperation) {
  return (row: BackendRoute | SkippedType): boolean => row.type === type && row.op === op;
}

function keyOf(type: string, op: DeliveredOperation | undefined): string {
  return `${op ?? "*"} ${type}`;
}

function compileRoute(row: BackendRoute, op: DeliveredOperation, part: string): CompiledRoute {
  const operation = row.operation ?? operationOf[op];
  if (!Object.hasOwn(methodOf, operation)) invalid(`${part}/operation`);
  const method = row.method ?? methodOf[operation];
  if (!methods.has(method)) invalid(`${part}/method`);
  const body = row.body ?? (method === "DELETE" ? "none" : "event");
  if (typeof body !== "function" && !bodies.has(body)) invalid(`${part}/body`);
  const conflict = row.conflict ?? "review";
  if (!strategies.has(conflict)) invalid(`${part}/conflict`);
  checkTemplate(row.path, `${part}/path`);
  const current = row.current ?? (method === "POST" ? undefined : row.path);
  if (current !== undefined) checkTemplate(current, `${part}/current`);
  return {
    operation,
    method,
    path: row.path,
    body,
    conflict,
    current,
    absent: row.absent ?? "refused",
  };
}

const literal = /^[A-Za-z0-9_~.-]+$/;
const placeholders: ReadonlySet<string> = new Set(["id", "stream", "scope", "actor", "device"]);

/** Segments are literals or one placeholder each: nothing can leave its segment. */
function checkTemplate(template: string, part: string): void {
  const [first, ...segments] = template.split("/");
  const fits =
    first === "" &&
    template.length <= 1_024 &&
    segments.every((segment) => {
      const name = /^\{(\w+)\}$/.exec(segment)?.[1];
      if (name !== undefined) return placeholders.has(name);
      return literal.test(segment) && segment !== "." && segment !== "..";
    });
  if (!fits) invalid(part, "segments of letters, digits, _ ~ . - or one placeholder");
}

function compileHeaders(
  headers: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const compiled: Record<string, string> = {};
  for (const [given, value] of Object.entries(headers)) {
    const name = given.toLowerCase();
    const fits = headerName.test(name) && !ownHeaders.test(name) && headerValue.test(value);
    if (!fits || Object.hasOwn(compiled, name)) invalid("/headers");
    compiled[name] = value;
  }
  return compiled;
}

function bounded(
  part: string,
  value: number | undefined,
  usual: number,
  most: number = usual,
): number {
  if (value === undefined) return usual;
  if (!Number.isSafeInteger(value) || value < 1 || value > most) invalid(`/${part}`, `1…${most}`);
  return value;
}

function invalid(part: string, reason = "not of its form"): never {
  throw new HoldfastError("backend_invalid", { part, reason });
}
