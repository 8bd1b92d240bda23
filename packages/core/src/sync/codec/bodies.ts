/**
 * Events as they travel and as servers keep them: binary, every part behind its length. Integers big endian.
 *
 * ```text
 * body    u32 header length ‖ header (UTF-8) ‖ frames
 * frames  u8 count ‖ frame*
 * frame   u8 name length ‖ name (UTF-8) ‖ data key id (16) ‖ u8 state ‖ u32 length ‖ bytes
 * state   0 present, 1 owed, 2 shredded, 3 evicted; bytes are there exactly when it is 0
 * ```
 *
 * What is read shares the memory of what it was read from: keep one or the other.
 */
import type { FrameState } from "../../event/event.ts";
import {
  base64url,
  type Bytes,
  concat,
  fromBase64url,
  fromUtf8,
  u32,
  utf8,
} from "../../std/bytes.ts";
import { invariant, isHoldfastError } from "../../std/errors.ts";
import { limits } from "../../std/limits.ts";
import type { EventBody, WireFrame } from "../messages/body.ts";
import { malformed, tooLarge } from "./shape.ts";

const states: readonly FrameState[] = ["present", "owed", "shredded", "evicted"];
const keyBytes = 16;

/** Steps through bytes; each step names the part it reads, for the refusal. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(input: Uint8Array) {
    this.#bytes = input;
    this.#view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  /** The next bytes, in the memory of the input. A length is believed only once the bytes are there. */
  take(length: number, part: string): Uint8Array {
    if (length > this.left) throw malformed(part);
    const from = this.#at;
    this.#at += length;
    return this.#bytes.subarray(from, this.#at);
  }

  u8(part: string): number {
    return this.take(1, part)[0] as number;
  }

  u32(part: string): number {
    this.take(4, part);
    return this.#view.getUint32(this.#at - 4);
  }

  /** An unsigned 64-bit integer that a double holds exactly. */
  u64(part: string): number {
    this.take(8, part);
    const value = this.#view.getBigUint64(this.#at - 8);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed(part);
    return Number(value);
  }

  text(length: number, part: string): string {
    const raw = this.take(length, part);
    try {
      return fromUtf8(raw);
    } catch (error) {
      throw isHoldfastError(error, "utf8_malformed") ? malformed(part) : error;
    }
  }

  /** Nothing may follow. */
  end(part: string): void {
    if (this.left !== 0) throw malformed(part);
  }
}

/** Eight bytes, big endian. */
export function u64(value: number): Bytes {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, BigInt(value));
  return out;
}

function frameParts(frame: WireFrame): readonly Uint8Array[] {
  const name = utf8(frame.section);
  const key = fromBase64url(frame.key);
  const there = frame.state === "present";
  invariant(name.length > 0 && name.length <= limits.nameBytesMax, "a section has a short name");
  invariant(key?.length === keyBytes, "a data key id is 16 bytes");
  invariant(there === (frame.bytes !== undefined), "bytes are there exactly when present");
  const content = frame.bytes ?? new Uint8Array();
  const state = Uint8Array.of(states.indexOf(frame.state));
  return [Uint8Array.of(name.length), name, key, state, u32(content.length), content];
}

/** Frames in wire form: what servers store beside a header. */
export function encodeFrames(frames: readonly WireFrame[]): Bytes {
  invariant(frames.length <= limits.eventSectionsMax, "an event has few sections");
  return concat(Uint8Array.of(frames.length), ...frames.flatMap(frameParts));
}

/** The way back. Throws `message_malformed` and `message_too_large`, never anything else. */
export function decodeFrames(bytes: Uint8Array): readonly WireFrame[] {
  const reader = new ByteReader(bytes);
  const frames = readFrames(reader, "frames");
  reader.end("frames");
  return frames;
}

function readFrames(reader: ByteReader, part: string): readonly WireFrame[] {
  const count = reader.u8(part);
  if (count > limits.eventSectionsMax) throw tooLarge(part, limits.eventSectionsMax);
  const frames: WireFrame[] = [];
  for (let i = 0; i < count; i++) {
    const frame = readFrame(reader, `${part}/${i}`);
    if (frames.some(({ section }) => section === frame.section)) throw malformed(`${part}/${i}`);
    frames.push(frame);
  }
  return frames;
}

function readFrame(reader: ByteReader, part: string): WireFrame {
  const nameLength = reader.u8(part);
  if (nameLength === 0 || nameLength > limits.nameBytesMax) throw malformed(part);
  const section = reader.text(nameLength, part);
  const key = base64url(reader.take(keyBytes, part));
  const state = states[reader.u8(part)];
  const length = reader.u32(part);
  if (state === undefined || (state !== "present" && length !== 0)) throw malformed(part);
  if (length > limits.bodyBytesMax) throw tooLarge(part, limits.bodyBytesMax);
  const content = reader.take(length, part);
  return { section, key, state, bytes: state === "present" ? content : undefined };
}

/** Header and frames of one event. */
export function encodeBody(body: EventBody): Bytes {
  const header = utf8(body.header);
  return concat(u32(header.length), header, encodeFrames(body.frames));
}

/** Header and frame bytes of one event, without what stands between: what the bounds of exchanges count. */
export function bodyBytes(body: EventBody): number {
  const frames = body.frames.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0);
  return utf8(body.header).length + frames;
}

/** Reads one body where the reader stands; at most `bodyBytesMax`. */
export function readBody(reader: ByteReader, part: string): EventBody {
  const before = reader.left;
  const length = reader.u32(part);
  if (length > limits.headerBytesMax) throw tooLarge(`${part}/header`, limits.headerBytesMax);
  const header = reader.text(length, `${part}/header`);
  const frames = readFrames(reader, `${part}/frames`);
  if (before - reader.left > limits.bodyBytesMax) throw tooLarge(part, limits.bodyBytesMax);
  return { header, frames };
}
