/**
 * One exchange with a backend without receipts: some leased entries, each one request, several streams at once,
 * of each stream one event after the other. What became of them is settled together, whatever happened.
 *
 * An exchange ends early, and gives back what it did not send, when the backend fails twice in a row, asks to
 * wait or refuses the token, when an urgent event was recorded meanwhile, or when its time is over. What fails for one event alone
 * holds up its stream and nothing else.
 */
import { backoffMs } from "../../outbox/backoff.ts";
import { HoldfastError, isHoldfastError } from "../../std/errors.ts";
import { parseJson } from "../../std/json.ts";
import { limits } from "../../std/limits.ts";
import type { Clock, Random } from "../../std/ports.ts";
import type { Observer } from "../../telemetry/observer.ts";
import type { Exchange, ExchangeTools } from "../exchange.ts";
import { type ExchangeTrouble, troubleOf } from "../failure.ts";
import type { HttpAnswer, HttpPort } from "../http-port.ts";
import type { LaneWork, WorkEnd } from "../lane.ts";
import { spread } from "../spread.ts";
import type { CallOptions } from "../transport.ts";
import type { CompiledBackend, CompiledRoute, RemoteState } from "./backend.ts";
import type { BackendStore, DeliveryEnd, DeliveryPlan, PlannedDelivery } from "./backend-store.ts";
import { type BackendVerdict, backendVerdict } from "./backend-verdict.ts";
import { type BackendRequest, currentUrl, prepareRequest } from "./prepare-request.ts";
import { retryAfterMs } from "./retry-after.ts";

/** What {@link createRestLane} needs. */
export interface RestLaneDeps {
  readonly backend: CompiledBackend;
  readonly store: BackendStore;
  readonly http: Pick<HttpPort, "request">;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer: Observer;
  /** Told what an exchange delivered. */
  readonly pushed: (delivered: number, rejected: number) => void;
}

/** An answer that was taken: its status, and what it means. */
interface Taken {
  readonly status: number;
  readonly verdict: Exclude<BackendVerdict, { readonly kind: "failed" }>;
}

/** One exchange under way. */
interface Round {
  readonly plan: DeliveryPlan;
  readonly tools: ExchangeTools;
  readonly ends: Map<number, DeliveryEnd>;
  /** Nothing more is begun. */
  stopped: boolean;
  /** Requests that failed since the last one that did not. */
  failuresInRow: number;
  /** The failure that says most of the endpoint. */
  trouble: { readonly error: unknown; readonly of: ExchangeTrouble } | undefined;
}

/** One event may make a backend fail; when the next one fails, too, it is about the backend. */
const failuresInRowMax = 2;

const nothingLeft: WorkEnd = { input: { kind: "succeeded", more: false } };

/** The work of the push lane over HTTP requests of a table. */
export function createRestLane(deps: RestLaneDeps): LaneWork {
  const { backend, store, clock, random, observer } = deps;
  let refusalsInRow = 0;

  const dueAt = (): number | undefined => {
    try {
      return store.nextDueAt();
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
      // A store that cannot be read just now has something due: the exchange then says what is wrong.
      return Number.NEGATIVE_INFINITY;
    }
  };
  const isDue = (): boolean => {
    const due = dueAt();
    return due !== undefined && due <= clock.now();
  };

  /** Sends a request and judges the answer; what is a failure of the exchange throws. */
  async function send(
    { tools }: Round,
    { route, request }: Sent,
    attempts: number,
  ): Promise<Taken> {
    return tools.call(async (options) => {
      const answer = await deps.http.request(httpRequest(backend, request, options));
      const { operation, absent } = route;
      const verdict = backendVerdict(answer.status, { operation, absent, attempts });
      if (verdict.kind === "failed") throw failureOf(verdict.code, answer, clock.now());
      return { status: answer.status, verdict };
    });
  }

  /** A conflict by the route's strategy. */
  async function settleConflict(
    round: Round,
    delivery: PlannedDelivery,
    route: CompiledRoute,
    status: number,
  ): Promise<DeliveryEnd> {
    if (route.conflict === "accept-remote") {
      observer.count("conflicts_resolved", 1, { strategy: route.conflict });
      return { kind: "remote-stands", status };
    }
    const again = route.conflict === "fetch" ? await secondTry(round, delivery, route) : undefined;
    if (again?.verdict.kind === "acknowledged") {
      observer.count("conflicts_resolved", 1, { strategy: "fetch" });
      return { kind: "acknowledged", status: again.status };
    }
    if (again?.verdict.kind === "refused") return refusal(round, again.status);
    return { kind: "refused", code: "backend_conflict", status: again?.status ?? status };
  }

  /** Sends the event once more, on top of what is there now; `undefined`: there is nothing to look at. */
  async function secondTry(
    round: Round,
    delivery: PlannedDelivery,
    route: CompiledRoute,
  ): Promise<Taken | undefined> {
    const remote = await fetchCurrent(round, delivery, route);
    if (remote === undefined) return undefined;
    const prepared = prepareRequest(backend, delivery.event, remote);
    return prepared.kind === "send" ? send(round, prepared, 0) : undefined;
  }

  async function fetchCurrent(
    { tools }: Round,
    { event }: PlannedDelivery,
    route: CompiledRoute,
  ): Promise<RemoteState | undefined> {
    const url = currentUrl(backend, route, event);
    if (url === undefined) return undefined;
    const headers = { ...backend.headers, accept: "application/json" };
    return tools.call(async (options) => {
      const request = { method: "GET" as const, url, headers, body: undefined };
      const answer = await deps.http.request(httpRequest(backend, request, options));
      const judged = { operation: "control", absent: "refused", attempts: 0 } as const;
      const verdict = backendVerdict(answer.status, judged);
      if (verdict.kind === "failed") throw failureOf(verdict.code, answer, clock.now());
      return verdict.kind === "acknowledged" ? remoteOf(answer) : undefined;
    });
  }

  /** One event refused is about the event; one after the other, and none taken, is about something else. */
  function refusal(round: Round, status: number): DeliveryEnd {
    refusalsInRow += 1;
    if (refusalsInRow <= limits.backendRefusalsInRowMax) {
      return { kind: "refused", code: "backend_refused", status };
    }
    const error = new HoldfastError("backend_refuses_all", { status });
    note(round, error);
    const nextAt = clock.now() + backoffMs({ attempt: Infinity }, random);
    return { kind: "failed", code: error.code, status, nextAt };
  }

  async function deliver(round: Round, delivery: PlannedDelivery): Promise<DeliveryEnd> {
    const { prepared, attempts } = delivery;
    if (prepared.kind === "skip") return { kind: "acknowledged" };
    if (prepared.kind === "refuse") return { kind: "refused", code: prepared.code };
    try {
      const { status, verdict } = await send(round, prepared, attempts);
      if (verdict.kind === "conflict") {
        return await settleConflict(round, delivery, prepared.route, status);
      }
      if (verdict.kind === "refused") return refusal(round, status);
      return { kind: "acknowledged", status };
    } catch (error) {
      return failed(round, delivery, error);
    }
  }

  function failed(round: Round, { attempts }: PlannedDelivery, error: unknown): DeliveryEnd {
    const trouble = note(round, error);
    const { code, status } = trouble;
    if (code === "certificate_pin_mismatch") observer.count("certificate_pin_failures", 1);
    const asked = trouble.retryAfterMs === undefined ? {} : { retryAfterMs: trouble.retryAfterMs };
    const wait =
      code === "sync_cancelled" ? 0 : backoffMs({ attempt: attempts + 1, ...asked }, random);
    const nextAt = clock.now() + wait;
    return { kind: "failed", code, nextAt, ...(status === undefined ? {} : { status }) };
  }

  /** Events of one stream, one after the other, until one is not taken. */
  async function deliverStream(
    round: Round,
    stream: readonly PlannedDelivery[],
    mayBegin: () => boolean,
  ): Promise<void> {
    for (const delivery of stream) {
      if (round.stopped || !mayBegin()) return;
      const end = await deliver(round, delivery);
      round.ends.set(delivery.position, end);
      if (end.kind !== "acknowledged" && end.kind !== "remote-stands") return;
      if (delivery.attempt !== undefined) refusalsInRow = round.failuresInRow = 0;
    }
  }

  async function deliverAll(round: Round): Promise<void> {
    const started = clock.monotonic();
    const head = store.head();
    let begun = false;
    const mayBegin = (): boolean => {
      if (!begun) return (begun = true);
      if (clock.monotonic() - started >= limits.backendBeginMsMax) return false;
      return !store.urgentSince(head);
    };
    const streams = byStream(round.plan.deliveries).values();
    const runner = async (): Promise<void> => {
      for (const stream of streams) await deliverStream(round, stream, mayBegin);
    };
    const runners = round.tools.probe ? 1 : backend.requestsAtOnce;
    await Promise.all(Array.from({ length: runners }, runner));
  }

  async function exchangeOnce(tools: ExchangeTools): Promise<WorkEnd | undefined> {
    const entries = tools.probe ? 1 : limits.backendBatchEntriesMax;
    const plan = await store.plan(entries, (event) => prepareRequest(backend, event));
    if (plan === undefined) return undefined;
    const round: Round = {
      plan,
      tools,
      ends: new Map(),
      stopped: false,
      failuresInRow: 0,
      trouble: undefined,
    };
    await deliverAll(round);
    const { delivered, rejected } = await store.settle(plan, round.ends);
    if (delivered + rejected > 0) deps.pushed(delivered, rejected);
    const { trouble } = round;
    // What the endpoint asks for, or refuses, counts; other failures do while nothing gets through.
    if (trouble !== undefined && (isDecisive(trouble.of) || delivered + rejected === 0)) {
      throw trouble.error;
    }
    const input = { kind: "succeeded", more: isDue() } as const;
    return trouble === undefined ? { input } : { input, code: trouble.of.code };
  }

  return {
    async run(signal) {
      if (!isDue()) return nothingLeft;
      const end = await deps.exchange.run(signal, exchangeOnce);
      // Another process took the entries over: it delivers them, or they are planned anew.
      if (end.code !== "outbox_lease_lost") return end;
      return { input: { kind: "failed", class: "now" }, code: end.code };
    },
    refresh: (signal) => deps.exchange.refresh(signal),
    restMs() {
      const due = dueAt();
      const poll = spread(limits.pollMs, 0.1, random);
      if (due === undefined) return poll;
      // Not at once: whoever holds the entries that are due is another process.
      return Math.min(poll, Math.max(limits.backoffFirstMs, due - clock.now()));
    },
    hasWork: isDue,
  };
}

type Sent = Extract<PlannedDelivery["prepared"], { readonly kind: "send" }>;

/** Notes a failure, of which the one that says most is kept; when it is about the backend, nothing more begins. */
function note(round: Round, error: unknown): ExchangeTrouble {
  const of = troubleOf(error);
  round.failuresInRow += 1;
  if (isDecisive(of) || round.failuresInRow >= failuresInRowMax) round.stopped = true;
  if (round.trouble === undefined || rank(of) > rank(round.trouble.of)) {
    round.trouble = { error, of };
  }
  return of;
}

/** How much a failure says of the endpoint: evidence most, then the token, then what it asks for. */
function rank({ retry, retryAfterMs }: ExchangeTrouble): number {
  if (retry === "halt") return 3;
  if (retry === "auth") return 2;
  return retryAfterMs === undefined ? 0 : 1;
}

function isDecisive(trouble: ExchangeTrouble): boolean {
  const { code } = trouble;
  return rank(trouble) > 0 || code === "sync_cancelled" || code === "backend_refuses_all";
}

function byStream(
  deliveries: readonly PlannedDelivery[],
): ReadonlyMap<string, readonly PlannedDelivery[]> {
  const streams = new Map<string, PlannedDelivery[]>();
  for (const delivery of deliveries) {
    const { stream } = delivery.event;
    streams.set(stream, [...(streams.get(stream) ?? []), delivery]);
  }
  for (const stream of streams.values()) stream.sort((a, b) => a.position - b.position);
  return streams;
}

function httpRequest(
  { timeoutMs, answerBytesMax }: CompiledBackend,
  {
    method,
    url,
    headers,
    body,
  }: Omit<BackendRequest, "method"> & { readonly method: BackendRequest["method"] | "GET" },
  { token, signal }: CallOptions,
) {
  const bearer = token === undefined || token === "" ? {} : { authorization: `Bearer ${token}` };
  return {
    method,
    url,
    headers: { ...headers, ...bearer },
    timeoutMs,
    answerBytesMax,
    ...(body === undefined ? {} : { body }),
    ...(signal === undefined ? {} : { signal }),
  };
}

function failureOf(
  code: ConstructorParameters<typeof HoldfastError>[0],
  { status, headers }: HttpAnswer,
  now: number,
): HoldfastError {
  const wait = retryAfterMs(headers, now);
  return new HoldfastError(code, {
    status,
    ...(wait === undefined ? {} : { retry_after_ms: wait }),
  });
}

const etagForm = /^(?:W\/)?"[\x21\x23-\x7e]{0,256}"$/;

function remoteOf({ headers, body }: HttpAnswer): RemoteState {
  const etag = headers["etag"];
  const known = etag !== undefined && etagForm.test(etag);
  try {
    return { etag: known ? etag : undefined, value: parseJson(body) };
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return { etag: known ? etag : undefined, value: undefined };
  }
}
