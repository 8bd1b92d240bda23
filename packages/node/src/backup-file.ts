/**
 * The file of a backup: archive → zstd → age, written under another name, made durable and renamed, so that under its
 * own name it is whole or absent. What a killed process left behind is removed by the next one that writes there.
 *
 * The zstd frame is followed by a skippable frame (RFC 8878 §3.1.2) that fills the last chunk of the age payload.
 */
import { existsSync, rmSync } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { constants as zlibConstants, createZstdCompress, createZstdDecompress } from "node:zlib";
import type { Transform } from "node:stream";
import { HoldfastError, isHoldfastError } from "@holdfast/core";
import {
  ageChunkBytes,
  type AgeIdentities,
  type AgeRecipients,
  ageSealedChunkBytes,
  createAgeSealer,
  openAge,
  openAgeChunk,
  startAge,
} from "./age.ts";
import { fromSystem, placeBeside, syncFolder } from "./files.ts";

/** Pieces are gathered to this size before they are compressed, and written. */
const pieceBytes = 256 * 1024;
/** Measured: level 3 takes 1.5 times the time of level 1 for 3 % less, because most of a backup is encrypted. */
const zstdLevel = 1;

/** What was written. */
export interface WrittenBackup {
  /** Bytes of the file. */
  readonly bytes: number;
  /** Bytes of the archive in it. */
  readonly archiveBytes: number;
}

/**
 * Writes a new file. Throws `output_exists`, `backup_recipient_invalid`, the storage codes and whatever the pieces
 * throw; then nothing is under that name.
 */
export async function writeBackupFile(
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  to: AgeRecipients,
): Promise<WrittenBackup> {
  const target = resolve(path);
  const { start, key } = await startAge(to);
  try {
    return await publish(target, async (file) => {
      const sealer = createAgeSealer(key);
      await file.appendFile(start);
      let bytes = start.length;
      const write = async (chunks: readonly Buffer[]): Promise<void> => {
        if (chunks.length === 0) return;
        const whole = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
        await file.appendFile(whole);
        bytes += whole.length;
      };
      let archiveBytes = 0;
      const counted = async function* () {
        for await (const piece of gathered(pieces)) {
          archiveBytes += piece.length;
          yield piece;
        }
      };
      const zstd = createZstdCompress({
        params: { [zlibConstants.ZSTD_c_compressionLevel]: zstdLevel },
      });
      for await (const piece of through(counted(), zstd)) await write(sealer.push(piece));
      await write(sealer.push(paddingFrame(sealer.held())));
      await write(sealer.finish());
      return { bytes, archiveBytes };
    });
  } finally {
    key.fill(0);
  }
}

/** A file that appears under its name when it is whole and durable. Throws `output_exists`. */
export async function publish<T>(
  target: string,
  use: (file: FileHandle) => Promise<T>,
  replace = false,
): Promise<T> {
  if (!replace && existsSync(target)) throw new HoldfastError("output_exists");
  try {
    const partial = placeBeside(target, "partial");
    const file = await open(partial, "wx", 0o600);
    try {
      const result = await use(file);
      await file.sync();
      await file.close();
      await rename(partial, target);
      syncFolder(dirname(target));
      return result;
    } catch (error) {
      await file.close().catch(() => undefined);
      rmSync(partial, { force: true });
      throw error;
    }
  } catch (error) {
    throw fromSystem(error);
  }
}

async function* gathered(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let parts: Uint8Array[] = [];
  let held = 0;
  for await (const piece of pieces) {
    parts.push(piece);
    held += piece.length;
    if (held < pieceBytes) continue;
    yield Buffer.concat(parts);
    parts = [];
    held = 0;
  }
  if (held > 0) yield Buffer.concat(parts);
}

/** Skippable frame after which the plaintext is a whole number of chunks; `held` bytes are in the one under way. */
function paddingFrame(held: number): Buffer {
  const headBytes = 8;
  const fill = (ageChunkBytes - ((held + headBytes) % ageChunkBytes)) % ageChunkBytes;
  const frame = Buffer.alloc(headBytes + fill);
  frame.writeUInt32LE(0x184d2a50, 0);
  frame.writeUInt32LE(fill, 4);
  return frame;
}

/** What comes out of a transform; all of the source is read, even when the transform has ended before. */
async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
): AsyncGenerator<Buffer> {
  const pump = async (): Promise<void> => {
    try {
      for await (const piece of source) {
        if (transform.readableEnded || transform.destroyed) continue;
        // Called back when the piece was taken, or the transform is no more.
        await new Promise<void>((taken) => {
          transform.write(piece, () => {
            taken();
          });
        });
      }
      transform.end();
    } catch (error) {
      transform.destroy(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  };
  const pumped = pump();
  // Told below, when what came before has been taken.
  pumped.catch(() => undefined);
  try {
    for await (const piece of transform) yield piece as Buffer;
    await pumped;
  } finally {
    transform.destroy();
  }
}

/**
 * The archive in a file, piece by piece. Throws `input_unreadable`, `backup_foreign`, `backup_truncated`,
 * `backup_altered`, `backup_key_wrong`, `backup_recipient_invalid`.
 */
export async function* readBackupFile(path: string, by: AgeIdentities): AsyncGenerator<Buffer> {
  const file = await openFile(path);
  try {
    const { size } = await file.stat();
    const { at, key } = await openAge(await readAt(file, 0, ageChunkBytes), by);
    try {
      const payload = size - at;
      if (payload === 0 || payload % ageSealedChunkBytes !== 0) {
        throw new HoldfastError("backup_truncated", { bytes: size });
      }
      yield* through(openChunks(file, at, size, key), createZstdDecompress());
    } catch (error) {
      throw fromZstd(error);
    } finally {
      key.fill(0);
    }
  } finally {
    await file.close();
  }
}

/** Authenticated bytes that do not decompress were not written by a backup. */
function fromZstd(error: unknown): unknown {
  if (isHoldfastError(error) || !(error instanceof Error)) return error;
  const { code } = error as { readonly code?: unknown };
  const ours = typeof code === "string" && /^(Z_|ZSTD_|ERR_ZSTD)/.test(code);
  return ours
    ? new HoldfastError("backup_foreign", { part: "zstd" }, { cause: error })
    : fromSystem(error);
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument: "FILE" }, { cause });
  }
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  let held = 0;
  while (held < length) {
    const { bytesRead } = await file.read(buffer, held, length - held, at + held);
    if (bytesRead === 0) break;
    held += bytesRead;
  }
  return buffer.subarray(0, held);
}

const chunksRead = 4;

async function* openChunks(
  file: FileHandle,
  from: number,
  size: number,
  key: Uint8Array,
): AsyncGenerator<Buffer> {
  let counter = 0;
  for (let at = from; at < size;) {
    const wanted = Math.min(chunksRead * ageSealedChunkBytes, size - at);
    const read = await readAt(file, at, wanted);
    if (read.length < wanted) throw new HoldfastError("backup_truncated", { bytes: at });
    const opened: Buffer[] = [];
    for (let inner = 0; inner < read.length; inner += ageSealedChunkBytes) {
      const last = at + inner + ageSealedChunkBytes === size;
      const chunk = read.subarray(inner, inner + ageSealedChunkBytes);
      opened.push(openAgeChunk(key, counter++, chunk, last));
    }
    yield Buffer.concat(opened);
    at += wanted;
  }
}
