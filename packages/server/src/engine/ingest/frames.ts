/**
 * Frames as the server keeps them, one BLOB an event: their number, then for each
 *
 *     u8 length of the section ‖ section ‖ u8 length of the key id ‖ key id ‖ u8 state ‖ u32 length ‖ bytes
 */
import {
  concat,
  fromUtf8,
  type FrameState,
  HoldfastError,
  u32,
  utf8,
  type WireFrame,
} from "@holdfast/core";

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
export function decodeFrames(encoded: Uint8Array): readonly WireFrame[] {
  let at = 0;
  const take = (length: number): Uint8Array<ArrayBuffer> => {
    if (at + length > encoded.length) throw new HoldfastError("store_corrupt", { part: "frames" });
    at += length;
    return Uint8Array.from(encoded.subarray(at - length, at));
  };
  const byte = (): number => take(1)[0] as number;
  const frames = Array.from({ length: byte() }, (): WireFrame => {
    const section = fromUtf8(take(byte()));
    const key = fromUtf8(take(byte()));
    const state = states[byte()];
    if (state === undefined) throw new HoldfastError("store_corrupt", { part: "frames" });
    const length = new DataView(take(4).buffer).getUint32(0);
    const bytes = take(length);
    return { section, key, state, bytes: state === "present" ? bytes : undefined };
  });
  if (at !== encoded.length) throw new HoldfastError("store_corrupt", { part: "frames" });
  return frames;
}
