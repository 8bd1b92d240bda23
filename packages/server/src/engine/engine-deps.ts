/** The outside world of the server's engine. */
import type { Bytes, Clock, Crypto, Hello, Observer, Random, Timers } from "@holdfast/core";
import type { CheckpointKey } from "./log/checkpoints.ts";
import type { ServerStore } from "./server-store.ts";

/** The device of a server's node in a tenant. */
export interface ServerNode {
  readonly device: string;
  /** Header text of its `IncarnationOpened`. */
  readonly opening: string;
  /** Commit note over its log, of any size ≥ 1, and the inclusion path of index 0 in it. */
  readonly note: string;
  readonly path: readonly Bytes[];
}

/** Ports of `createSyncServer`. */
export interface EngineDeps {
  readonly store: ServerStore;
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly observer: Observer;
  /** Audience of assertions and first part of log origins. */
  readonly host: string;
  readonly key: CheckpointKey;
  readonly reads: Hello["reads"];
  /** This node in a tenant: the same device each time, with an opening while it is not enrolled there. */
  nodeFor(tenant: string): Promise<ServerNode>;
  /** What the transport adds to the greeting. */
  readonly greeting?: Pick<Hello, "schema" | "encodings">;
}
