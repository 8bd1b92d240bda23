/**
 * Frames as the server keeps them, one BLOB an event: their number, then for each
 *
 *     u8 length of the section ‖ section ‖ u8 length of the key id ‖ key id ‖ u8 state ‖ u32 length ‖ bytes
 */
import { concat, type FrameState, HoldfastError, u32, utf8, type WireFrame } from "@holdfast/core";

const states: readonly FrameState[] = ["present", "owed", "shredded", "evicted"];

export function encodeFrames(frames: readonly WireFrame[]): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(frames.length)];
  for (const { section, key, state, bytes } of frames) {
    const name = utf8(section);
    const id = utf8(key);
    parts.push(Uint8Array.of(name.length), name, Uint8Array.of(id.length), id);
    parts.push(Uint8Array.of(states.indexOf(state)), u32(bytes?.length ?? 0));
    if (bytes !== undefined) parts.push(bytes);
  }
  return concat(...parts);
}

/** The way back. Throws `store_corrupt` for bytes that {@link encodeFrames} does not write. */
export function decodeFrames(stored: Uint8Array): readonly WireFrame[] {
  const encoded = new Uint8Array(stored.buffer, stored.byteOffset, stored.length);
  const view = new DataView(encoded.buffer, encoded.byteOffset, encoded.length);
  let at = 0;
  // Moves on by so many bytes and tells where they begin.
  const pass = (length: number): number => {
    if (at + length > encoded.length) throw corrupt();
    at += length;
    return at - length;
  };
  const text = (): string => {
    const length = view.getUint8(pass(1));
    const from = pass(length);
    // Names and key ids are a few ASCII characters: a decoder or an iterator costs more than all the rest.
    let name = "";
    for (let index = from; index < from + length; index++) {
      name += String.fromCharCode(encoded[index] as number);
    }
    return name;
  };
  const frames: WireFrame[] = [];
  for (let left = view.getUint8(pass(1)); left > 0; left--) {
    const section = text();
    const key = text();
    const state = states[view.getUint8(pass(1))];
    if (state === undefined) throw corrupt();
    const length = view.getUint32(pass(4));
    const from = pass(length);
    // No copy: what a driver hands out is the caller's.
    const bytes = state === "present" ? encoded.subarray(from, from + length) : undefined;
    frames.push({ section, key, state, bytes });
  }
  if (at !== encoded.length) throw corrupt();
  return frames;
}

function corrupt(): HoldfastError {
  return new HoldfastError("store_corrupt", { part: "frames" });
}
