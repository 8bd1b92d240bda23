/**
 * Where an export goes: standard output, or a file that appears under its name only when it is whole. A file
 * is readable by its owner alone, because exports are plaintext.
 */
import { existsSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { HoldfastError } from "@holdfast/core";

/** Text is gathered to pieces of this size before it is written. */
const pieceCharacters = 256 * 1024;

export type Write = (piece: string | Uint8Array) => Promise<void>;

/** Writes a new file. Throws `output_exists`, `output_unwritable`; on any failure nothing is left behind. */
export async function writeFileWhole(
  path: string,
  use: (write: Write) => Promise<void>,
): Promise<void> {
  if (existsSync(path)) throw new HoldfastError("output_exists");
  const partial = `${path}.partial-${process.pid}`;
  const file = await attempt(open(partial, "wx", 0o600));
  try {
    await use(async (piece) => {
      await attempt(typeof piece === "string" ? file.appendFile(piece) : file.appendFile(piece));
    });
    await attempt(file.sync());
    await attempt(file.close());
    await attempt(rename(partial, path));
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(partial, { force: true });
    throw error;
  }
}

async function attempt<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    throw new HoldfastError("output_unwritable", { system: code }, { cause });
  }
}

/** Small texts joined to larger pieces: one write for many lines. Returns what the generator returned. */
export async function drain<Result>(
  pieces: Generator<string | Uint8Array, Result>,
  write: Write,
): Promise<Result> {
  let text = "";
  for (;;) {
    const { done, value } = pieces.next();
    if (done === true) {
      if (text !== "") await write(text);
      return value;
    }
    if (typeof value !== "string") {
      await write(value);
      continue;
    }
    text += value;
    if (text.length < pieceCharacters) continue;
    await write(text);
    text = "";
  }
}
