/**
 * The archive of a backup: POSIX ustar (IEEE 1003.1-1988), in one form only. An entry is a regular file with a name
 * of our own making, mode 0600, owner 0; its header is 512 bytes, its content is padded with zero bytes to a multiple
 * of 512; two blocks of zero bytes end the archive. Stock `tar` reads it.
 *
 * The reader takes a header only if writing it again gives the same bytes. So no link, device, path that leads
 * elsewhere, or second reading of one header can stand in an archive that is read: names are compared, never used
 * as paths.
 */
import { type Bytes, concatAll, utf8 } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";

/** Headers and paddings are whole blocks of this size. */
export const tarBlockBytes = 512;

/** One file of an archive. */
export interface TarEntry {
  readonly name: string;
  readonly content: Uint8Array;
}

const namePattern = /^[a-z0-9._/-]{1,99}$/;
/** Of twelve digits in a header, eleven are octal and the last is the end of the text. */
const sizeMax = 0o77777777777;

/** Header of an entry: `seconds` is its time, UTC seconds since 1970. */
export function tarHeader(name: string, size: number, seconds: number): Bytes {
  invariant(namePattern.test(name), "a name in an archive is one of ours");
  invariant(size >= 0 && size <= sizeMax, "an entry fits its header");
  const header = new Uint8Array(tarBlockBytes);
  const put = (at: number, text: string): void => {
    header.set(utf8(text), at);
  };
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  put(0, name);
  put(100, octal(0o600, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  put(124, octal(size, 11));
  put(136, octal(seconds, 11));
  put(148, " ".repeat(8));
  put(156, "0");
  put(257, "ustar\u000000");
  put(329, octal(0, 7));
  put(337, octal(0, 7));
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)}\u0000 `);
  return header;
}

/** Zero bytes after a content of that size. */
export function tarPadding(size: number): Bytes {
  return new Uint8Array((tarBlockBytes - (size % tarBlockBytes)) % tarBlockBytes);
}

/** What ends an archive. */
export const tarEnd = (): Bytes => new Uint8Array(2 * tarBlockBytes);

/** Name, size and time of a header; `undefined` for one that {@link tarHeader} does not write; "end" for zeros. */
export function parseTarHeader(
  header: Uint8Array,
): { readonly name: string; readonly size: number; readonly seconds: number } | "end" | undefined {
  if (header.every((byte) => byte === 0)) return "end";
  const text = (at: number, length: number): string =>
    String.fromCharCode(...header.subarray(at, at + length)).replace(/\0.*$/s, "");
  const name = text(0, 100);
  const [size, seconds] = [text(124, 12), text(136, 12)];
  if (!namePattern.test(name) || !/^[0-7]{11}$/.test(size) || !/^[0-7]{11}$/.test(seconds)) {
    return undefined;
  }
  const read = { name, size: Number.parseInt(size, 8), seconds: Number.parseInt(seconds, 8) };
  const again = tarHeader(read.name, read.size, read.seconds);
  return again.every((byte, at) => byte === header[at]) ? read : undefined;
}

/** Takes an archive in pieces of any size and gives its entries, whole. */
export interface TarReader {
  /** Entries that are complete with this piece. Throws `backup_altered`. */
  push(piece: Uint8Array): readonly TarEntry[];
  /** Throws `backup_altered` unless the archive has ended. */
  finish(): void;
}

type State =
  | { readonly at: "header" }
  | { readonly at: "content"; readonly name: string; readonly size: number }
  | { readonly at: "end"; readonly blocks: number };

/** A reader that holds one entry at most. */
export function createTarReader(): TarReader {
  let state: State = { at: "header" };
  let parts: Uint8Array[] = [];
  let held = 0;

  const needed = (): number =>
    state.at === "content" ? state.size + tarPadding(state.size).length : tarBlockBytes;

  /** The next bytes in one piece; what is beyond them stays. */
  function take(count: number): Uint8Array {
    const whole = parts.length === 1 ? (parts[0] as Uint8Array) : concatAll(parts);
    const rest = whole.subarray(count);
    parts = rest.length === 0 ? [] : [rest];
    held = rest.length;
    return whole.subarray(0, count);
  }

  function step(bytes: Uint8Array): TarEntry | undefined {
    if (state.at === "content") {
      const { name, size } = state;
      if (bytes.subarray(size).some((byte) => byte !== 0)) throw altered("padding");
      state = { at: "header" };
      return { name, content: bytes.subarray(0, size) };
    }
    const header = parseTarHeader(bytes);
    if (header === "end") {
      state = { at: "end", blocks: state.at === "end" ? state.blocks + 1 : 1 };
      return undefined;
    }
    if (header === undefined || state.at === "end") throw altered("header");
    if (header.size > limits.backupEntryBytesMax) throw altered("size");
    state = { at: "content", ...header };
    return undefined;
  }

  return {
    push(piece) {
      if (piece.length > 0) parts.push(piece);
      held += piece.length;
      const entries: TarEntry[] = [];
      for (let count = needed(); held >= count; count = needed()) {
        const entry = step(take(count));
        if (entry !== undefined) entries.push(entry);
      }
      return entries;
    },
    finish() {
      if (state.at !== "end" || state.blocks !== 2 || held > 0) throw altered("end");
    },
  };
}

function altered(part: string): HoldfastError {
  return new HoldfastError("backup_altered", { part: `tar ${part}` });
}
