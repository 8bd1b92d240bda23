/** `GET /v1/log/epoch`: how the server log that a device holds goes on in another one, one step at a time. */
import type { ProvenLeaf } from "../../proof/server-leaf.ts";
import type { Bytes } from "../../std/bytes.ts";

/** What a device holds: a log by its origin, and a size at which it knows its root. */
export interface EpochRequest {
  readonly log: string;
  readonly size: number;
}

/** The log that goes on for it, with all that joins the two. */
export interface EpochAnswer {
  /** The epoch statement, at index 0, in the tree of `checkpoint`. */
  readonly epoch: ProvenLeaf;
  /** Newest checkpoint of the next log: C2SP signed note. */
  readonly checkpoint: string;
  /** The checkpoint that the statement names: C2SP signed note. */
  readonly last: string;
  /** From the asked size to that of `last`; empty where that is smaller, or the same. */
  readonly consistency: readonly Bytes[];
}
