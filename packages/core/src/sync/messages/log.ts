/** Reading the server log: `GET /v1/log/checkpoint|inclusion|consistency|leaves`, for whoever verifies it. */
import type { Bytes } from "../../std/bytes.ts";
import type { ProvenLeaf } from "../../proof/server-leaf.ts";

export interface CheckpointAnswer {
  /** C2SP signed note. */
  readonly checkpoint: string;
}

export interface InclusionRequest {
  readonly index: number;
  readonly size: number;
}

export interface InclusionAnswer {
  readonly leaf: ProvenLeaf;
}

export interface ConsistencyRequest {
  readonly before: number;
  readonly size: number;
}

export interface ConsistencyAnswer {
  readonly path: readonly Bytes[];
}

export interface LeavesAnswer {
  /** Texts of leaves from the asked index on. */
  readonly leaves: readonly string[];
}
