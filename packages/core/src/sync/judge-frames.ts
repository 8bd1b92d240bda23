/** Judging the frames of a pulled event: they fit its header and, where the key is here, open to what it commits to. */
import type { Header } from "../event/event.ts";
import type { DataKey } from "../keys/data-key.ts";
import { frameGeneration, openFrame } from "../seal/frame.ts";
import { type Bytes, fromBase64url, utf8, wipe } from "../std/bytes.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { EventBody, WireFrame } from "./messages/body.ts";

/** Data keys that this replica holds. */
export interface OpenableKeys {
  dataKey(id: string, generation: number): DataKey | undefined;
}

/** What the frames of an event are worth. */
export interface FramesVerdict {
  /** The first thing wrong with them that an honest server never lets in. */
  readonly fault?: "sections" | "state" | "size" | "frame";
  /**
   * Sections that do not open under a key that is held. Author and server may have done that, and nobody here
   * can tell which: the event is stored, its section stays closed.
   */
  readonly unopened: readonly string[];
}

/** Judges the frames of a pulled event. */
export function judgeFrames(
  deps: { readonly crypto: Crypto; readonly keyring: OpenableKeys },
  header: Header,
  leaf: Bytes,
  { header: text, frames }: EventBody,
): FramesVerdict {
  const unopened: string[] = [];
  const fault = faultOf(deps, header, leaf, { header: text, frames }, unopened);
  return fault === undefined ? { unopened } : { fault, unopened };
}

function faultOf(
  deps: { readonly crypto: Crypto; readonly keyring: OpenableKeys },
  header: Header,
  leaf: Bytes,
  { header: text, frames }: EventBody,
  unopened: string[],
): FramesVerdict["fault"] {
  const named = new Set(Object.keys(header.sec));
  if (frames.length !== named.size || frames.some(({ section }) => !named.delete(section))) {
    return "sections";
  }
  const bytes = frames.reduce((sum, frame) => sum + (frame.bytes?.length ?? 0), utf8(text).length);
  if (bytes > limits.eventBytesMax + frames.length * frameOverheadBytes) return "size";
  for (const frame of frames) {
    const isPresent = frame.state === "present";
    if (isPresent !== (frame.bytes !== undefined)) return "state";
    if (!isPresent && frame.state !== "shredded" && frame.state !== "owed") return "state";
    if (!isPresent) continue;
    if (!fits(header, frame)) return "frame";
    if (!opens(deps, header, leaf, frame)) unopened.push(frame.section);
  }
  return undefined;
}

/** Version, generation, nonce, salt and tag of a frame. */
const frameOverheadBytes = 65;

/** Is it a frame, under the key that the header names? */
function fits({ sec }: Header, { section, key, bytes }: WireFrame): boolean {
  return sec[section]?.k === key && bytes !== undefined && frameGeneration(bytes) !== undefined;
}

function opens(
  { crypto, keyring }: { readonly crypto: Crypto; readonly keyring: OpenableKeys },
  header: Header,
  leaf: Bytes,
  { section, key, bytes }: WireFrame,
): boolean {
  const commitment = fromBase64url(header.sec[section]?.c ?? "");
  const generation = bytes === undefined ? undefined : frameGeneration(bytes);
  if (bytes === undefined || commitment === undefined || generation === undefined) return false;
  const dataKey = keyring.dataKey(key, generation);
  // Without the key nobody here can tell; whoever opens the section compares it then.
  if (dataKey === undefined) return true;
  const opened = openFrame(crypto, dataKey, section, leaf, bytes, commitment);
  if (opened !== undefined) wipe(opened.salt, opened.plaintext);
  return opened !== undefined;
}
