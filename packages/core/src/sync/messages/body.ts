/** An event as it travels: its exact header text and its frames. Binary, length-prefixed (codec.ts). */
import type { FrameState } from "../../event/event.ts";

/** One frame; bytes are there exactly when the state is `present`. */
export interface WireFrame {
  readonly section: string;
  /** Id of the data key, base64url of 16 bytes. */
  readonly key: string;
  readonly state: FrameState;
  readonly bytes: Uint8Array | undefined;
}

/** Header and frames of one event. */
export interface EventBody {
  /** Exact JCS text: what is hashed. */
  readonly header: string;
  readonly frames: readonly WireFrame[];
}
