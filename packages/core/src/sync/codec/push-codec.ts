/**
 * Push request and pull page: a control part in canonical JSON, then events.
 *
 * ```text
 * push    u32 length ‖ control (JCS) ‖ entry*
 * entry   0 ‖ u32 count ‖ leaf (32)*       the longest run of entries that bring their leaf alone
 *         1 ‖ body                         an entry with its body
 *         2 ‖ u64 index ‖ body             a fill; fills stand last
 * page    u32 length ‖ control (JCS) ‖ body*   one for every member of `placed`
 * ```
 *
 * One message has one encoding: the control is canonical, runs are as long as they can be and never empty.
 */
import { type Bytes, concatAll, u32 } from "../../std/bytes.ts";
import { invariant } from "../../std/errors.ts";
import { canonicalBytes } from "../../std/jcs.ts";
import { limits } from "../../std/limits.ts";
import type { PulledEvent, PullPage } from "../messages/pull.ts";
import type { Fill, PushEntry, PushRequest } from "../messages/push.ts";
import { bodyBytes, ByteReader, encodeBody, readBody, u64 } from "./bodies.ts";
import { readJson } from "./json-codec.ts";
import { pullControlShape, pushControlShape } from "./message-shapes.ts";
import { malformed, type Shape, tooLarge } from "./shape.ts";

const kinds = { leaves: 0, full: 1, fill: 2 } as const;
const leafBytes = 32;

function controlParts<T>(shape: Shape<T>, value: T): readonly Bytes[] {
  const control = canonicalBytes(shape.write(value));
  return [u32(control.length), control];
}

function readControl<T>(shape: Shape<T>, reader: ByteReader): T {
  const length = reader.u32("control");
  if (length > limits.messageJsonBytesMax) throw tooLarge("control", limits.messageJsonBytesMax);
  return readJson(shape, reader.take(length, "control"), "canonical");
}

/** A push request as bytes. */
export function encodePush(request: PushRequest): Bytes {
  const { entries, fills, ...control } = request;
  return concatAll([
    ...controlParts(pushControlShape, control),
    ...entryParts(entries),
    ...fills.flatMap(({ index, body }) => [
      Uint8Array.of(kinds.fill),
      u64(index),
      encodeBody(body),
    ]),
  ]);
}

function entryParts(entries: readonly PushEntry[]): readonly Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < entries.length;) {
    const entry = entries[at] as PushEntry;
    if (entry.kind === "full") {
      parts.push(Uint8Array.of(kinds.full), encodeBody(entry.body));
      at++;
      continue;
    }
    const run = leafRun(entries, at);
    parts.push(Uint8Array.of(kinds.leaves), u32(run.length), concatAll(run));
    at += run.length;
  }
  return parts;
}

function leafRun(entries: readonly PushEntry[], from: number): readonly Uint8Array[] {
  const run: Uint8Array[] = [];
  for (let at = from; at < entries.length; at++) {
    const entry = entries[at] as PushEntry;
    if (entry.kind !== "leaf") break;
    invariant(entry.leaf.length === leafBytes, "a leaf is 32 bytes");
    run.push(entry.leaf);
  }
  return run;
}

/** What was read of a push so far, against the bounds of one exchange. */
interface Taken {
  readonly entries: PushEntry[];
  readonly fills: Fill[];
  bodies: number;
  bytes: number;
}

/**
 * The way back. Throws `message_malformed` {part} and `message_too_large` {part, max}, never anything else:
 * `entries` beyond `pushLeavesMax`, `bodies` beyond `pushBodiesMax`, `bytes` of bodies beyond `pushBytesMax`.
 */
export function decodePush(input: Uint8Array): PushRequest {
  if (input.length > limits.pushRequestBytesMax) {
    throw tooLarge("request", limits.pushRequestBytesMax);
  }
  const reader = new ByteReader(input);
  const control = readControl(pushControlShape, reader);
  const taken: Taken = { entries: [], fills: [], bodies: 0, bytes: 0 };
  let before = -1;
  while (reader.left > 0) {
    const kind = reader.u8("entry");
    // Runs are as long as they can be, and fills stand last.
    if (before === kinds.leaves && kind === kinds.leaves) throw malformed("entry");
    if (before === kinds.fill && kind !== kinds.fill) throw malformed("entry");
    if (kind === kinds.leaves) takeLeaves(reader, taken);
    else if (kind === kinds.full || kind === kinds.fill) takeBody(reader, kind, taken);
    else throw malformed("entry");
    before = kind;
  }
  return { ...control, entries: taken.entries, fills: taken.fills };
}

function takeLeaves(reader: ByteReader, taken: Taken): void {
  const count = reader.u32("leaves");
  if (count === 0) throw malformed("leaves");
  if (taken.entries.length + count > limits.pushLeavesMax) {
    throw tooLarge("entries", limits.pushLeavesMax);
  }
  const run = reader.take(count * leafBytes, "leaves");
  for (let at = 0; at < run.length; at += leafBytes) {
    taken.entries.push({ kind: "leaf", leaf: run.subarray(at, at + leafBytes) });
  }
}

function takeBody(reader: ByteReader, kind: 1 | 2, taken: Taken): void {
  if (taken.bodies >= limits.pushBodiesMax) throw tooLarge("bodies", limits.pushBodiesMax);
  const index = kind === kinds.fill ? reader.u64("fill") : 0;
  const body = readBody(reader, kind === kinds.fill ? "fill" : "body");
  taken.bodies += 1;
  taken.bytes += bodyBytes(body);
  if (taken.bytes > limits.pushBytesMax) throw tooLarge("bytes", limits.pushBytesMax);
  if (kind === kinds.fill) taken.fills.push({ index, body });
  else if (taken.entries.length >= limits.pushLeavesMax) {
    throw tooLarge("entries", limits.pushLeavesMax);
  } else taken.entries.push({ kind: "full", body });
}

/** A pull page as bytes. */
export function encodePage(page: PullPage): Bytes {
  const { events, ...rest } = page;
  const placed = events.map(({ log, index, position }) => ({ log, index, position }));
  return concatAll([
    ...controlParts(pullControlShape, { ...rest, placed }),
    ...events.map(({ body }) => encodeBody(body)),
  ]);
}

/** The way back. Throws `message_malformed` and `message_too_large`, never anything else. */
export function decodePage(input: Uint8Array): PullPage {
  if (input.length > limits.pullPageBytesMax) throw tooLarge("page", limits.pullPageBytesMax);
  const reader = new ByteReader(input);
  const { placed, ...rest } = readControl(pullControlShape, reader);
  const events = placed.map((place, at): PulledEvent => {
    if (place.log >= rest.logs.length) throw malformed(`/placed/${at}/log`);
    return { ...place, body: readBody(reader, `body/${at}`) };
  });
  reader.end("page");
  return { ...rest, events };
}
