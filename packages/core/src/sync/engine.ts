/** What an application sees of sync. Implementation: `create-engine.ts`; decisions: `step.ts`. */
import type { SyncWatermarks } from "./sync-store.ts";

/** Where push or pull stands. */
export type LaneState =
  | "idle"
  | "running"
  | "backing-off"
  | "open"
  | "needs-auth"
  | "halted"
  | "stopped";

export interface SyncState {
  readonly push: LaneState;
  readonly pull: LaneState;
  /** A hint: what the platform says of the network, and whether the last exchange got through. */
  readonly connectivity: "online" | "offline" | "unknown";
  readonly watermarks: SyncWatermarks;
  /** Code of the last failure. */
  readonly lastFailure: string | undefined;
  /** Why a person is needed; set while halted. */
  readonly evidence: string | undefined;
}

/** What one `syncNow` did. */
export interface SyncReport {
  readonly pushed: number;
  readonly pulled: number;
  readonly rejected: number;
  /** `drained`: nothing waits and nothing is owed. */
  readonly status: "drained" | "partial" | "failed" | "cancelled" | "needs-auth" | "halted";
  readonly failure: string | undefined;
}

/** A running loop; see ARCHITECTURE.md, "Life of an event", 5 to 7. */
export interface SyncEngine {
  /** Starts automatic sync: after appends, on hints, by timer. */
  start(): void;
  /** Pushes and pulls until nothing is left, the first failure, or the signal. */
  syncNow(signal?: {
    readonly aborted: boolean;
    addEventListener(type: "abort", listener: () => void): void;
  }): Promise<SyncReport>;
  /** Ends what is under way; loses nothing. Automatic sync stays off until `start`. */
  cancel(): Promise<void>;
  state(): SyncState;
  subscribe(listener: (state: SyncState) => void): () => void;
  /** A hint of the platform. */
  connectivity(state: "online" | "offline"): void;
  /** There is something to push: called after commits. */
  wake(): void;
  /**
   * Goes on after a halt: a person has looked at the evidence. Throws `sync_not_halted` and
   * `sync_reason_missing`; recorded with actor and reason.
   */
  resume(actor: string, reason: string): Promise<void>;
  /** Ends for good. */
  close(): Promise<void>;
}
