/**
 * What an application sees of a store: record events, read them, query read models, prove, verify.
 *
 * `append` is durable when it returns: after COMMIT with `synchronous=FULL`. The unit is one call: all its
 * drafts or none. Calls that wait are committed together, so that a burst costs one fsync and one signature.
 */
import type { Draft, Operation, RecordedEvent, VersionVector } from "../event/event.ts";
import type { ModelQuery, ModelRow } from "../projection/projection.ts";
import type { Problem } from "../proof/log-source.ts";
import type { AppendResult, Expectation } from "../store/append.ts";

/** Conditions of one append call. */
export interface AppendOptions {
  /** Checked against the stream of the first draft before anything is sealed. */
  readonly expect?: Expectation;
}

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
  readonly outbox: { readonly waiting: number; readonly oldestMs: number | undefined };
  readonly projections: readonly {
    readonly name: string;
    readonly version: number;
    readonly state: "current" | "stopped" | "incomplete" | "stale";
    /** Position of the event that the fold refused. */
    readonly stoppedAt?: number;
  }[];
  readonly findings: readonly Finding[];
}

/** A store as an application uses it. Made by `openStore` of `@holdfast/node`. */
export interface Holdfast {
  /**
   * Records drafts. Refuses with a code and nothing recorded: `draft_invalid`, `payload_invalid`,
   * `event_type_unknown`, `json_*`, `event_too_large`, `batch_too_large`, `stream_scope_conflict`,
   * `event_id_conflict`, `store_busy`, `store_full`, `store_read_only`, `store_rolled_back`, `store_closed`.
   */
  append(drafts: Draft | readonly Draft[], options?: AppendOptions): Promise<AppendResult>;
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
  /** Empties a read model and projects it from the first event. */
  rebuild(model: string, onProgress?: (done: number, total: number) => void): Promise<void>;
  verify(options?: VerifyOptions): VerifyReport;
  status(): StoreStatus;
  /** The pseudonyms of words in this tenant. */
  streamId(resourceKey: string): string;
  scopeId(subjectKey: string, site?: string): string;
  actorId(actorKey: string): string;
  /** Waits for the calls under way, gives the lease back, wipes keys. */
  close(): Promise<void>;
}

/** Operations that an application may use on its own event types. */
export type ApplicationOperation = Extract<
  Operation,
  "create" | "amend" | "retract" | "resolve" | "sign" | "review"
>;
