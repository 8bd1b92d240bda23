/**
 * Following the server log into the one that goes on for it: asked when an answer shows a checkpoint of another
 * log, or when the server has less of the log than a request named. One step at a time, as the server tells them.
 */
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { ExchangeTools } from "./exchange.ts";
import type { WorkEnd } from "./lane.ts";
import type { EpochAnswer, EpochRequest } from "./messages/epoch.ts";
import { presentReceipts, showCheckpoint } from "./present-receipts.ts";
import type { ShownLog, SyncStore } from "./sync-store.ts";
import type { Transport } from "./transport.ts";

export interface FollowDeps {
  readonly store: Pick<
    SyncStore,
    "planEpoch" | "takeEpoch" | "planShow" | "planPresent" | "presented"
  >;
  readonly transport: Pick<Transport, "epoch" | "present">;
  readonly observer: Observer;
  /** Told when events that were delivered wait again. */
  readonly tailLost?: () => void;
}

/**
 * How the lane goes on; `undefined`: no other log goes on for the one that is held, which only an answer that
 * showed one contradicts. Throws what the transport throws.
 */
export async function followLog(
  { store, transport, observer, tailLost }: FollowDeps,
  tools: Pick<ExchangeTools, "call">,
  shown?: ShownLog,
): Promise<WorkEnd | undefined> {
  const asked = async (request: EpochRequest): Promise<EpochAnswer | undefined> => {
    try {
      return await tools.call((options) => transport.epoch(request, options));
    } catch (error) {
      if (isServersNotFound(error)) return undefined;
      throw error;
    }
  };
  let moved = false;
  let request = store.planEpoch();
  for (let step = 0; step < limits.logStepsMax && request !== undefined; step++) {
    if (request.log === shown?.log) break;
    const answer = await asked(request);
    if (answer === undefined && (shown === undefined || moved)) break;
    const outcome = await store.takeEpoch(request, answer, shown);
    if (outcome.status === "contradiction") {
      return { input: { kind: "failed", class: "halt" }, code: outcome.code };
    }
    if (outcome.status === "ask") {
      request = outcome.request;
      continue;
    }
    moved = true;
    if (outcome.status === "followed") tell(outcome.tailLost);
    // Before anything is pushed again: the server then knows what it lost.
    await presentReceipts(store, transport, tools);
    if (shown === undefined) break;
    request = store.planEpoch();
  }
  return moved || shown !== undefined ? askedAgain : undefined;

  function tell(isLost: boolean): void {
    observer.count("sync_logs_followed", 1, { result: isLost ? "tail_lost" : "whole" });
    if (!isLost) return;
    observer.log("warn", "sync_log_tail_lost");
    tailLost?.();
  }
}

const askedAgain: WorkEnd = {
  input: { kind: "failed", class: "now" },
  code: "server_log_moved",
};

/**
 * As {@link followLog}, after a failure of a request that named a checkpoint of that size: where the server has less
 * of its log than that, another one may go on for it. Where none does, the server is shown what it has signed, and
 * refuses with `server_put_back`. `undefined`: it was another failure, or nothing goes on and nothing is beyond.
 */
export async function followBehind(
  deps: FollowDeps,
  tools: Pick<ExchangeTools, "call">,
  error: unknown,
  named: number,
): Promise<WorkEnd | undefined> {
  if (!isLogBehind(error)) return undefined;
  // The other lane may have followed it meanwhile.
  const now = deps.store.planEpoch()?.size;
  if (now !== named) return askedAgain;
  const followed = await followLog(deps, tools);
  if (followed !== undefined) return followed;
  await showCheckpoint(deps.store, (request) =>
    tools.call((options) => deps.transport.present(request, options)),
  );
  return undefined;
}

/** Does the server have less than the request named: of its log, of positions, or of a device log? */
export function isLogBehind(error: unknown): boolean {
  return isHoldfastError(error, "server_behind");
}

/** A proxy's 404 says nothing of the server's logs: its own answers name their request. */
function isServersNotFound(error: unknown): boolean {
  if (!(error instanceof HoldfastError) || error.code !== "not_found") return false;
  const { status, request_id: named } = error.details;
  return status === undefined || named !== undefined;
}
