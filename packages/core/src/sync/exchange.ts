/**
 * What push and pull share around one exchange: breaker, token, bound of time, telemetry. The exchange itself
 * says how it ended; a failure that it does not know itself is classified here.
 */
import type { AttemptOutcome } from "../outbox/breaker.ts";
import { failureClassOf } from "../outbox/retry.ts";
import type { BreakerVerdict } from "../outbox/breakers.ts";
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { bounded } from "./abort.ts";
import type { Authorizer } from "./auth.ts";
import { type ExchangeTrouble, troubleOf } from "./failure.ts";
import type { LaneName, WorkEnd } from "./lane.ts";
import type { AbortSignalLike, CallOptions } from "./transport.ts";

/** The breaker of the transport's endpoint; see `outbox/breakers.ts`. Failures are those of the store. */
export interface EndpointBreaker {
  admit(): BreakerVerdict | Promise<BreakerVerdict>;
  ended(outcome: AttemptOutcome): void | Promise<void>;
}

/** What {@link createExchange} needs. */
export interface ExchangeDeps {
  readonly lane: LaneName;
  readonly breaker: EndpointBreaker;
  readonly auth: Authorizer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly observer: Observer;
  /** Told whether the endpoint answered. */
  readonly reached: (answered: boolean) => void;
}

/** What an exchange may do. */
export interface ExchangeTools {
  readonly signal: AbortSignalLike;
  /** The breaker let this exchange through to learn whether the endpoint works again: one request is enough. */
  readonly probe: boolean;
  /** One call to the server: bounded in time, with a token. */
  call<T>(send: (options: CallOptions) => Promise<T>): Promise<T>;
}

/** How an exchange ended that did not throw; `undefined`: nothing was sent. */
export type ExchangeEnd = WorkEnd | undefined;

/** Runs exchanges of one lane. */
export interface Exchange {
  run(
    signal: AbortSignalLike,
    exchange: (tools: ExchangeTools) => Promise<ExchangeEnd>,
  ): Promise<WorkEnd>;
  refresh(signal: AbortSignalLike): Promise<WorkEnd>;
}

/** Guards around the exchanges of one lane. Neither method rejects. */
export function createExchange(deps: ExchangeDeps): Exchange {
  const { breaker, auth, clock, timers, observer, lane } = deps;
  let lastToken: string | undefined;

  async function guarded(work: () => Promise<WorkEnd>): Promise<WorkEnd> {
    try {
      return await work();
    } catch (error) {
      return endOf(troubleOf(error));
    }
  }

  async function report(outcome: AttemptOutcome): Promise<void> {
    await breaker.ended(outcome);
    if (outcome === "answered") deps.reached(true);
    if (outcome === "network") deps.reached(false);
  }

  async function admitted(
    token: string,
    probe: boolean,
    signal: AbortSignalLike,
    exchange: (tools: ExchangeTools) => Promise<ExchangeEnd>,
  ): Promise<WorkEnd> {
    const started = clock.monotonic();
    let answered = false;
    const end = await exchange({
      signal,
      probe,
      async call(send) {
        const answer = await bounded(timers, limits.exchangeMsMax, signal, (inner) =>
          send({ signal: inner, token }),
        );
        answered = true;
        await report("answered");
        return answer;
      },
    });
    if (!answered) await report("cancelled");
    if (end === undefined) return { input: { kind: "succeeded", more: false } };
    const result = end.input.kind === "succeeded" ? "succeeded" : "failed";
    observer.count("sync_exchanges", 1, { lane, result });
    observer.observe("sync_latency", clock.monotonic() - started, { lane });
    return end;
  }

  async function failed(error: unknown): Promise<WorkEnd> {
    const trouble = troubleOf(error);
    const cancelled = trouble.code === "sync_cancelled";
    // A refused token is no verdict on the endpoint, and one that was never sent is none at all.
    await report(cancelled ? "cancelled" : failureClassOf(trouble.code, trouble.status));
    const end = endOf(trouble);
    if (!cancelled) {
      observer.count("sync_exchanges", 1, { lane, result: "failed" });
      if (trouble.retry !== "auth")
        observer.count("sync_retries", 1, { lane, retry: trouble.retry });
    }
    return end;
  }

  return {
    run: (signal, exchange) =>
      guarded(async () => {
        const verdict = await breaker.admit();
        if (!verdict.admitted) {
          const waitMs = verdict.retryAt - clock.now();
          return { input: { kind: "breaker-open", waitMs }, code: "breaker_open" };
        }
        // Asked for before anything is leased: waiting for a token must not cost the entries their lease.
        try {
          lastToken = await auth.token(signal);
        } catch (error) {
          return withoutToken(await failed(error));
        }
        try {
          return await admitted(lastToken, verdict.probe, signal, exchange);
        } catch (error) {
          return failed(error);
        }
      }),
    refresh: (signal) =>
      guarded(async () => {
        if (lastToken !== undefined) auth.refused(lastToken);
        await auth.token(signal);
        return { input: { kind: "token-fresh" } };
      }).then(withoutToken),
  };
}

/** The token endpoint's refusal is the answer of a refresh, and of a first request for a token. */
function withoutToken(end: WorkEnd): WorkEnd {
  const { input } = end;
  if (input.kind !== "failed" || input.class === "halt") return end;
  if (input.class === "auth") return { ...end, input: { kind: "token-refused" } };
  // Nothing of a request for a token can be made smaller or planned anew: it is asked again later.
  return { ...end, input: { ...input, class: "after" } };
}

/** The input that a failure is to its lane. */
export function endOf(trouble: ExchangeTrouble): WorkEnd {
  const { code, retry, retryAfterMs } = trouble;
  if (code === "sync_cancelled") return { input: { kind: "cancelled" } };
  if (code === "sync_not_enrolled") return { input: { kind: "token-refused" }, code };
  return {
    input: {
      kind: "failed",
      class: retry,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    },
    code,
  };
}

const timeouts: ReadonlySet<string> = new Set(["network_timeout", "request_timeout"]);

/** Did the server leave this unanswered for too long? */
export function isTimeout(error: unknown): boolean {
  if (!(error instanceof HoldfastError)) return false;
  return timeouts.has(error.code);
}
