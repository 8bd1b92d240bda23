/** What sealing makes and the event log stores. */
import type { FrameState, Header } from "../event/event.ts";

/** The encrypted form of one section; replaceable, outside header and signature. */
export interface Frame {
  readonly section: string;
  /** Id of the data key. */
  readonly key: string;
  readonly state: FrameState;
  /** Present when the state is `present`. */
  readonly bytes: Uint8Array | undefined;
}

/** Frames as they are once the content of some sections was shredded; the same array where none of it is there. */
export function framesLeft(
  frames: readonly Frame[],
  isShredded: (section: string) => boolean,
): readonly Frame[] {
  const isGone = ({ section, state }: Frame): boolean =>
    state !== "shredded" && isShredded(section);
  if (!frames.some(isGone)) return frames;
  return frames.map((frame) =>
    isGone(frame) ? { ...frame, state: "shredded", bytes: undefined } : frame,
  );
}

/** Header bytes (hashed, signed) and frames (not). */
export interface SealedEvent {
  /** base64url(SHA-256(0x00 ‖ header bytes)). */
  readonly leaf: string;
  readonly header: Header;
  /** The exact JCS text: encoded once, stored, hashed, signed for ever. */
  readonly headerText: string;
  readonly frames: readonly Frame[];
}

/** A device's signed statement of its log's size and root. */
export interface CommitNote {
  readonly device: string;
  readonly incarnation: string;
  readonly size: number;
  /** Root hash, base64. */
  readonly root: string;
  /** C2SP signed note. */
  readonly text: string;
}
