/**
 * The sync engine: two lanes, a live tail, a watchdog, and what an application sees of them.
 *
 * Push and pull run independently; each is driven by `step` (the table: spec/sync-states.md). Everything that
 * must survive a restart is in the store, so that a process may end at any await: leases expire, a push that
 * was answered and not stored is answered the same way again, a pull begins where the last page was stored.
 * Several processes may run an engine over one store: whoever holds a lease sends its entries.
 *
 * What the platform says of the network is a hint: it never keeps an exchange from being tried. "Offline" makes
 * idle polling rarer; "online" ends a backoff, once per `backoffFirstMs`.
 */
import type { BreakerOptions } from "../outbox/breakers.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import { createAbort } from "./abort.ts";
import { createAuthorizer } from "./auth.ts";
import type { SyncEngine, SyncReport, SyncState } from "./engine.ts";
import { createExchange, type EndpointBreaker } from "./exchange.ts";
import {
  createLaneLoop,
  type LaneLoop,
  type LaneName,
  type LaneWork,
  type WorkEnd,
} from "./lane.ts";
import { presentReceipts } from "./present-receipts.ts";
import { createPullLane } from "./pull-lane.ts";
import { createPushLane } from "./push-lane.ts";
import { resumeSync } from "./resume.ts";
import { type LaneInput, laneState } from "./step.ts";
import type { SyncStore, SyncWatermarks } from "./sync-store.ts";
import { createTail, type Tail } from "./tail.ts";
import type { AbortSignalLike, CallOptions, Transport } from "./transport.ts";

/** What an application may set. */
export interface SyncOptions {
  /** Between two looks for events without a live tail, milliseconds. Default `limits.pollMs`. */
  readonly pollMs?: number;
  /** Without it the engine only polls. Default: on. */
  readonly tail?: boolean;
  /** Of the endpoint's circuit breaker; default: `breakerDefault`. */
  readonly breaker?: BreakerOptions;
}

/** What {@link createSyncEngine} needs. */
export interface SyncEngineDeps {
  readonly store: SyncStore;
  readonly transport: Transport;
  readonly breaker: EndpointBreaker;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly observer: Observer;
  readonly options?: SyncOptions;
  /**
   * Follows each pull that leaves nothing to pull; a failure is one of the pull lane. How many events it
   * appended: they are pushed at once.
   */
  readonly afterPull?: (options: CallOptions) => Promise<number>;
}

/** What every engine needs, whatever its lanes do. */
export type LanesDeps = Pick<
  SyncEngineDeps,
  "clock" | "timers" | "random" | "observer" | "options"
> & {
  readonly store: Pick<SyncStore, "evidence" | "halt" | "resumed" | "watermarks">;
};

/** What lanes tell their engine, and ask of it. */
export interface EngineHooks {
  /** Set off when the engine ends. */
  readonly closed: AbortSignalLike;
  readonly reached: (answered: boolean) => void;
  readonly pushed: (delivered: number, rejected: number) => void;
  readonly pulled: (events: number) => void;
  /** Another push is wanted at once. */
  readonly askPush: () => void;
  readonly wakePull: () => void;
  readonly pollMs: () => number;
}

/** The work of an engine. Without `pull` it only delivers: its pull lane is stopped for good. */
export interface EngineLanes {
  readonly push: LaneWork;
  readonly pull?: LaneWork;
  readonly tail?: Tail;
}

/** What one `syncNow` has seen so far. */
interface Tally {
  pushed: number;
  pulled: number;
  rejected: number;
  cancelled: boolean;
}

/** A stopped engine; nothing is sent before `start` or `syncNow`. */
export function createSyncEngine(deps: SyncEngineDeps): SyncEngine {
  return createLanesEngine(deps, (hooks) => syncLanes(deps, hooks));
}

/** A stopped engine over lanes of any kind. */
export function createLanesEngine(
  deps: LanesDeps,
  lanes: (hooks: EngineHooks) => EngineLanes,
): SyncEngine {
  return new RunningSync(deps, lanes);
}

function syncLanes(deps: SyncEngineDeps, hooks: EngineHooks): EngineLanes {
  const auth = createAuthorizer({
    ...deps,
    closed: hooks.closed,
    greeted: (hello) => {
      push.greeted(hello);
      pull.greeted(hello);
    },
  });
  const exchange = (lane: LaneName) =>
    createExchange({ ...deps, lane, auth, reached: hooks.reached });
  const tailLost = hooks.askPush;
  const push = createPushLane({
    ...deps,
    tailLost,
    exchange: exchange("push"),
    pushed: hooks.pushed,
  });
  const pull = createPullLane({
    ...deps,
    tailLost,
    exchange: exchange("pull"),
    pollMs: hooks.pollMs,
    pulled: hooks.pulled,
    afterPull: async (options) => {
      await presentReceipts(deps.store, deps.transport, { call: (send) => send(options) });
      const appended = (await deps.afterPull?.(options)) ?? 0;
      if (appended > 0) hooks.askPush();
    },
  });
  const tail = createTail({ ...deps, auth, hinted: hooks.wakePull });
  return { push, pull, tail };
}

/** While the platform says offline, idle polling is this much rarer. */
const offlinePollFactor = 10;

/** A class, because an engine has a life: started, cancelled, closed. */
class RunningSync implements SyncEngine {
  readonly #deps: LanesDeps;
  readonly #closed = createAbort();
  readonly #push: LaneLoop;
  readonly #pull: LaneLoop | undefined;
  readonly #tail: Tail | undefined;
  readonly #tallies = new Set<Tally>();
  readonly #listeners = new Set<(state: SyncState) => void>();
  #started = false;
  #evidence: string | undefined;
  /** The store knows of the halt: a resume by another process shows there. */
  #isKept = false;
  #connectivity: SyncState["connectivity"] = "unknown";
  #hint: "online" | "offline" | undefined;
  #shortenedAt = Number.NEGATIVE_INFINITY;
  #stopWatchdog: (() => void) | undefined;
  #lastFailure: string | undefined;
  #told = "";
  #lastMarks: SyncWatermarks;

  constructor(deps: LanesDeps, lanes: (hooks: EngineHooks) => EngineLanes) {
    this.#deps = deps;
    this.#evidence = deps.store.evidence();
    this.#isKept = this.#evidence !== undefined;
    this.#lastMarks = deps.store.watermarks();
    const { push, pull, tail } = lanes(this.#hooks());
    this.#push = this.#lane("push", push);
    this.#pull = pull === undefined ? undefined : this.#lane("pull", pull);
    this.#tail = tail;
  }

  #hooks(): EngineHooks {
    return {
      closed: this.#closed.signal,
      reached: (answered) => {
        this.#connectivity = answered ? "online" : "offline";
      },
      pushed: (delivered, rejected) => {
        for (const tally of this.#tallies) {
          tally.pushed += delivered;
          tally.rejected += rejected;
        }
      },
      pulled: (events) => {
        for (const tally of this.#tallies) tally.pulled += events;
      },
      askPush: () => {
        this.#push.send({ kind: "asked" });
      },
      wakePull: () => {
        this.#pull?.send({ kind: "wake" });
      },
      pollMs: () => this.#pollMs(),
    };
  }

  get #lanes(): readonly LaneLoop[] {
    return this.#pull === undefined ? [this.#push] : [this.#push, this.#pull];
  }

  #sendAll(input: LaneInput): void {
    for (const lane of this.#lanes) lane.send(input);
  }

  start(): void {
    this.#assertOpen();
    this.#heedResume();
    if (!this.#started) {
      this.#started = true;
      this.#watch();
      if (this.#deps.options?.tail !== false && this.#evidence === undefined) this.#tail?.start();
    }
    this.#sendAll({ kind: "start" });
  }

  async syncNow(signal?: Parameters<SyncEngine["syncNow"]>[0]): Promise<SyncReport> {
    this.#assertOpen();
    this.#heedResume();
    const tally: Tally = { pushed: 0, pulled: 0, rejected: 0, cancelled: signal?.aborted === true };
    if (tally.cancelled) return this.#report(tally);
    this.#tallies.add(tally);
    try {
      this.#sendAll({ kind: "asked" });
      await Promise.race([this.#settled(), abortOf(signal)]);
      tally.cancelled ||= signal?.aborted === true;
      const report = this.#report(tally);
      // Without automatic sync nothing may go on behind the caller's back.
      if (!this.#started && this.#tallies.size === 1) await this.#stopLanes();
      return tally.cancelled ? this.#report(tally) : report;
    } finally {
      this.#tallies.delete(tally);
    }
  }

  async cancel(): Promise<void> {
    this.#started = false;
    this.#tail?.stop();
    this.#stopWatchdog?.();
    this.#stopWatchdog = undefined;
    for (const tally of this.#tallies) tally.cancelled = true;
    await this.#stopLanes();
  }

  state(): SyncState {
    return {
      push: laneState(this.#push.lane),
      pull: this.#pull === undefined ? "stopped" : laneState(this.#pull.lane),
      connectivity: this.#connectivity,
      watermarks: this.#watermarks(),
      lastFailure: this.#lastFailure,
      evidence: this.#evidence,
    };
  }

  subscribe(listener: (state: SyncState) => void): () => void {
    const own = (state: SyncState): void => {
      listener(state);
    };
    this.#listeners.add(own);
    return () => {
      this.#listeners.delete(own);
    };
  }

  connectivity(state: "online" | "offline"): void {
    if (this.#closed.signal.aborted) return;
    this.#hint = state;
    this.#connectivity = state;
    const now = this.#deps.clock.monotonic();
    if (state === "online" && now - this.#shortenedAt >= limits.backoffFirstMs) {
      this.#shortenedAt = now;
      this.#sendAll({ kind: "online" });
    }
    this.#notify();
  }

  wake(): void {
    if (this.#started) this.#push.send({ kind: "wake" });
  }

  async resume(actor: string, reason: string): Promise<void> {
    this.#assertOpen();
    this.#heedResume();
    if (this.#evidence === undefined) throw new HoldfastError("sync_not_halted");
    // A halt that could not be kept is known to this engine alone.
    if (this.#isKept) await resumeSync(this.#deps.store, actor, reason);
    else if (actor.trim() === "" || reason.trim() === "") {
      throw new HoldfastError("sync_reason_missing");
    }
    this.#goOn();
  }

  /** A person may have ended the halt in another process: the store says so. */
  #heedResume(): void {
    if (this.#evidence === undefined || !this.#isKept) return;
    try {
      if (this.#deps.store.evidence() === undefined) this.#goOn();
    } catch (error) {
      // A store that cannot be read just now says nothing: the halt stands.
      if (!isHoldfastError(error)) throw error;
    }
  }

  #goOn(): void {
    this.#evidence = undefined;
    this.#deps.observer.log("info", "sync_resumed");
    for (const lane of this.#lanes) {
      lane.send({ kind: "resumed" });
      if (this.#started) lane.send({ kind: "start" });
    }
    if (this.#started && this.#deps.options?.tail !== false) this.#tail?.start();
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    await this.cancel();
    this.#listeners.clear();
  }

  #assertOpen(): void {
    if (this.#closed.signal.aborted) throw new HoldfastError("sync_closed");
  }

  #lane(name: LaneName, work: LaneWork): LaneLoop {
    return createLaneLoop({
      ...this.#deps,
      name,
      work: { ...work, run: (signal) => this.#keepingEvidence(work, signal) },
      halted: this.#evidence !== undefined,
      changed: (input, code) => {
        this.#changed(name, input, code);
      },
    });
  }

  /** A halt is kept before the lane hears of it, so that a restart does not forget it. */
  async #keepingEvidence(work: LaneWork, signal: AbortSignalLike): Promise<WorkEnd> {
    const end = await work.run(signal);
    if (end.input.kind !== "failed" || end.input.class !== "halt") return end;
    this.#isKept = false;
    try {
      await this.#deps.store.halt(end.code ?? "internal");
      this.#isKept = true;
    } catch (error) {
      // This engine halts all the same; the next one finds the contradiction again.
      if (!isHoldfastError(error)) throw error;
    }
    return end;
  }

  #changed(name: LaneName, input: LaneInput, code: string | undefined): void {
    if (code !== undefined) this.#lastFailure = code;
    const other = name === "push" ? this.#pull : this.#push;
    if (input.kind === "failed" && input.class === "halt") this.#halt(code ?? "internal", other);
    if (input.kind === "succeeded" && !input.more) this.#measure();
    if (input.kind === "token-refused") this.#deps.observer.log("warn", "sync_needs_auth");
    // What one lane learned of token and endpoint, the other need not wait for.
    const phase = other?.lane.phase;
    const learned = input.kind === "succeeded" || input.kind === "token-fresh";
    if (learned && (phase === "needs-auth" || phase === "open")) other?.send({ kind: "due" });
    this.#notify();
  }

  #halt(code: string, other: LaneLoop | undefined): void {
    this.#evidence = code;
    this.#deps.observer.log("error", "sync_halted", { code });
    this.#tail?.stop();
    other?.send({ kind: "halt" });
  }

  #pollMs(): number {
    const poll = this.#deps.options?.pollMs ?? limits.pollMs;
    if (this.#hint === "offline") return poll * offlinePollFactor;
    return this.#tail?.open === true ? Math.max(poll, limits.pollBesideTailMs) : poll;
  }

  async #settled(): Promise<void> {
    const lanes = this.#lanes;
    while (lanes.some((lane) => laneState(lane.lane) === "running")) {
      await Promise.all(lanes.map((lane) => lane.settled()));
    }
  }

  async #stopLanes(): Promise<void> {
    this.#sendAll({ kind: "stop" });
    await this.#settled();
  }

  #report(tally: Tally): SyncReport {
    const failure = this.#lanes.map((lane) => lane.failure).find((code) => code !== undefined);
    const { pushed, pulled, rejected } = tally;
    return { pushed, pulled, rejected, status: this.#reportStatus(tally), failure };
  }

  #reportStatus(tally: Tally): SyncReport["status"] {
    const states = new Set(this.#lanes.map(({ lane }) => laneState(lane)));
    if (states.has("halted")) return "halted";
    if (tally.cancelled) return "cancelled";
    if (states.has("needs-auth")) return "needs-auth";
    if (states.has("backing-off") || states.has("open")) return "failed";
    const { waiting, owed } = this.#watermarks();
    return waiting === 0 && owed.length === 0 ? "drained" : "partial";
  }

  /** A store that cannot be read just now stands where it stood. */
  #watermarks(): SyncWatermarks {
    try {
      this.#lastMarks = this.#deps.store.watermarks();
    } catch (error) {
      if (!isHoldfastError(error)) throw error;
    }
    return this.#lastMarks;
  }

  /** Listeners hear of changes, not of steps that change nothing. */
  #notify(): void {
    if (this.#listeners.size === 0) return;
    const state = this.state();
    const text = JSON.stringify(state);
    if (text === this.#told) return;
    this.#told = text;
    for (const listener of this.#listeners) this.#tell(listener, state);
  }

  #measure(): void {
    const { observer, clock } = this.#deps;
    const { oldestUnacknowledgedAt: oldest } = this.#watermarks();
    const age = oldest === undefined ? 0 : Math.max(0, clock.now() - oldest);
    observer.gauge("sync_oldest_unacknowledged", age);
  }

  /** Apart from the step: what a listener throws is the application's to hear of, and stops no lane. */
  #tell(listener: (state: SyncState) => void, state: SyncState): void {
    this.#deps.timers.soon(() => {
      if (this.#listeners.has(listener)) listener(state);
    });
  }

  #watch(): void {
    this.#stopWatchdog = this.#deps.timers.after(
      limits.watchdogMs,
      () => {
        this.#heedResume();
        this.#measure();
        for (const lane of this.#lanes) lane.watch();
        this.#watch();
      },
      true,
    );
  }
}

/** Resolves when the signal is set off; never, without one. */
function abortOf(signal: Pick<AbortSignalLike, "aborted" | "addEventListener"> | undefined) {
  return new Promise<void>((resolve) => {
    if (signal?.aborted === true) resolve();
    signal?.addEventListener("abort", () => {
      resolve();
    });
  });
}
