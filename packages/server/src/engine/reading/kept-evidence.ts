/** What lies in quarantine because this server signed it and no log here holds it: checkpoints, and receipts. */
import type { ErrorCode } from "@holdfast/core";

/** Code of kept checkpoints; what lies with one is the name that `shownName` gives. */
export const shownCode: ErrorCode = "server_put_back";

/** Code of kept receipts. */
export const lostReceiptCode: ErrorCode = "receipt_beyond";

/** What lies with a kept receipt, as JSON; the row names the device log, its receipted size and the checkpoint. */
export interface KeptEvidence {
  /** Device that presented it. */
  readonly by: string;
  /** Leaves of the device log that were here at that moment. */
  readonly held: number;
  /** Text of the statement, its index in the server log, and its path, base64. */
  readonly receipt: string;
  readonly index: number;
  readonly path: readonly string[];
}
