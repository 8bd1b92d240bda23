/** What of an event's content is gone, by the shreds in force. */
import type { WireFrame } from "@holdfast/core";
import type { ShredRow } from "../server-store.ts";

/** Sections of scopes that are shredded. */
export interface Shredded {
  has(scope: string, section: string): boolean;
}

/** `rows`: the shreds that concern the scopes that will be asked for. */
export function shreddedBy(rows: readonly ShredRow[]): Shredded {
  const names = new Set(rows.map(({ scope, section }) => `${scope}/${section}`));
  return {
    // An empty section stands for all of them.
    has: (scope, section) => names.has(`${scope}/`) || names.has(`${scope}/${section}`),
  };
}

/** The frames without the content that is shredded; the same array when none is. */
export function withoutShredded(
  shredded: Shredded,
  scope: string,
  frames: readonly WireFrame[],
): readonly WireFrame[] {
  const isGone = ({ section, state }: WireFrame): boolean =>
    state !== "shredded" && shredded.has(scope, section);
  if (!frames.some(isGone)) return frames;
  return frames.map((frame) =>
    isGone(frame) ? { ...frame, state: "shredded" as const, bytes: undefined } : frame,
  );
}
