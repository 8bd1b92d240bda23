/** What an exchange that threw means to its lane: code, status, and how it may be tried again. */
import { retryOf } from "../outbox/retry.ts";
import { HoldfastError } from "../std/errors.ts";
import type { RetryClass } from "./step.ts";

/** A failure as lanes, outbox and status see it. */
export interface ExchangeTrouble {
  readonly code: string;
  /** HTTP status, where there was an answer. */
  readonly status: number | undefined;
  readonly retry: RetryClass;
  /** What the server asked for, milliseconds. */
  readonly retryAfterMs: number | undefined;
}

/** Errors of other kinds are bugs: they are named `internal`, and the lane waits. */
export function troubleOf(error: unknown): ExchangeTrouble {
  if (!(error instanceof HoldfastError)) {
    return { code: "internal", status: undefined, retry: "after", retryAfterMs: undefined };
  }
  const { code, details } = error;
  const status = numberIn(details["status"]);
  const retryAfterMs = numberIn(details["retry_after_ms"]);
  return { code, status, retry: retryOf(code, status), retryAfterMs };
}

function numberIn(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
