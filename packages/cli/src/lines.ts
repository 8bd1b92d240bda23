/** Lines of a byte stream, each bounded, without reading ahead of whoever takes them. */
import { HoldfastError } from "@holdfast/core";

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

const newline = 0x0a;

/** All lines but empty ones. Throws `line_too_large` with the line's number. */
export async function* readLines(
  source: AsyncIterable<Uint8Array>,
  lineBytesMax: number,
): AsyncGenerator<Line, void, undefined> {
  let parts: Uint8Array[] = [];
  let held = 0;
  let number = 1;
  const take = (): Line | undefined => {
    const bytes = Buffer.concat(parts);
    const end = bytes.at(-1) === 0x0d ? bytes.length - 1 : bytes.length;
    parts = [];
    held = 0;
    return end === 0 ? undefined : { number, bytes: bytes.subarray(0, end) };
  };
  const keep = (part: Uint8Array): void => {
    held += part.length;
    if (held > lineBytesMax)
      throw new HoldfastError("line_too_large", { line: number, lineBytesMax });
    parts.push(part);
  };
  for await (const chunk of source) {
    let from = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
      keep(chunk.subarray(from, end));
      const line = take();
      if (line !== undefined) yield line;
      from = end + 1;
      number += 1;
    }
    keep(chunk.subarray(from));
  }
  const last = take();
  if (last !== undefined) yield last;
}
