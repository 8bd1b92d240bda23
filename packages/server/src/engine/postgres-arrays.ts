/**
 * Arrays in PostgreSQL's binary form (`array_send` of its arrayfuncs.c): no escaping of text and no hexadecimal for
 * bytes, which together cost more than the insert itself (measured: docs/decisions/0013).
 *
 *     i32 dimensions = 1 ‖ i32 nulls = 0 ‖ u32 element type ‖ i32 length ‖ i32 lower bound = 1 ‖ (i32 length ‖ bytes)…
 */
import { utf8 } from "@holdfast/core";

/** Object ids of element types (pg_type.dat). */
const oids = { bytea: 17, int8: 20, text: 25 } as const;

const headerBytes = 20;

function emptyArray(oid: number, count: number, bytes: number): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(headerBytes + 4 * count + bytes));
  view.setInt32(0, 1);
  view.setUint32(8, oid);
  view.setInt32(12, count);
  view.setInt32(16, 1);
  return view;
}

function arrayOf(oid: number, elements: readonly Uint8Array[]): Uint8Array {
  let bytes = 0;
  for (const element of elements) bytes += element.length;
  const view = emptyArray(oid, elements.length, bytes);
  const out = new Uint8Array(view.buffer);
  let at = headerBytes;
  for (const element of elements) {
    view.setInt32(at, element.length);
    out.set(element, at + 4);
    at += 4 + element.length;
  }
  return out;
}

/** `text[]`. */
export function textArray(values: readonly string[]): Uint8Array {
  const text = values.join("");
  const bytes = utf8(text);
  // All at once: an encoder costs more than what it encodes here. Beyond ASCII lengths are others.
  if (bytes.length !== text.length) return arrayOf(oids.text, values.map(utf8));
  let from = 0;
  return arrayOf(
    oids.text,
    values.map(({ length }) => bytes.subarray(from, (from += length))),
  );
}

/** `bytea[]`. */
export function bytesArray(values: readonly Uint8Array[]): Uint8Array {
  return arrayOf(oids.bytea, values);
}

/** `int8[]`. */
export function integerArray(values: readonly number[]): Uint8Array {
  const view = emptyArray(oids.int8, values.length, 8 * values.length);
  for (const [index, value] of values.entries()) {
    const at = headerBytes + 12 * index;
    view.setInt32(at, 8);
    view.setBigInt64(at + 4, BigInt(value));
  }
  return new Uint8Array(view.buffer);
}
