/** What of an event's content is gone, by the shreds in force. */
import { framesLeft, type shreddedBy, type WireFrame } from "@holdfast/core";

/** Sections of scopes that are shredded. */
export type Shredded = ReturnType<typeof shreddedBy>;

/** The frames without the content that is shredded; the same array when none is. */
export function withoutShredded(
  isShredded: Shredded,
  scope: string,
  frames: readonly WireFrame[],
): readonly WireFrame[] {
  return framesLeft(frames, (section) => isShredded({ scope, section }));
}
