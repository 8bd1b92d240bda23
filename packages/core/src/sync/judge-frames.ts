/** Judging the frames of a pulled event: they fit its header and, where the key is here, open to what it commits to. */
import type { Header } from "../event/event.ts";
import type { DataKey } from "../keys/keyring.ts";
import { frameGeneration, openFrame } from "../seal/frame.ts";
import { type Bytes, fromBase64url, utf8, wipe } from "../std/bytes.ts";
import { limits } from "../std/limits.ts";
import type { Crypto } from "../std/ports.ts";
import type { EventBody, WireFrame } from "./messages/body.ts";

/** Data keys that this replica holds. */
export interface OpenableKeys {
  dataKey(id: string, generation: number): DataKey | undefined;
}

/** The first thing wrong with the frames; `undefined`: nothing that can be seen without further keys. */
export function judgeFrames(
  deps: { readonly crypto: Crypto; readonly keyring: OpenableKeys },
  header: Header,
  leaf: Bytes,
  { header: text, frames }: EventBody,
): "sections" | "state" | "size" | "frame" | undefined {
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
    if (isPresent && !opens(deps, header, leaf, frame)) return "frame";
  }
  return undefined;
}

/** Version, generation, nonce, salt and tag of a frame. */
const frameOverheadBytes = 65;

function opens(
  { crypto, keyring }: { readonly crypto: Crypto; readonly keyring: OpenableKeys },
  header: Header,
  leaf: Bytes,
  { section, key, bytes }: WireFrame,
): boolean {
  const ref = header.sec[section];
  const commitment = fromBase64url(ref?.c ?? "");
  if (bytes === undefined || commitment === undefined || ref?.k !== key) return false;
  const generation = frameGeneration(bytes);
  if (generation === undefined) return false;
  const dataKey = keyring.dataKey(key, generation);
  // Without the key nobody here can tell; whoever opens the section compares it then.
  if (dataKey === undefined) return true;
  const opened = openFrame(crypto, dataKey, section, leaf, bytes, commitment);
  if (opened !== undefined) wipe(opened.salt, opened.plaintext);
  return opened !== undefined;
}
