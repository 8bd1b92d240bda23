/**
 * `POST /v1/pull`: events of scopes after a position, with all that proves them. Own events of the asking device
 * are left out unless `own` is set, as it is after the device was put back to an older copy.
 */
import type { Bytes } from "../../std/bytes.ts";
import type { ProvenLeaf } from "../../proof/server-leaf.ts";
import type { EventBody } from "./body.ts";

/** `POST /v1/pull`: which scopes, from where, how much, and what the replica holds already. */
export interface PullRequest {
  /** Scope ids, or all that the device may read. */
  readonly scopes: readonly string[] | "*";
  /** Position in the shard; 0: from the beginning. */
  readonly after: number;
  readonly events: number;
  readonly bytes: number;
  /** Size of the newest checkpoint that the device holds; 0: none. */
  readonly checkpoint: number;
  /** Newest note held of each foreign device log, by origin key `<dev>/<inc>`. */
  readonly held: Readonly<Record<string, number>>;
  readonly own?: boolean;
}

/** One device log in a page: one receipted note, and what joins it to what the replica holds. */
export interface PulledLog {
  readonly device: string;
  readonly incarnation: string;
  /** Commit note; the receipt states its digest. */
  readonly note: string;
  readonly receipt: ProvenLeaf;
  readonly enrolment: ProvenLeaf;
  /** Header text of index 0, always proven by `hashes`. */
  readonly opening: string;
  /** proveInclusions over index 0 and the indices of this page's events, ascending. */
  readonly hashes: readonly Bytes[];
  /** From the note that the replica holds to this one; empty when it holds none or the same. */
  readonly consistency: readonly Bytes[];
}

/** An event of a page with its places in its device log and in the shard. */
export interface PulledEvent {
  /** Which of the page's logs. */
  readonly log: number;
  /** Index in the device log: `seq` − 1. */
  readonly index: number;
  /** Position in the shard. */
  readonly position: number;
  readonly body: EventBody;
}

/** Events in order of position, with the logs that prove them. */
export interface PullPage {
  /** Where the next page begins; equal to `head` when there is nothing more. */
  readonly next: number;
  readonly head: number;
  readonly checkpoint: string;
  readonly consistency: readonly Bytes[];
  readonly logs: readonly PulledLog[];
  /** In order of position. */
  readonly events: readonly PulledEvent[];
}
