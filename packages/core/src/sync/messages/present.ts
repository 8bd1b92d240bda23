/**
 * `POST /v1/log/receipts`: what a device holds of a server log beyond the end that the server knows of. The server keeps
 * what it has signed itself, as evidence of what it lost, and answers nothing; where it had not known that it lost
 * anything, it refuses with `server_put_back`.
 */
import type { ProvenLeaf } from "../../proof/server-leaf.ts";

/** The newest checkpoint that is held of that log, and the newest receipt of each device log that stands beyond. */
export interface PresentRequest {
  /** C2SP signed note. */
  readonly checkpoint: string;
  readonly receipts: readonly PresentedReceipt[];
}

/** A receipt with the checkpoint that proves it. */
export interface PresentedReceipt {
  readonly receipt: ProvenLeaf;
  /** C2SP signed note. */
  readonly checkpoint: string;
}
