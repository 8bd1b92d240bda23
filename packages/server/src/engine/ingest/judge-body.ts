/** The verdict on one body whose leaf is in the log: is it the event that belongs there, and is it whole? */
import {
  type ErrorCode,
  frameGeneration,
  type Header,
  isHoldfastError,
  limits,
  type NewerHeader,
  parseHeader,
  saltBytes,
  type WireFrame,
} from "@holdfast/core";
import type { OfferedBody } from "./offer.ts";

/** The place that the leaf has. */
export interface BodyPlace {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly index: number;
  /** Leaf before it; `noPrevious` for index 0. */
  readonly previous: string;
}

export type BodyVerdict =
  | { readonly header: Header | NewerHeader }
  | { readonly rejected: ErrorCode };

/** Version, generation, nonce, salt and tag: what a frame adds to its plaintext. */
const frameOverheadBytes = 1 + 4 + 12 + saltBytes + 16;
const keyId = /^[A-Za-z0-9_-]{21}[AQgw]$/;

export function judgeBody(offered: OfferedBody, place: BodyPlace): BodyVerdict {
  let header: Header | NewerHeader;
  try {
    header = parseHeader(offered.body.header);
  } catch (error) {
    if (!isHoldfastError(error, "header_invalid")) throw error;
    return { rejected: "header_invalid" };
  }
  const { ten, dev, inc, seq, prev, sec } = header;
  if (ten !== place.tenant || dev !== place.device || inc !== place.incarnation) {
    return { rejected: "event_foreign" };
  }
  if (seq !== place.index + 1 || prev !== place.previous) return { rejected: "event_link_wrong" };
  const { frames } = offered.body;
  if (!areFramesOf(sec, frames)) return { rejected: "event_frames_wrong" };
  if (eventBytes(offered.headerBytes, frames) > limits.eventBytesMax) {
    return { rejected: "event_too_large" };
  }
  return { header };
}

/** Every section that the header names has one frame, and nothing else has. */
function areFramesOf(sec: Header["sec"], frames: readonly WireFrame[]): boolean {
  if (Object.keys(sec).length !== frames.length) return false;
  const seen = new Set<string>();
  for (const { section, key, state, bytes } of frames) {
    if (!Object.hasOwn(sec, section) || seen.has(section) || !keyId.test(key)) return false;
    // Readers hold the header's word against the frame: one that differs would stop them all.
    if (sec[section]?.k !== key) return false;
    seen.add(section);
    // Owed content is pushed later with its body; a frame without content must say why it has none.
    if (state !== "present" && state !== "shredded") return false;
    if ((state === "present") !== (bytes !== undefined)) return false;
    if (bytes !== undefined && frameGeneration(bytes) === undefined) return false;
  }
  return true;
}

/** As sealing counts: the header and the plaintext of its sections. */
function eventBytes(headerBytes: number, frames: readonly WireFrame[]): number {
  let bytes = headerBytes;
  for (const frame of frames) {
    if (frame.bytes !== undefined) bytes += frame.bytes.length - frameOverheadBytes;
  }
  return bytes;
}
