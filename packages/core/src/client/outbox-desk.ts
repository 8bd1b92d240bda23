/**
 * What an operator sees of a store's outbox and does with it. Reading needs no lease; each act is one
 * transaction under the store's lease, between commits.
 */
import type { DeadLetter, DeadLetterFilter } from "../outbox/dead-letters.ts";
import type { EntryDetail, EntryFilter, ListedEntry } from "../outbox/entries.ts";
import type { ForcedRelease, OutboxLeaseRow } from "../outbox/leases.ts";

/** What is exported. */
export interface OutboxExportOptions {
  /** Entries recorded at or after, UTC ms; dead letters given up on at or after. */
  readonly since?: number;
  /** Dead letters, archived ones too, instead of entries that wait. */
  readonly deadLetters?: boolean;
  /** With what the events say: personal data. */
  readonly includePayload?: boolean;
}

/** One exported entry: columns as in the export of a queue, times in ISO 8601. */
export interface OutboxExportRow {
  /** Id of the event. */
  readonly id: string;
  readonly operation_type: string;
  /** Event type. */
  readonly entity_type: string;
  /** Stream. */
  readonly entity_id: string;
  readonly enqueued_at: string;
  readonly attempt_count: number;
  readonly next_retry_at: string | null;
  /** Milliseconds until the next try, at the time of the export; 0: due. */
  readonly backoff_ms: number;
  readonly status: string;
  readonly error_code?: string;
  readonly error_message?: string;
  readonly http_status?: number | null;
  readonly severity?: string;
  readonly created_at?: string;
  readonly updated_at?: string;
  readonly archived_at?: string | null;
  /** `data` or `text`; null when it cannot be opened. */
  readonly payload?: unknown;
}

/** The outbox of an open store. Acts reject with `store_read_only` in a store that is open for reading. */
export interface OutboxDesk {
  /** Entries in order of position. Throws `outbox_query_invalid`. */
  list(filter?: EntryFilter): readonly ListedEntry[];
  /** Throws `outbox_query_invalid`. */
  deadLetters(filter?: DeadLetterFilter): readonly DeadLetter[];
  /** One entry with its attempts, by event id or leaf. Throws `outbox_entry_missing`. */
  show(idOrLeaf: string): EntryDetail;
  /** Rows a page at a time. */
  export(options?: OutboxExportOptions): Generator<OutboxExportRow, void>;
  leases(): readonly OutboxLeaseRow[];
  /** Puts a dead letter back, under the same event id. Rejects with `outbox_entry_missing`. */
  redrive(idOrLeaf: string): Promise<void>;
  /** Puts all back that meet the conditions; how many. */
  redriveAll(filter?: DeadLetterFilter): Promise<number>;
  /** Rejects with `outbox_entry_missing`. */
  archive(idOrLeaf: string): Promise<void>;
  /** Archives those given up on at least so long ago; how many. */
  archiveOlderThan(ageMs: number): Promise<number>;
  /**
   * Removes the *entries* of dead letters archived at least so long ago (default: the retention); their
   * events stay in the log. How many.
   */
  purge(ageMs?: number): Promise<number>;
  /** Ends a worker's lease. Rejects with `outbox_reason_missing`, `outbox_lease_lost`. */
  forceRelease(worker: string, release: ForcedRelease): Promise<void>;
}
