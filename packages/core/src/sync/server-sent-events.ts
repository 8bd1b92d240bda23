/**
 * Reader of server-sent events (WHATWG HTML §9.2), as much as the live tail uses: `event`, `data`, comments.
 * Lines end with LF or CRLF. A line or an event beyond the limit throws `answer_too_large`.
 */
import { fromUtf8 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";

const LF = 0x0a;
const lineBytesMax = 16 * 1024;

/** One event: its name (`message` when it has none) and its data. */
export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
}

/** Takes bytes as they come, tells whole events. */
export function createEventReader(
  tell: (event: ServerSentEvent) => void,
): (chunk: Uint8Array) => void {
  const line = new Uint8Array(lineBytesMax);
  let length = 0;
  let event = "message";
  let data: string[] = [];
  let characters = 0;
  const endLine = (): void => {
    const text = fromUtf8(line.subarray(0, length)).replace(/\r$/, "");
    length = 0;
    if (text === "") {
      if (data.length > 0) tell({ event, data: data.join("\n") });
      event = "message";
      data = [];
      characters = 0;
      return;
    }
    const colon = text.indexOf(":");
    if (colon < 0) return;
    const value = text.slice(colon + 1).replace(/^ /, "");
    const name = text.slice(0, colon);
    if (name === "event") event = value;
    if (name !== "data") return;
    characters += value.length;
    if (characters > lineBytesMax) throw tooLong();
    data.push(value);
  };
  return (chunk) => {
    for (const byte of chunk) {
      if (byte === LF) endLine();
      else if (length === lineBytesMax) throw tooLong();
      else line[length++] = byte;
    }
  };
}

function tooLong(): HoldfastError {
  return new HoldfastError("answer_too_large", { max: lineBytesMax });
}
