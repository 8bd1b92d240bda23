/**
 * The providers of one keyring: opened together, watched, chosen from by policy.
 *
 * Each is under guard (`guard.ts`) and has a breaker (`provider-breaker.ts`). The choice (`policy.ts`) is made
 * anew whenever one of them fails or returns, and whoever signs looks at it before each commit. A provider
 * that failed is closed and probed in the background: opened again, and asked to unwrap the epoch key. So a
 * token that is put back serves again by itself, and no call of an application pays for the trial.
 *
 * Every failure, fallback and return is told to the observer and to the audit trail (`key-audit.ts`).
 */
import type { Assurance } from "../event/event.ts";
import { type ErrorCode, HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import type { Clock, Timers } from "../std/ports.ts";
import { type Observer, silentObserver } from "../telemetry/observer.ts";
import {
  type GuardedProvider,
  guardProvider,
  type KeyDeadlines,
  keyDeadlinesDefault,
  providerFailures,
  underDeadline,
} from "./guard.ts";
import {
  type KeyAuditEvent,
  type KeyAuditSink,
  type KeyOperation,
  silentKeyAudit,
} from "./key-audit.ts";
import {
  inPreference,
  type KeyPolicy,
  keyPolicyDefault,
  type ProviderCandidate,
  type ProviderSelection,
  selectKeyProvider,
} from "./policy.ts";
import {
  type ProviderBreaker,
  type ProviderBreakerInput,
  type ProviderBreakerPolicy,
  providerBreakerDefault,
  stepProviderBreaker,
} from "./provider-breaker.ts";
import { audited, type Entry, untried } from "./provider-entry.ts";
import {
  type KeyProvider,
  type MaybePromise,
  type OpenProvider,
  type ProviderRecord,
} from "./provider.ts";

/** How the providers of a keyring are used. */
export interface KeyUse {
  readonly policy?: KeyPolicy;
  readonly deadlines?: Partial<KeyDeadlines>;
  readonly breaker?: ProviderBreakerPolicy;
  /** Both or neither: without them calls have no deadline, and what failed is not probed. */
  readonly time?: { readonly clock: Clock; readonly timers: Timers };
  readonly observer?: Observer;
  readonly audit?: KeyAuditSink;
}

/** Where one provider stands. */
export interface ProviderStanding extends ProviderCandidate {
  /** Why it is not ready; `undefined` when it is, or when this process is not configured for it. */
  readonly code: ErrorCode | undefined;
  readonly breaker: ProviderBreaker["state"];
  /** Is it the one that signs and unwraps now? */
  readonly chosen: boolean;
  /** Does the policy let it be used? */
  readonly allowed: boolean;
}

/** The provider that signs and unwraps now. */
export interface ChosenProvider {
  readonly id: string;
  readonly provider: KeyProvider;
  /** The preferred one that does not work. */
  readonly insteadOf: string | undefined;
}

/** The providers of one keyring. */
export interface KeyProviders {
  /** In the order of preference, then those that the policy does not let be used. */
  standings(): readonly ProviderStanding[];
  /**
   * Throws `key_provider_unavailable` when none works, `key_fallback_refused` when only a weaker one does and the
   * policy says `never`, `key_assurance_low` when none reaches the minimum.
   */
  choose(): ChosenProvider;
  /** Throws `key_assurance_low` for a provider that the policy would not let be used. */
  assertAllowed(provider: Pick<KeyProvider, "name" | "assurance">): void;
  /** The id of the chosen one, or of the preferred one when none can be used; never throws. */
  line(): string | undefined;
  /** Changes whenever a provider is opened or given up: what was made with it before is to be made anew. */
  generation(): number;
  /** What may be fallen back to and works now, best first; nothing where the policy says `never`. */
  fallbacks(): readonly ProviderCandidate[];
  /** One that is ready, by the id of its record. */
  get(id: string): KeyProvider | undefined;
  assuranceOf(id: string): Assurance | undefined;
  /** A call to it failed: `key_answer_wrong` and the like, found by whoever checked the answer. */
  failed(id: string, operation: KeyOperation, code: ErrorCode): void;
  /** Other terms from now on: calls under way end under the former ones. Opens what was not configured before. */
  reconfigure(policy: KeyPolicy, openProvider?: OpenProvider): Promise<void>;
  /** A provider that was added to the keyring while it is open, as a rotation does; owned from here on. */
  adopt(record: ProviderRecord, provider: KeyProvider): void;
  /** One that the keyring names no more. It is closed once its calls have ended. */
  drop(id: string): void;
  /** Tells the trail of a store from now on, and of a fallback that there was before it could listen. */
  listen(sink: KeyAuditSink): void;
  close(): void;
}

/**
 * What may be over the next time. A PIN that was refused is never tried twice (the third time locks the token),
 * and a wrong passphrase stays wrong.
 */
const mayReturn: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "key_provider_timeout",
  "key_provider_failed",
  "key_provider_unavailable",
  "key_answer_wrong",
]);

/** A provider of the keyring that was tried to be opened. */
export interface OpenedProvider {
  readonly record: ProviderRecord;
  /** `null`: not configured here. */
  readonly provider: KeyProvider | null;
  readonly error?: HoldfastError;
}

/** What {@link createKeyProviders} takes. */
export interface KeyProvidersParts {
  readonly use: KeyUse;
  readonly openProvider: OpenProvider | undefined;
  readonly opened: readonly OpenedProvider[];
  /** Does it unwrap the newest epoch key, as the keyring's check says? Throws when it does not. */
  readonly check: (provider: KeyProvider, id: string) => MaybePromise<unknown>;
}

/** A class, because a set of providers has a life: what fails, what returns, and its end. */
class ProviderSet implements KeyProviders {
  readonly #parts: KeyProvidersParts;
  #entries: readonly Entry[];
  readonly #observer: Observer;
  readonly #audit: KeyAuditSink;
  readonly #breakerPolicy: ProviderBreakerPolicy;
  readonly #deadlines: KeyDeadlines;
  #policy: KeyPolicy;
  #openProvider: OpenProvider | undefined;
  #selection: ProviderSelection | undefined;
  #fallback: string | undefined;
  #listener: KeyAuditSink | undefined;
  #untold: KeyAuditEvent[] = [];
  #generation = 0;
  #closed = false;

  constructor(parts: KeyProvidersParts) {
    const { use, opened } = parts;
    this.#parts = parts;
    this.#policy = use.policy ?? keyPolicyDefault;
    this.#openProvider = parts.openProvider;
    this.#observer = use.observer ?? silentObserver;
    this.#audit = use.audit ?? silentKeyAudit;
    this.#breakerPolicy = use.breaker ?? providerBreakerDefault;
    this.#deadlines = { ...keyDeadlinesDefault, ...use.deadlines };
    const entries = opened.map((one) => ({ ...one, entry: untried(one.record) }));
    this.#entries = entries.map(({ entry }) => entry);
    for (const { entry, provider, error } of entries) {
      if (provider !== null) this.#put(entry, provider);
      if (error !== undefined) this.#fail(entry, "open", error.code);
    }
  }

  standings(): readonly ProviderStanding[] {
    const selection = this.#select();
    const chosen = selection.status === "selected" ? selection.id : undefined;
    const candidates = this.#candidates();
    const allowed = inPreference(this.#policy, candidates);
    const rest = candidates.filter((candidate) => !allowed.includes(candidate));
    return [...allowed, ...rest].map((candidate) => {
      const entry = this.#entry(candidate.id) as Entry;
      return {
        ...candidate,
        code: entry.code,
        breaker: entry.breaker.state,
        chosen: candidate.id === chosen,
        allowed: allowed.includes(candidate),
      };
    });
  }

  choose(): ChosenProvider {
    invariant(!this.#closed, "key providers are not used after close");
    const selection = this.#select();
    if (selection.status === "selected") {
      const { id, insteadOf } = selection;
      const provider = this.#entry(id)?.provider;
      invariant(provider !== undefined, "a provider that is ready is open");
      return { id, provider, insteadOf };
    }
    const { reason, preferred } = selection;
    const code = preferred === undefined ? undefined : this.#entry(preferred)?.code;
    const details = { reason, ...(code === undefined ? {} : { cause: code }) };
    if (reason === "fallback") throw new HoldfastError("key_fallback_refused", details);
    if (reason === "assurance") throw new HoldfastError("key_assurance_low", details);
    throw new HoldfastError("key_provider_unavailable", details);
  }

  assertAllowed({ name, assurance }: Pick<KeyProvider, "name" | "assurance">): void {
    const { minimum, allowed } = this.#policy;
    const reason = allowed.includes(name) ? "assurance" : "not-allowed";
    const candidate = { id: "", name, assurance, state: "ready" } as const;
    if (inPreference(this.#policy, [candidate]).length > 0) return;
    throw new HoldfastError("key_assurance_low", { provider: name, reason, minimum });
  }

  line(): string | undefined {
    const selection = this.#select();
    return selection.status === "selected" ? selection.id : selection.preferred;
  }

  generation(): number {
    return this.#generation;
  }

  fallbacks(): readonly ProviderCandidate[] {
    if (this.#policy.fallback === "never") return [];
    return inPreference(this.#policy, this.#candidates())
      .slice(1)
      .filter(({ state }) => state === "ready");
  }

  get(id: string): KeyProvider | undefined {
    return this.#entry(id)?.provider;
  }

  assuranceOf(id: string): Assurance | undefined {
    return this.#entry(id)?.assurance;
  }

  failed(id: string, operation: KeyOperation, code: ErrorCode): void {
    const entry = this.#entry(id);
    if (entry !== undefined) this.#fail(entry, operation, code);
  }

  async reconfigure(policy: KeyPolicy, openProvider?: OpenProvider): Promise<void> {
    this.#policy = policy;
    const { minimum, fallback } = policy;
    if (openProvider !== undefined) {
      this.#openProvider = openProvider;
      // The former one goes on until the new one is there: no call falls between the two.
      for (const entry of this.#entries) {
        entry.cancelProbe?.();
        await this.#reopen(entry);
        this.#resumeAfter(entry);
      }
    }
    this.#selection = undefined;
    this.#tell({ kind: "key_policy_changed", minimum, fallback });
    this.#select();
  }

  adopt(record: ProviderRecord, provider: KeyProvider): void {
    const entry = untried(record);
    this.drop(record.id);
    this.#entries = [...this.#entries, entry];
    this.#put(entry, provider);
  }

  listen(sink: KeyAuditSink): void {
    this.#listener = sink;
    for (const event of this.#untold) sink.note(event);
    this.#untold = [];
  }

  drop(id: string): void {
    const entry = this.#entry(id);
    if (entry === undefined) return;
    entry.cancelProbe?.();
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#generation += 1;
    this.#selection = undefined;
    entry.provider?.retire();
    entry.provider = undefined;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const entry of this.#entries) {
      entry.cancelProbe?.();
      entry.provider?.close();
      entry.provider = undefined;
    }
  }

  #entry(id: string): Entry | undefined {
    return this.#entries.find(({ record }) => record.id === id);
  }

  /** Whoever waited for a provider may find it dropped since. */
  #holds(entry: Entry): boolean {
    return !this.#closed && this.#entries.includes(entry);
  }

  #candidates(): readonly ProviderCandidate[] {
    return this.#entries.map(({ record, assurance, provider, configured }) => ({
      id: record.id,
      name: record.name,
      assurance,
      state: provider !== undefined ? "ready" : configured ? "failing" : "absent",
    }));
  }

  /** The choice, made once for each change; a change between fallback and none is told. */
  #select(): ProviderSelection {
    if (this.#selection !== undefined) return this.#selection;
    const selection = selectKeyProvider(this.#policy, this.#candidates());
    this.#selection = selection;
    if (selection.status === "refused") return selection;
    const to = this.#entry(selection.id) as Entry;
    const from = selection.insteadOf === undefined ? undefined : this.#entry(selection.insteadOf);
    const now = from === undefined ? undefined : `${from.record.id} ${to.record.id}`;
    if (now === this.#fallback) return selection;
    this.#fallback = now;
    if (from === undefined) {
      this.#observer.log("info", "key_fallback_ended", { provider: to.record.name });
      this.#tell({ kind: "key_fallback_ended", provider: audited(to) });
      return selection;
    }
    const code = from.code ?? "key_provider_unavailable";
    const labels = { from: from.record.name, to: to.record.name, reason: code };
    this.#observer.count("key_fallbacks", 1, labels);
    this.#observer.log("warn", "key_fallback", labels);
    const operation = from.operation ?? "open";
    this.#tell({ kind: "key_fallback", from: audited(from), to: audited(to), operation, code });
    return selection;
  }

  #put(entry: Entry, provider: KeyProvider): void {
    const guarded: GuardedProvider = guardProvider(provider, {
      timers: this.#parts.use.time?.timers,
      deadlines: this.#deadlines,
      ended: (operation, result) => {
        // What the one before it still has to say is no fault of this one.
        if (entry.provider === guarded) this.#ended(entry, operation, result);
      },
    });
    entry.provider = guarded;
    this.#generation += 1;
    entry.assurance = provider.assurance;
    entry.code = undefined;
    entry.configured = true;
    this.#selection = undefined;
    this.#ended(entry, "open", "ok");
    this.#tell({ kind: "provider_opened", provider: audited(entry) });
  }

  #ended(entry: Entry, operation: KeyOperation, result: "ok" | ErrorCode): void {
    const { name } = entry.record;
    this.#observer.count("key_operations", 1, { provider: name, operation, result });
    if (operation !== "sign" || result !== "ok") {
      this.#tell({ kind: "key_operation", provider: audited(entry), operation, result });
    }
    if (result === "ok") this.#step(entry, "answered");
    else if (providerFailures.has(result)) this.#fail(entry, operation, result);
  }

  #fail(entry: Entry, operation: KeyOperation, code: ErrorCode): void {
    if (this.#closed) return;
    const before = entry.provider;
    entry.provider = undefined;
    this.#generation += 1;
    entry.configured = true;
    entry.operation = operation;
    entry.code = code;
    this.#selection = undefined;
    // A device that hangs is given up with the process that waits for it.
    before?.close();
    this.#observer.log("warn", "key_provider_failed", { provider: entry.record.name, code });
    this.#tell({ kind: "provider_failed", provider: audited(entry), operation, code });
    this.#step(entry, "failed");
    this.#probeLater(entry);
    this.#select();
  }

  /** To the sink of the settings, and to the trail of the store once it is open. */
  #tell(event: KeyAuditEvent): void {
    this.#audit.note(event);
    if (this.#listener !== undefined) this.#listener.note(event);
    else if (event.kind === "key_fallback") this.#untold.push(event);
  }

  #step(entry: Entry, input: ProviderBreakerInput): void {
    const now = this.#parts.use.time?.clock.monotonic() ?? 0;
    entry.breaker = stepProviderBreaker(entry.breaker, input, now, this.#breakerPolicy);
  }

  #probeLater(entry: Entry): void {
    const { time } = this.#parts.use;
    const { retryAt } = entry.breaker;
    if (time === undefined || retryAt === undefined || this.#openProvider === undefined) return;
    if (entry.code === undefined || !mayReturn.has(entry.code)) return;
    const wait = Math.max(1, retryAt - time.clock.monotonic());
    entry.cancelProbe?.();
    entry.cancelProbe = time.timers.after(
      wait,
      () => {
        entry.cancelProbe = undefined;
        void this.#probe(entry);
      },
      true,
    );
  }

  /** Opened in a new way: what works now is as if it had never failed, what does not is probed as after any failure. */
  #resumeAfter(entry: Entry): void {
    if (!this.#holds(entry) || !entry.configured) return;
    const answers = entry.provider !== undefined;
    this.#step(entry, answers ? "probe-answered" : "failed");
    if (!answers) this.#probeLater(entry);
  }

  async #probe(entry: Entry): Promise<void> {
    if (!this.#holds(entry) || entry.provider !== undefined) return;
    this.#step(entry, "probe");
    await this.#reopen(entry);
    if (!this.#holds(entry)) return;
    if (entry.provider === undefined) {
      this.#step(entry, "probe-failed");
      this.#probeLater(entry);
      return;
    }
    this.#step(entry, "probe-answered");
    this.#observer.log("info", "key_provider_returned", { provider: entry.record.name });
    this.#tell({ kind: "provider_returned", provider: audited(entry) });
    this.#select();
  }

  /** Opens it and has it unwrap the epoch key; takes the place of the one that was there. Throws bugs alone. */
  async #reopen(entry: Entry): Promise<void> {
    const open = this.#openProvider;
    if (open === undefined) return;
    const { timers } = this.#parts.use.time ?? {};
    const until = <T>(value: Promise<T>, late?: (answer: T) => void): Promise<T> =>
      underDeadline(timers, this.#deadlines.open, "open", value, late);
    let fresh: KeyProvider | null = null;
    try {
      fresh = await until(Promise.resolve(open(entry.record)), (late) => late?.close());
      if (fresh === null) {
        entry.configured = entry.provider !== undefined;
        return;
      }
      await until(Promise.resolve(this.#parts.check(fresh, entry.record.id)));
    } catch (error) {
      fresh?.close();
      if (!isHoldfastError(error)) throw error;
      entry.configured = true;
      if (entry.provider === undefined) entry.code = error.code;
      return;
    }
    if (!this.#holds(entry)) {
      fresh.close();
      return;
    }
    const before = entry.provider;
    this.#put(entry, fresh);
    before?.retire();
  }
}

/** The providers that were opened, as one. */
export function createKeyProviders(parts: KeyProvidersParts): KeyProviders {
  return new ProviderSet(parts);
}
