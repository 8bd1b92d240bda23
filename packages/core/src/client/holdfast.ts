/**
 * What an application sees of a store: record events, read them, query read models, prove, verify.
 *
 * `append` is durable when it returns: after COMMIT with `synchronous=FULL`. The unit is one call: all its
 * drafts or none. Calls that wait are committed together, so that a burst costs one fsync and one signature.
 */
import type { AuditTrail } from "../audit/audit-log.ts";
import type { Draft, Operation, RecordedEvent, VersionVector } from "../event/event.ts";
import type { Conflict } from "../event/conflicts.ts";
import type { SigningKeyRecord } from "../keys/signing.ts";
import type { KeyPolicy } from "../keys/policy.ts";
import type { OpenProvider } from "../keys/provider.ts";
import type { ProviderStanding } from "../keys/providers.ts";
import type { OutboxStatus } from "../outbox/outbox.ts";
import type {
  AggregateQuery,
  AggregateRow,
  ModelChange,
  ModelPage,
  ModelQuery,
  ModelRow,
  Moment,
  PageQuery,
} from "../projection/projection.ts";
import type { ReadModelStatus } from "../projection/read-models.ts";
import type { Problem } from "../proof/log-source.ts";
import type { AppendResult, Expectation } from "../store/append.ts";
import type { EventReceipt } from "../sync/receipts.ts";
import type { OutboxDesk } from "./outbox-desk.ts";
import type { SyncOptions } from "../sync/create-engine.ts";
import type { SyncEngine, SyncState } from "../sync/engine.ts";
import type { ServerIdentity, SyncWatermarks } from "../sync/sync-store.ts";
import type { Backend } from "../sync/rest/backend.ts";
import type { DeliveryPorts } from "../sync/rest/create-delivery.ts";
import type { AbortSignalLike, Transport } from "../sync/transport.ts";

/** Conditions of one append call. */
export interface AppendOptions {
  /** Checked against the stream of the first draft before anything is sealed. */
  readonly expect?: Expectation;
}

/** How long to wait. */
export interface WaitOptions {
  readonly signal?: AbortSignalLike;
}

/** What `append` answers; recorded events can be followed to the server. */
export type AppendAnswer =
  | (Extract<AppendResult, { readonly status: "appended" }> & {
      /**
       * Resolves when a receipt covers every event of the call and none of them is owed, or a backend without
       * receipts has acknowledged them. Rejects with `delivery_abandoned` when the signal ends the wait, `store_closed` when the store was closed.
       */
      delivered(options?: WaitOptions): Promise<void>;
      /** The receipt that covers the last event of the call; `undefined` while there is none. */
      receipt(): EventReceipt | undefined;
    })
  | Exclude<AppendResult, { readonly status: "appended" }>;

/** Which events to read; all conditions must hold. Streams, scopes and actors in words or as ids. */
export interface LogQuery {
  readonly stream?: string;
  readonly type?: string;
  readonly actor?: string;
  /** recordedAt, UTC milliseconds, inclusive. */
  readonly since?: number;
  /** recordedAt, UTC milliseconds, exclusive. */
  readonly until?: number;
  /** Events after this position. */
  readonly after?: number;
  /** Events at most; default `limits.queryRowsDefault`. */
  readonly limit?: number;
  /** Only events that the server has not acknowledged. */
  readonly unsynced?: boolean;
  /** Leave sections closed: headers only, faster. */
  readonly headersOnly?: boolean;
}

/** One event's stand-alone signature: the commit note that covers it, and its inclusion proof. */
export interface EventProof {
  readonly leaf: string;
  readonly header: string;
  /** C2SP signed note over the device log's size and root. */
  readonly note: string;
  readonly index: number;
  readonly size: number;
  /** RFC 6962 §2.1.1 inclusion path, base64. */
  readonly path: readonly string[];
  /** DER SubjectPublicKeyInfo of the signing key, base64. */
  readonly spki: string;
}

/** What `verify` found. `ok` is true when there is no problem. */
export interface VerifyReport {
  readonly ok: boolean;
  readonly events: number;
  readonly commits: number;
  /** Sections whose commitment was opened and compared. */
  readonly sections: number;
  readonly problems: readonly Problem[];
}

/** How thorough `verify` is. */
export interface VerifyOptions {
  /** `commitments` (default) opens every section; `headers` checks headers, leaves, tree and notes only. */
  readonly depth?: "headers" | "commitments";
  /** Check the signature of every note; the newest one covers every earlier root. */
  readonly allNotes?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Something found when the store was opened, or since. */
export interface Finding {
  readonly code: string;
  readonly message: string;
}

/** Where a store stands: counts, head, outbox, read models, findings. */
export interface StoreStatus {
  readonly storeId: string;
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly events: number;
  /** Of the incarnation that this store writes: size of its log and root hash, base64. */
  readonly head: { readonly sequence: number; readonly root: string };
  readonly outbox: OutboxStatus;
  /** Where sync stands. */
  readonly sync: SyncWatermarks;
  /** What the engine that was opened last is doing; `undefined` without one. */
  readonly engine: SyncState | undefined;
  readonly projections: readonly ReadModelStatus[];
  readonly findings: readonly Finding[];
}

/** What an operator sees of the key providers of a store, and may change while it is open. */
export interface ProviderDesk {
  /** Each provider of the keyring: the preferred first, then those that the policy does not let be used. */
  list(): readonly ProviderStanding[];
  /** The signing keys, one for each incarnation, with the provider that holds each. */
  signing(): readonly SigningKeyRecord[];
  /**
   * Another policy, and other ways to open the providers, from the next call on. Calls under way end with the
   * provider that they began with; where a provider does not open in the new way, the former one stays.
   */
  reconfigure(policy: KeyPolicy, openProvider?: OpenProvider): Promise<void>;
}

/** A store as an application uses it. Made by `openStore` of `@holdfast/node`. */
export interface Holdfast {
  /**
   * Records drafts. Refuses with a code and nothing recorded: `draft_invalid`, `payload_invalid`,
   * `event_type_unknown`, `json_*`, `event_too_large`, `batch_too_large`, `stream_scope_conflict`,
   * `event_id_conflict`, `outbox_full`, `store_busy`, `store_full`, `store_read_only`, `store_rolled_back`, `store_closed`.
   */
  append(drafts: Draft | readonly Draft[], options?: AppendOptions): Promise<AppendAnswer>;
  /** The server's receipt for one event. Throws `event_not_found`, `receipt_missing`. */
  receipt(idOrLeaf: string): EventReceipt;
  /** Events in order of position. */
  read(query?: LogQuery): readonly RecordedEvent[];
  /** One event by its id or its leaf. */
  get(idOrLeaf: string): RecordedEvent | undefined;
  /** The stand-alone signature of one event; throws `event_not_found`. */
  prove(idOrLeaf: string): EventProof;
  /** The frontier of a stream, to be handed back as `expect`; `undefined` when there is no such stream. */
  frontier(stream: string): VersionVector | undefined;
  /** Rows of a read model. Throws `model_unknown`, `query_invalid`. */
  query<State = unknown>(model: string, query?: ModelQuery): readonly ModelRow<State>[];
  /** The row of one stream. */
  row<State = unknown>(model: string, stream: string): ModelRow<State> | undefined;
  count(model: string, query?: Pick<ModelQuery, "where">): number;
  /** A page of rows, and where the next one begins. */
  page<State = unknown>(model: string, query?: PageQuery): ModelPage<State>;
  /** Counts, sums, averages and extremes by group. */
  aggregate(model: string, query: AggregateQuery): readonly AggregateRow[];
  /** Rows whose search fields hold all words; a trailing `*` means "begins with". Best matches first. */
  search<State = unknown>(
    model: string,
    words: string,
    options?: { readonly limit?: number },
  ): readonly ModelRow<State>[];
  /** Rows as they were at a moment; of one stream with `where: { stream }`, else of all. */
  asOf<State = unknown>(
    model: string,
    moment: Moment,
    query?: ModelQuery,
  ): readonly ModelRow<State>[];
  /** Told what changes in the answer of a query, once it is durable. Returns the end of it. */
  subscribe<State = unknown>(
    model: string,
    query: ModelQuery,
    listener: (change: ModelChange<State>) => void,
  ): () => void;
  /** How a query is answered: SQLite's plan, a line a step. `SCAN` without an index reads every row. */
  explain(model: string, query: ModelQuery): readonly string[];
  /** The events of a stream in canonical order, each with the leaves of those concurrent with it. */
  history(stream: string): readonly HistoryStep[];
  /** Conflicts: of one stream, or the open ones of all. `all` adds the settled ones. */
  conflicts(query?: { readonly stream?: string; readonly all?: boolean }): readonly Conflict[];
  /**
   * Corrects an event: a new event of its type on its stream, op `amend`, naming it and the reason. Throws
   * `event_not_found` and what `append` throws.
   */
  amend(idOrLeaf: string, correction: Correction): Promise<AppendAnswer>;
  /** Withdraws an event: op `retract`, of its type unless another is given. */
  retract(idOrLeaf: string, withdrawal: Withdrawal): Promise<AppendAnswer>;
  /** Settles the open conflicts of a stream: op `resolve`, naming every open side. */
  resolve(stream: string, resolution: Resolution): Promise<AppendAnswer>;
  /** What waits to be delivered, what was given up on, and an operator's acts on it. */
  readonly outbox: OutboxDesk;
  /** Who did what to keys and leases, and which starts were refused, when and why. */
  readonly audit: AuditTrail;
  /** Empties a read model and projects it from the first event. */
  rebuild(model: string, onProgress?: (done: number, total: number) => void): Promise<void>;
  /**
   * An engine that syncs this store through that transport, stopped; it is woken by commits and closed with the
   * store. Throws `store_read_only`.
   */
  sync(transport: Transport, options?: SyncOptions): SyncEngine;
  /**
   * An engine that delivers to a backend that is no Holdfast server, an HTTP request for each event, stopped; it is
   * woken by commits and closed with the store. No receipts: the backend's word is all there is. Throws
   * `backend_invalid`, `backend_store_enrolled`, `server_url_invalid`, `transport_insecure`, `store_read_only`.
   */
  deliver(backend: Backend, ports: DeliveryPorts): SyncEngine;
  /** The key providers of this store. */
  readonly providers: ProviderDesk;
  /** The server that this store is enrolled at. */
  server(): ServerIdentity | undefined;
  verify(options?: VerifyOptions): VerifyReport;
  status(): StoreStatus;
  /** The pseudonyms of words in this tenant. */
  streamId(resourceKey: string): string;
  scopeId(subjectKey: string, site?: string): string;
  actorId(actorKey: string): string;
  /** Waits for the calls under way, gives the lease back, wipes keys. */
  close(): Promise<void>;
}

/** One step through a stream. */
export interface HistoryStep {
  readonly event: RecordedEvent;
  /** Leaves of the events that neither it had seen nor they it. */
  readonly concurrentWith: readonly string[];
}

/** A correction; what is left out stays as the corrected event has it. */
export interface Correction {
  readonly actor: string;
  /** Reason code. */
  readonly why: string;
  /** Reason in words. */
  readonly reason?: string;
  readonly data?: unknown;
  /** For types that record a text. */
  readonly text?: string;
  readonly occurredAt?: number;
}

/** A withdrawal. */
export interface Withdrawal {
  readonly actor: string;
  readonly why: string;
  readonly reason?: string;
  /** Type of the withdrawing event; default: that of the withdrawn one, with its content. */
  readonly type?: string;
  readonly data?: unknown;
}

/** A resolution of a conflict: the content that counts from now on. */
export interface Resolution {
  readonly actor: string;
  /** Leaf of the side whose content stands, unless `data` or `text` is given. */
  readonly side?: string;
  readonly data?: unknown;
  readonly text?: string;
  readonly why?: string;
  readonly reason?: string;
}

export type { EventReceipt };

/** Operations that an application may use on its own event types. */
export type ApplicationOperation = Extract<
  Operation,
  "create" | "amend" | "retract" | "resolve" | "sign" | "review"
>;
