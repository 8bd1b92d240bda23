/**
 * Bodies of requests, read in bounds: the type first, then at most so many bytes while they arrive, then at most
 * so many decompressed. Nothing is held beyond a limit, and a body that stops coming is cut.
 */
import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { constants, gunzip, zstdDecompress } from "node:zlib";
import { HoldfastError } from "@holdfast/core";

const decompressors = { gzip: promisify(gunzip), zstd: promisify(zstdDecompress) } as const;
/** A zstd frame names the window that its reader must hold: 8 MiB, the largest message, not the 128 MiB of the format. */
const windowLogMax = 23;
const params = { [constants.ZSTD_d_windowLogMax]: windowLogMax };

/** What one message may be. */
export interface BodyBounds {
  /** Media type, without parameters. */
  readonly type: string;
  readonly bytesMax: number;
  /** Longest silence between two pieces, milliseconds. */
  readonly silenceMs: number;
}

/**
 * The bytes of one message. Throws `content_type_refused`, `encoding_refused`, `message_too_large`,
 * `message_malformed` for a body that does not decompress, `request_timeout`.
 */
export async function readBody(incoming: IncomingMessage, bounds: BodyBounds): Promise<Uint8Array> {
  checkType(incoming.headers["content-type"], bounds.type);
  const encoding = encodingOf(incoming.headers["content-encoding"]);
  const { bytesMax } = bounds;
  if (Number(incoming.headers["content-length"] ?? 0) > bytesMax) throw tooLarge(bytesMax);
  const raw = await collect(incoming, bounds);
  if (encoding === undefined) return raw;
  try {
    const most = { maxOutputLength: bytesMax };
    return encoding === "zstd"
      ? await decompressors.zstd(raw, { ...most, params })
      : await decompressors.gzip(raw, most);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ERR_BUFFER_TOO_LARGE") throw tooLarge(bytesMax);
    throw new HoldfastError("message_malformed", { part: "content-encoding" });
  }
}

function tooLarge(max: number): HoldfastError {
  return new HoldfastError("message_too_large", { part: "/", max });
}

/** UTF-8 is the only charset; binary messages have no parameters at all. */
function checkType(given: string | undefined, type: string): void {
  const [name = "", ...parameters] = (given ?? "").toLowerCase().split(";");
  const plain = parameters.every((text) => /^\s*charset="?utf-8"?\s*$/.test(text));
  if (name.trim() !== type || !plain) {
    throw new HoldfastError("content_type_refused", { expected: type });
  }
}

function encodingOf(given: string | undefined): keyof typeof decompressors | undefined {
  const name = (given ?? "identity").trim().toLowerCase();
  if (name === "identity") return undefined;
  if (name === "gzip" || name === "zstd") return name;
  throw new HoldfastError("encoding_refused");
}

function collect(incoming: IncomingMessage, bounds: BodyBounds): Promise<Uint8Array> {
  const { bytesMax, silenceMs } = bounds;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let length = 0;
    const timer = setTimeout(() => {
      stop(new HoldfastError("request_timeout", { ms: silenceMs }));
    }, silenceMs);
    function stop(error?: HoldfastError): void {
      clearTimeout(timer);
      incoming.off("data", take).off("end", end).off("error", broken).off("close", broken);
      if (error === undefined) resolve(Buffer.concat(chunks));
      else {
        // What still comes is not kept; the connection ends with the answer.
        incoming.on("error", () => undefined);
        incoming.pause();
        reject(error);
      }
    }
    function take(chunk: Buffer): void {
      timer.refresh();
      length += chunk.length;
      chunks.push(chunk);
      if (length > bytesMax) stop(tooLarge(bytesMax));
    }
    function end(): void {
      stop();
    }
    function broken(): void {
      stop(new HoldfastError("request_timeout", { part: "connection" }));
    }
    incoming.on("data", take).on("end", end).on("error", broken).on("close", broken);
  });
}
