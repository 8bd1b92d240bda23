/** One pull: ask for the page after what is stored, verify and store it. Nothing is kept between pages. */
import { limits } from "../std/limits.ts";
import type { Random } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { type Exchange, type ExchangeTools, isTimeout } from "./exchange.ts";
import { troubleOf } from "./failure.ts";
import { followBehind, followLog } from "./follow-log.ts";
import type { LaneWork, WorkEnd } from "./lane.ts";
import type { Hello } from "./messages/hello.ts";
import type { PullPage } from "./messages/pull.ts";
import { spread } from "./spread.ts";
import type { SyncStore } from "./sync-store.ts";
import type { CallOptions, Transport } from "./transport.ts";

/** What {@link createPullLane} needs. */
export interface PullLaneDeps {
  readonly store: SyncStore;
  readonly transport: Pick<Transport, "pull" | "epoch" | "present">;
  readonly exchange: Exchange;
  readonly random: Random;
  readonly observer: Observer;
  /** Told when events that were delivered wait again. */
  readonly tailLost?: () => void;
  /** How long an idle lane rests, milliseconds, before the spread. */
  readonly pollMs: () => number;
  /** Told how many events a page brought. */
  readonly pulled: (events: number) => void;
  /** What follows once everything is pulled: grants that others sent, and those that are due to others. */
  readonly afterPull: (options: CallOptions) => Promise<void>;
}

/** The work of the pull lane, which also takes over the server's bounds. */
export interface PullLane extends LaneWork {
  greeted(hello: Hello): void;
}

interface PageBounds {
  readonly events: number;
  readonly bytes: number;
}

/** A page is never asked for below this: one event always fits. */
const pageLeast: PageBounds = { events: 1, bytes: limits.eventBytesMax };

/** Pulls page by page. */
export function createPullLane(deps: PullLaneDeps): PullLane {
  const { store, random } = deps;
  let ceiling: PageBounds = { events: limits.pullPageEvents, bytes: limits.pullPageBytes };
  let bounds = ceiling;
  let barren = 0;
  let shrunk = false;

  /** `undefined` when it cannot be smaller. */
  function halved(): PageBounds | undefined {
    const next = {
      events: Math.max(pageLeast.events, Math.floor(bounds.events / 2)),
      bytes: Math.max(Math.min(pageLeast.bytes, ceiling.bytes), Math.floor(bounds.bytes / 2)),
    };
    return next.events === bounds.events && next.bytes === bounds.bytes ? undefined : next;
  }

  function grow(): void {
    bounds = {
      events: Math.min(ceiling.events, bounds.events * 2),
      bytes: Math.min(ceiling.bytes, bounds.bytes * 2),
    };
  }

  async function exchangeOnce(tools: ExchangeTools): Promise<WorkEnd | undefined> {
    const request = store.planPull(bounds);
    if (request === undefined) return undefined;
    let page: PullPage;
    try {
      page = await tools.call((options) => deps.transport.pull(request, options));
    } catch (error) {
      const followed = await followBehind(deps, tools, error, request.checkpoint);
      if (followed !== undefined) return followed;
      if (isTimeout(error) || troubleOf(error).retry === "smaller") {
        const next = halved();
        shrunk = next !== undefined;
        bounds = next ?? bounds;
      }
      throw error;
    }
    const outcome = await store.takePull(request, page);
    if (outcome.status === "moved") return followLog(deps, tools, outcome.shown);
    if (outcome.status === "contradiction") {
      return { input: { kind: "failed", class: "halt" }, code: outcome.code };
    }
    grow();
    deps.pulled(outcome.events);
    if (!outcome.more) await tools.call(deps.afterPull);
    const isBarren = outcome.more && outcome.events === 0;
    barren = isBarren ? barren + 1 : 0;
    // A server that always has one more page with nothing new in it would be asked for ever.
    if (barren >= limits.barrenPagesMax) {
      barren = 0;
      return { input: { kind: "failed", class: "after" }, code: "sync_no_progress" };
    }
    if (isBarren && page.next <= request.after) {
      return { input: { kind: "failed", class: "now" }, code: "sync_no_progress" };
    }
    return { input: { kind: "succeeded", more: outcome.more } };
  }

  return {
    async run(signal) {
      shrunk = false;
      const end = await deps.exchange.run(signal, exchangeOnce);
      const { input } = end;
      if (input.kind !== "failed" || input.class !== "smaller" || shrunk) return end;
      // A page of one event is still too large: nothing can be made smaller, so it waits.
      return { ...end, input: { ...input, class: "after" } };
    },
    refresh: (signal) => deps.exchange.refresh(signal),
    restMs: () => spread(deps.pollMs(), 0.1, random),
    hasWork: () => true,
    greeted({ limits: advertised }) {
      ceiling = {
        events: clamp(advertised.pullEvents, limits.pullPageEvents),
        bytes: clamp(advertised.pullBytes, limits.pullPageBytes),
      };
      bounds = {
        events: Math.min(bounds.events, ceiling.events),
        bytes: Math.min(bounds.bytes, ceiling.bytes),
      };
    },
  };
}

function clamp(advertised: number, most: number): number {
  return Number.isFinite(advertised) ? Math.min(most, Math.max(1, Math.floor(advertised))) : most;
}
