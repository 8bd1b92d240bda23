/**
 * A store, put together: sessions, writer, outbox, read models, status, verify. Made by `createStore` (a new
 * one) and `openHoldfast`; platforms supply the ports.
 */
import type { RecordedEvent } from "../event/event.ts";
import type { Registry } from "../event/registry.ts";
import { isBuildId } from "../event/header.ts";
import { createUuidV7 } from "../event/uuid.ts";
import { createOutbox, type Outbox } from "../outbox/outbox.ts";
import { createHashSource } from "../proof/tiles.ts";
import { proveInclusion } from "../proof/tree.ts";
import { createReadModels, type ReadModels } from "../projection/read-models.ts";
import { createLiveQueries, type LiveQueries } from "../projection/live-queries.ts";
import { createRowCache, type RowCache } from "../projection/row-cache.ts";
import { readAll } from "../projection/fold.ts";
import type {
  AggregateQuery,
  AggregateRow,
  ModelChange,
  ModelPage,
  ModelQuery,
  ModelRow,
  Moment,
  PageQuery,
  Projection,
} from "../projection/projection.ts";
import type { Conflict } from "../event/conflicts.ts";
import type { AppendResult } from "../store/append.ts";
import {
  amendment,
  conflictsOf,
  type Corrected,
  historyOf,
  resolution,
  retraction,
} from "./corrections.ts";
import { base64 } from "../std/bytes.ts";
import { type ErrorCode, HoldfastError, isHoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Clock, Random, Timers } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { EventFilter, StoredEvent } from "../store/event-log.ts";
import {
  openAccepted,
  openForReading,
  openForWriting,
  readOwnLog,
  type Session,
  type SessionDeps,
} from "../store/session.ts";
import { createSchema } from "../store/schema.ts";
import { configure } from "../store/pragmas.ts";
import { headerOf, inTransaction } from "../store/sqlite-event-log.ts";
import { becomeWriter, createMarker, type TenureDeps } from "../store/tenure.ts";
import { createWriter, type Writer } from "../store/writer.ts";
import type {
  EventProof,
  Finding,
  HistoryStep,
  Holdfast,
  LogQuery,
  StoreStatus,
} from "./holdfast.ts";
import { committedHeader, openEvent, recordedEvent } from "./open-event.ts";
import { listOf, prepareDraft, readExpectation } from "./prepare.ts";
import { checkStore } from "./self-check.ts";

/** What a platform and an application supply to open a store. */
export interface StoreDeps extends SessionDeps {
  readonly random: Random;
  readonly timers: Timers;
  readonly observer: Observer;
  readonly registry: Registry;
  readonly projections: readonly Projection[];
  /** Build id of the application: part of every header. */
  readonly app: string;
  readonly readOnly: boolean;
  /** Go on from an older copy of the store, on a new incarnation. */
  readonly acceptRollback: boolean;
}

/** One open connection with everything that hangs on it. */
export interface ClientSession extends Session {
  readonly outbox: Outbox;
  readonly models: ReadModels;
  readonly participants: readonly [Outbox, ReadModels];
}

/** Makes the tables of a new store in an empty database. Its first event follows with the first writer. */
export function createStore(deps: SessionDeps): void {
  const pageKey = deps.keyring.pageKey();
  const driver = deps.medium.openDriver(pageKey, { readOnly: false });
  pageKey.fill(0);
  try {
    configure(driver);
    inTransaction(driver, () => {
      createSchema(driver);
      const insert = driver.prepare("INSERT INTO store (name, value) VALUES (?, ?)");
      insert.run("store_id", deps.keyring.storeId);
      insert.run("tenant", deps.keyring.tenant);
      insert.run("created_at", String(deps.clock.now()));
    });
  } finally {
    driver.close();
  }
}

/**
 * Opens a store that is there; for writing, its read models are brought up to date first. Throws
 * `draft_invalid` when `app` cannot stand in a header.
 */
export async function openHoldfast(parts: StoreDeps): Promise<Holdfast> {
  const deps = { ...parts, clock: recordable(parts.clock) };
  if (!isBuildId(deps.app)) {
    throw new HoldfastError("draft_invalid", { path: "/app", reason: "not a build id" });
  }
  const end = deps.observer.span("open");
  try {
    const store = new OpenStore(deps);
    await store.start();
    end("ok");
    return store;
  } catch (error) {
    end("error");
    throw error;
  }
}

/** The clock is evidence: whatever it says is recorded, within what a header and a column can hold. */
function recordable(clock: Clock): Clock {
  const latest = 2 ** 48 - 1;
  return {
    now: () => Math.min(Math.max(0, Math.floor(clock.now()) || 0), latest),
    monotonic: () => clock.monotonic(),
  };
}

/** Failures of a medium that may still be read. */
const unwritable: ReadonlySet<ErrorCode> = new Set([
  "store_full",
  "store_read_only",
  "store_io_error",
]);

/** A class, because a store has a life: one session after another, and an end. */
class OpenStore implements Holdfast {
  readonly #deps: StoreDeps;
  readonly #tenure: TenureDeps;
  readonly #writer: Writer | undefined;
  readonly #findings = new Map<string, Finding>();
  readonly #cache: RowCache;
  readonly #live: LiveQueries;
  #session: ClientSession | undefined;
  #closed = false;

  constructor(deps: StoreDeps) {
    this.#deps = deps;
    const newId = createUuidV7(deps.clock, deps.random);
    this.#tenure = { ...deps, newId };
    this.#session = this.#open();
    try {
      for (const code of readOwnLog(deps, this.#session)?.judgement.findings ?? []) {
        this.#find(code, markFindings[code] ?? code);
      }
    } catch (error) {
      this.#session.driver.close();
      throw error;
    }
    this.#cache = createRowCache(deps.clock);
    this.#live = createLiveQueries({ timers: deps.timers, models: () => this.#models() });
    if (deps.readOnly) return;
    const marker = createMarker(this.#tenure);
    this.#writer = createWriter({
      ...deps,
      newId,
      session: () => this.#writable(),
      reopen: (code) => {
        this.#reopen(code);
      },
      becomeWriter: (token) => {
        marker.forget();
        return becomeWriter(this.#tenure, this.#writable(), token);
      },
      committed: (identity, note) => {
        try {
          marker.write(identity, note);
        } catch {
          // The commit stands; the mark lags until it can be written again.
          this.#find("mark_unwritable", "The high-water mark cannot be written; it lags.");
          deps.observer.log("warn", "mark_unwritable");
        }
        this.#tellReaders();
      },
    });
  }

  /** A store that does not start is closed: nobody else could. */
  async start(): Promise<void> {
    try {
      await this.#prepare();
    } catch (error) {
      await this.#writer?.close();
      this.#closed = true;
      this.#session?.driver.close();
      this.#deps.medium.close?.();
      throw error;
    }
  }

  async #prepare(): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined) return;
    if (this.#current().log.head() === 0) await writer.exclusively(() => undefined);
    if (this.#current().driver.capabilities.readOnly) return;
    for (const model of this.#current().models.unfinished()) await this.#build(model, false);
  }

  #open(): ClientSession {
    const { readOnly, acceptRollback } = this.#deps;
    const open = readOnly ? openForReading : acceptRollback ? openAccepted : openForWriting;
    return this.#dressed(open(this.#deps));
  }

  #dressed(session: Session): ClientSession {
    try {
      return this.#dress(session);
    } catch (error) {
      session.driver.close();
      throw error;
    }
  }

  #dress(session: Session): ClientSession {
    const { driver, log } = session;
    const deps = this.#deps;
    const outbox = createOutbox({ driver, clock: deps.clock });
    const models = createReadModels({
      driver,
      log,
      crypto: deps.crypto,
      observer: deps.observer,
      registry: deps.registry,
      projections: deps.projections,
      open: (stored) => openEvent(deps, stored),
      openAppended: ({ position, sealed, content }) =>
        content === undefined
          ? openEvent(deps, { ...sealed, position })
          : recordedEvent(deps, { position, leaf: sealed.leaf }, sealed.header, content, "opened"),
    });
    return { ...session, outbox, models, participants: [outbox, models] };
  }

  /** The session to read through. A medium that cannot be written just now is read all the same. */
  #current(): ClientSession {
    if (this.#closed) throw new HoldfastError("store_closed");
    if (this.#session !== undefined) return this.#session;
    try {
      this.#session = this.#open();
    } catch (error) {
      if (!isHoldfastError(error) || !unwritable.has(error.code)) throw error;
      this.#session = this.#dressed(openForReading(this.#deps));
    }
    return this.#session;
  }

  /** The session to write through; a store behind its mark is open for reading only. */
  #writable(): ClientSession {
    if (this.#closed) throw new HoldfastError("store_closed");
    if (this.#session?.driver.capabilities.readOnly === true) {
      this.#refuseBehindMark(this.#session);
      // It is open for reading because the medium could not be written then.
      this.#session.driver.close();
      this.#session = undefined;
    }
    this.#session ??= this.#open();
    if (this.#session.driver.capabilities.readOnly) this.#refuseBehindMark(this.#session);
    return this.#session;
  }

  #refuseBehindMark(session: ClientSession): void {
    const own = readOwnLog(this.#deps, session);
    const verdict = own?.judgement.verdict;
    if (verdict !== "rewritten" && verdict !== "rolled-back") return;
    throw new HoldfastError(verdict === "rewritten" ? "store_rewritten" : "store_rolled_back", {
      held: own?.size ?? 0,
      attested: own?.reading.mark?.size ?? 0,
    });
  }

  #reopen(code: string): void {
    this.#deps.observer.count("store_reopens", 1, { code });
    this.#deps.observer.log("warn", "store_reopened", { code });
    const before = this.#session;
    this.#session = undefined;
    this.#cache.clear();
    try {
      before?.driver.close();
    } catch (error) {
      // A connection that fails to close is given up; the next one recovers from the medium.
      if (!isHoldfastError(error)) throw error;
    }
    this.#session = this.#open();
  }

  #find(code: string, message: string): void {
    this.#findings.set(code, { code, message });
  }

  async append(
    ...[drafts, options]: Parameters<Holdfast["append"]>
  ): ReturnType<Holdfast["append"]> {
    if (this.#closed) throw new HoldfastError("store_closed");
    if (this.#writer === undefined) throw new HoldfastError("store_read_only");
    const list: readonly unknown[] = Array.isArray(drafts) ? listOf(drafts) : [drafts];
    if (list.length > limits.batchEventsMax) {
      const { batchEventsMax: limit } = limits;
      throw new HoldfastError("batch_too_large", { events: list.length, limit });
    }
    const expect = readExpectation(options?.expect);
    const at = this.#deps.clock.now();
    const deps = { registry: this.#deps.registry, actorOf: (actor: string) => this.actorId(actor) };
    const prepared = list.map((draft) => prepareDraft(deps, draft, at));
    const bytes = prepared.reduce((sum, draft) => sum + draft.bytes, 0);
    if (bytes > limits.commitBytesMax) {
      throw new HoldfastError("batch_too_large", { bytes, limit: limits.commitBytesMax });
    }
    if (prepared.length === 0) return { status: "appended", events: [] };
    return this.#writer.append({ drafts: prepared, expect });
  }

  read(query: LogQuery = {}): readonly RecordedEvent[] {
    const stored = this.#current().log.read(this.#filter(query));
    if (query.headersOnly !== true) return stored.map((event) => openEvent(this.#deps, event));
    return stored.map((event) =>
      recordedEvent(
        this.#deps,
        event,
        committedHeader(this.#deps.crypto, event),
        undefined,
        "none",
      ),
    );
  }

  #filter(query: LogQuery): EventFilter {
    const { stream, actor, ...same } = query;
    const limit = query.limit ?? limits.queryRowsDefault;
    for (const [field, value] of Object.entries({ limit, after: query.after ?? 0 })) {
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new HoldfastError("query_invalid", { field });
      }
    }
    return {
      ...same,
      limit,
      ...(stream !== undefined && { stream: this.#streamOf(stream) }),
      ...(actor !== undefined && { actor: this.actorId(actor) }),
    };
  }

  #streamOf(text: string): string {
    return this.#current().log.streams.get(text) === undefined ? this.streamId(text) : text;
  }

  #stored(idOrLeaf: string): StoredEvent | undefined {
    const { log } = this.#current();
    return idOrLeaf.length === 43 ? log.byLeaf(idOrLeaf) : log.byId(idOrLeaf);
  }

  get(idOrLeaf: string): RecordedEvent | undefined {
    const stored = this.#stored(idOrLeaf);
    return stored === undefined ? undefined : openEvent(this.#deps, stored);
  }

  prove(idOrLeaf: string): EventProof {
    const stored = this.#stored(idOrLeaf);
    if (stored === undefined) throw new HoldfastError("event_not_found");
    const { log } = this.#current();
    const { dev, inc, seq } = headerOf(stored);
    const note = log.noteCovering(dev, inc, seq);
    const key = this.#deps.keyring.signingKeys().find(({ incarnation }) => incarnation === inc);
    if (note === undefined || key === undefined) throw new HoldfastError("event_not_found");
    const { crypto } = this.#deps;
    const hashOf = createHashSource(crypto, log.leafSource(dev, inc), note.size);
    return {
      leaf: stored.leaf,
      header: stored.headerText,
      note: note.text,
      index: seq - 1,
      size: note.size,
      path: proveInclusion(crypto, seq - 1, note.size, hashOf).map((hash) => base64(hash)),
      spki: base64(key.spki),
    };
  }

  frontier(stream: string): Readonly<Record<string, number>> | undefined {
    return this.#current().log.streams.get(this.#streamOf(stream))?.frontier;
  }

  query<State>(model: string, query: ModelQuery = {}): readonly ModelRow<State>[] {
    return this.#models().query(model, query) as readonly ModelRow<State>[];
  }

  row<State>(model: string, stream: string): ModelRow<State> | undefined {
    const models = this.#models();
    const id = this.#streamOf(stream);
    const row = this.#cache.get(model, id, models.version(), () => models.row(model, id));
    return row as ModelRow<State> | undefined;
  }

  count(model: string, query: Pick<ModelQuery, "where"> = {}): number {
    return this.#models().count(model, query);
  }

  page<State>(model: string, query: PageQuery = {}): ModelPage<State> {
    return this.#models().page(model, query) as ModelPage<State>;
  }

  aggregate(model: string, query: AggregateQuery): readonly AggregateRow[] {
    return this.#models().aggregate(model, query);
  }

  search<State>(
    model: string,
    words: string,
    { limit = limits.queryRowsDefault }: { readonly limit?: number } = {},
  ): readonly ModelRow<State>[] {
    return this.#models().search(model, words, limit) as readonly ModelRow<State>[];
  }

  asOf<State>(model: string, moment: Moment, query: ModelQuery = {}): readonly ModelRow<State>[] {
    const { stream } = query.where ?? {};
    const where =
      typeof stream === "string" ? { ...query.where, stream: this.#streamOf(stream) } : query.where;
    const asked = where === undefined ? query : { ...query, where };
    return this.#models().asOf(model, moment, asked) as readonly ModelRow<State>[];
  }

  subscribe<State>(
    model: string,
    query: ModelQuery,
    listener: (change: ModelChange<State>) => void,
  ): () => void {
    return this.#live.subscribe(model, query, (change) => {
      listener(change as ModelChange<State>);
    });
  }

  explain(model: string, query: ModelQuery): readonly string[] {
    return this.#models().explain(model, query);
  }

  #models(): ReadModels {
    return this.#current().models;
  }

  async rebuild(...[model, onProgress]: Parameters<Holdfast["rebuild"]>): Promise<void> {
    await this.#build(model, true, onProgress);
  }

  /** Builds in steps, each a transaction of its own: appends go on between them. */
  async #build(
    name: string,
    anew: boolean,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined) throw new HoldfastError("store_read_only");
    const end = this.#deps.observer.span("rebuild");
    const within = <T>(work: (models: ReadModels) => T): Promise<T> =>
      writer.exclusively(({ driver, lease }, token) =>
        inTransaction(driver, () => {
          lease.assertHeld(token);
          return work(this.#models());
        }),
      );
    await within((models) => {
      if (anew || !models.isBuilding(name)) models.beginBuild(name);
    });
    for (;;) {
      const step = await within((models) => models.stepBuild(name));
      onProgress?.(step.streams, step.total);
      if (step.done) break;
    }
    this.#tellReaders();
    end("ok");
  }

  /** After a commit: what is kept in memory goes, and live queries are told. */
  #tellReaders(): void {
    const taken = this.#models().takeTouched();
    this.#cache.forget(taken.rows, taken.swapped);
    this.#live.committed(taken);
  }

  history(stream: string): readonly HistoryStep[] {
    return historyOf(this.#corrected(), this.#streamOf(stream));
  }

  conflicts(...[query = {}]: Parameters<Holdfast["conflicts"]>): readonly Conflict[] {
    const { stream, all = false } = query;
    const store = this.#corrected();
    const streams = stream === undefined ? this.#sharedStreams() : [this.#streamOf(stream)];
    return streams
      .flatMap((one) => conflictsOf(store, one))
      .filter(({ status }) => all || status === "open");
  }

  #sharedStreams(): readonly string[] {
    const { streams } = this.#current().log;
    const shared: string[] = [];
    for (;;) {
      const page = streams.shared(shared.at(-1) ?? "", limits.queryRowsDefault);
      shared.push(...page);
      if (page.length < limits.queryRowsDefault) return shared;
    }
  }

  async amend(...[idOrLeaf, correction]: Parameters<Holdfast["amend"]>): Promise<AppendResult> {
    return this.append(amendment(this.#corrected(), idOrLeaf, correction));
  }

  async retract(...[idOrLeaf, withdrawal]: Parameters<Holdfast["retract"]>): Promise<AppendResult> {
    return this.append(retraction(this.#corrected(), idOrLeaf, withdrawal));
  }

  async resolve(...[stream, wanted]: Parameters<Holdfast["resolve"]>): Promise<AppendResult> {
    const id = this.#streamOf(stream);
    const expect = this.frontier(id);
    const draft = resolution(this.#corrected(), id, wanted);
    return this.append(draft, expect === undefined ? {} : { expect });
  }

  #corrected(): Corrected {
    return {
      registry: this.#deps.registry,
      get: (idOrLeaf) => this.get(idOrLeaf),
      eventsOf: (stream) =>
        readAll(this.#current().log, stream, 0).map((stored) => openEvent(this.#deps, stored)),
    };
  }

  verify(...[options]: Parameters<Holdfast["verify"]>): ReturnType<Holdfast["verify"]> {
    return checkStore(this.#deps, this.#current(), options ?? {});
  }

  status(): StoreStatus {
    const session = this.#current();
    const own = readOwnLog(this.#deps, session);
    const keyring = this.#deps.keyring.findings.map(({ code, copy, line }): Finding => ({
      code,
      message: `keyring copy "${copy}", line ${line}`,
    }));
    const outbox = session.outbox.status();
    this.#deps.observer.gauge("outbox_entries", outbox.waiting);
    return {
      storeId: this.#deps.keyring.storeId,
      tenant: this.#deps.keyring.tenant,
      device: own?.device ?? "",
      incarnation: own?.incarnation ?? "",
      events: session.log.head(),
      head: { sequence: own?.size ?? 0, root: own?.root ?? "" },
      outbox,
      projections: session.models.status(),
      findings: [...keyring, ...this.#findings.values()],
    };
  }

  streamId(resourceKey: string): string {
    return this.#deps.keyring.streamOf(resourceKey);
  }

  scopeId(subjectKey: string, site = ""): string {
    return this.#deps.keyring.scopeOf(subjectKey, site);
  }

  actorId(actorKey: string): string {
    return this.#deps.keyring.actorOf(actorKey);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#live.close();
    await this.#writer?.close();
    this.#closed = true;
    try {
      this.#session?.driver.close();
    } finally {
      this.#deps.medium.close?.();
      this.#deps.keyring[Symbol.dispose]();
    }
  }
}

/** What each finding about the mark means to an operator. */
const markFindings: Readonly<Record<string, string>> = {
  mark_missing: "The high-water mark is not there; the next write opens a new incarnation.",
  mark_damaged: "A slot of the high-water mark is damaged; the other one serves.",
  store_moved:
    "The store lies in another folder than before; the next write opens a new incarnation.",
  store_cloned:
    "This is a copy, and the original has gone on; the next write opens a new incarnation.",
  store_rolled_back:
    "The store holds less than its high-water mark attests: put the newest copy back.",
  store_rewritten: "The store's history is not the one that was signed: run verify.",
};
