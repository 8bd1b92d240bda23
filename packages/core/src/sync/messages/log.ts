/** Reading the server log: `GET /v1/log/checkpoint|inclusion|consistency|leaves`, for whoever verifies it. */
import type { Bytes } from "../../std/bytes.ts";
import type { ProvenLeaf } from "../../proof/server-leaf.ts";

/** Newest checkpoint of the server log of the caller's shard. */
export interface CheckpointAnswer {
  /** C2SP signed note. */
  readonly checkpoint: string;
}

/** Which leaf, in the tree of which size. */
export interface InclusionRequest {
  readonly index: number;
  readonly size: number;
  /** Origin or shard of a former log of the tenant. */
  readonly log?: string;
}

/** A leaf of the server log with its inclusion path (RFC 6962 §2.1.1). */
export interface InclusionAnswer {
  readonly leaf: ProvenLeaf;
}

/** Two sizes of the server log, the smaller first. */
export interface ConsistencyRequest {
  readonly before: number;
  readonly size: number;
  /** Origin or shard of a former log of the tenant. */
  readonly log?: string;
}

/** Consistency path between the two sizes (RFC 6962 §2.1.2). */
export interface ConsistencyAnswer {
  readonly path: readonly Bytes[];
}

/** A run of the server log, for monitors; at most `logLeavesMax`. */
export interface LeavesAnswer {
  /** Texts of leaves from the asked index on. */
  readonly leaves: readonly string[];
}
