/** From an event to the request that it becomes: pure, and the same event always gives the same bytes. */
import type { RecordedEvent } from "../../event/event.ts";
import { isoTime } from "../../event/wire.ts";
import { type ErrorCode, invariant, isHoldfastError } from "../../std/errors.ts";
import { canonicalBytes } from "../../std/jcs.ts";
import type { JsonValue } from "../../std/json.ts";
import { limits } from "../../std/limits.ts";
import {
  type BackendMethod,
  type CompiledBackend,
  type CompiledRoute,
  isDelivered,
  type RemoteState,
} from "./backend.ts";

/** One request, without its token. */
export interface BackendRequest {
  readonly method: BackendMethod;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | undefined;
}

/** What becomes of an event. */
export type Prepared =
  | { readonly kind: "send"; readonly route: CompiledRoute; readonly request: BackendRequest }
  /** A store's own book-keeping, or a type that the table skips. */
  | { readonly kind: "skip" }
  | { readonly kind: "refuse"; readonly code: ErrorCode };

/** The request of an event. `remote`: what `fetch` found, for a second try. */
export function prepareRequest(
  backend: CompiledBackend,
  event: RecordedEvent,
  remote?: RemoteState,
): Prepared {
  // System events speak in `pub`, to replicas and servers of this protocol.
  if (!isDelivered(event.op) || event.header.pub !== undefined) return { kind: "skip" };
  const route = backend.routeOf(event.type, event.op);
  if (route === undefined) return { kind: "refuse", code: "backend_route_missing" };
  if (route === "skip") return { kind: "skip" };
  const body = bodyOf(route, event, remote);
  if (typeof body === "string") return { kind: "refuse", code: body };
  const etag = remote?.etag;
  return {
    kind: "send",
    route,
    request: {
      method: route.method,
      url: backend.root + pathOf(route.path, event),
      headers: {
        ...backend.headers,
        accept: "application/json",
        "idempotency-key": event.id,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(etag === undefined ? {} : { "if-match": etag }),
      },
      body,
    },
  };
}

/** Where the state is that `fetch` looks at; `undefined`: nowhere. */
export function currentUrl(
  backend: CompiledBackend,
  route: CompiledRoute,
  event: RecordedEvent,
): string | undefined {
  return route.current === undefined ? undefined : backend.root + pathOf(route.current, event);
}

/** Fills a checked template in. Every value is an id of few characters, so that it stays in its segment. */
export function pathOf(template: string, event: RecordedEvent): string {
  const values: Readonly<Record<string, string>> = {
    id: event.id,
    stream: event.stream,
    scope: event.scope,
    actor: event.actor,
    device: event.header.dev,
  };
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = values[name] ?? "";
    invariant(/^[A-Za-z0-9_-]{1,128}$/.test(value), "ids in a path are base64url or UUIDs");
    return value;
  });
}

/** The event with its attribution, in the words of the wire; see spec/rest-transport.md. */
export function deliveredForm(event: RecordedEvent): JsonValue {
  const { header } = event;
  return {
    id: event.id,
    type: event.type,
    schema_version: event.schemaVersion,
    op: event.op,
    stream: event.stream,
    scope: event.scope,
    actor: event.actor,
    device: header.dev,
    leaf: event.leaf,
    recorded_at: isoTime(event.recordedAt),
    ...(event.occurredAt === undefined ? {} : { occurred_at: isoTime(event.occurredAt) }),
    ...(header.ref === undefined ? {} : { ref: header.ref }),
    ...(header.why === undefined ? {} : { why: header.why }),
    ...(event.reason === undefined ? {} : { reason: event.reason }),
    ...(event.data === undefined ? {} : { data: event.data as JsonValue }),
    ...(event.text === undefined ? {} : { text: event.text }),
  };
}

function bodyOf(
  { body }: CompiledRoute,
  event: RecordedEvent,
  remote: RemoteState | undefined,
): Uint8Array | undefined | ErrorCode {
  if (body === "none") return undefined;
  if (event.content !== "opened" && event.content !== "none") return "backend_event_unreadable";
  const payload = event.data ?? event.text;
  if (body === "data" && payload === undefined) return "backend_event_unreadable";
  try {
    const value =
      body === "event" ? deliveredForm(event) : body === "data" ? payload : body(event, remote);
    if (value === undefined) return undefined;
    const bytes = canonicalBytes(value);
    return bytes.length > limits.backendBodyBytesMax ? "backend_body_invalid" : bytes;
  } catch (error) {
    // The application's function may throw anything; what it says may hold content, and goes nowhere.
    if (typeof body === "function" || isHoldfastError(error)) return "backend_body_invalid";
    throw error;
  }
}
