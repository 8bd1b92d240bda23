/**
 * The port of event logs: the durable sequence of sealed events.
 *
 * An event log stores what was sealed, own and foreign, and gives each event a position: 1, 2, 3 … in commit
 * order, without gaps. It never changes what it holds. Implementations: SQLite (`sqlite-event-log.ts`) and,
 * on servers, PostgreSQL; each passes the conformance suite in testkit (`event-log.suite.ts`).
 */
import type { MaybePromise } from "../keys/provider.ts";
import type { EventContent } from "../seal/content.ts";
import type { CommitNote, Frame, SealedEvent } from "../seal/sealed-event.ts";
import type { DeviceHead } from "../seal/seal.ts";

/** A sealed event at its place. */
export interface StoredEvent {
  readonly position: number;
  readonly leaf: string;
  readonly headerText: string;
  readonly frames: readonly Frame[];
}

/** Which events to read; all conditions must hold. Answers are in order of position. */
export interface EventFilter {
  readonly stream?: string;
  readonly type?: string;
  readonly actor?: string;
  /** recordedAt, inclusive. */
  readonly since?: number;
  /** recordedAt, exclusive. */
  readonly until?: number;
  readonly after?: number;
  readonly limit: number;
  readonly unsynced?: boolean;
  /** Leave the frames out. */
  readonly headersOnly?: boolean;
}

/** What one transaction appends: events of one device log, and the note over its new size. */
export interface CommitBatch {
  readonly events: readonly SealedEvent[];
  readonly note: CommitNote;
  /** Of another installation: kept and read like own events, and never pushed from here. */
  readonly foreign?: boolean;
  /** Urgent events, by leaf; the rest goes through the normal lane. */
  readonly urgent?: ReadonlySet<string>;
  /** What own events say, by leaf, for those who take part in the transaction: saves opening them again. */
  readonly contents?: ReadonlyMap<string, EventContent>;
}

/** What an append to an event log answers. */
export type CommitOutcome =
  | { readonly status: "appended"; readonly firstPosition: number }
  /** The device log does not end where the batch begins: nothing was appended. */
  | { readonly status: "stale"; readonly size: number };

/** A device log as this log holds it. */
export interface DeviceLogState {
  readonly device: string;
  readonly incarnation: string;
  readonly size: number;
  readonly head: DeviceHead;
}

/** The durable sequence of sealed events; see the module header. */
export interface EventLog {
  readonly capabilities: {
    /** An appended event outlives the process, the system and the power. */
    readonly durable: boolean;
    /** Nothing readable reaches the medium. */
    readonly encrypted: boolean;
  };
  /** Last position; 0 when empty. */
  head(): MaybePromise<number>;
  /** `undefined` when the log holds nothing of that device log. */
  deviceLog(device: string, incarnation: string): MaybePromise<DeviceLogState | undefined>;
  /**
   * Appends all events of the batch or none, durable when it answers. Throws `event_id_conflict` when an id
   * is already recorded, and the storage codes.
   */
  append(batch: CommitBatch): MaybePromise<CommitOutcome>;
  read(filter: EventFilter): MaybePromise<readonly StoredEvent[]>;
  byLeaf(leaf: string): MaybePromise<StoredEvent | undefined>;
  byId(id: string): MaybePromise<StoredEvent | undefined>;
  /** The first note of a device log that covers a sequence number: that of the commit it came with. */
  noteCovering(
    device: string,
    incarnation: string,
    sequence: number,
  ): MaybePromise<CommitNote | undefined>;
  /** Leaves [from, to) of a device log, from index 0, base64url. */
  leaves(
    device: string,
    incarnation: string,
    from: number,
    to: number,
  ): MaybePromise<readonly string[]>;
}
