/** What a backup has of a store: its events, frames and notes, gathered beside those of the store itself. */
import { HoldfastError } from "../std/errors.ts";
import { linesOf, parseFrames, parseRows } from "./backup-rows.ts";
import type { Gathered } from "./gather.ts";
import { logOfNote } from "./salvage.ts";
import type { TarEntry } from "./tar.ts";

/** Takes the entries of a backup, in their order. */
export interface BackupGatherer {
  /** Throws `backup_altered`. */
  entry(entry: TarEntry): void;
}

/** Throws `backup_other_store` for a backup of another store than that. */
export function createBackupGatherer(
  gathered: Gathered,
  manifest: { readonly store: string },
  storeId: string,
): BackupGatherer {
  if (manifest.store !== storeId) throw new HoldfastError("backup_other_store");
  let position = 0;
  let leaves = new Map<number, string>();
  return {
    entry({ name, content }) {
      const [table] = name.split("/");
      if (table === "events") {
        leaves = new Map();
        for (const header of linesOf(name, content)) {
          position += 1;
          const leaf = gathered.event(header, position);
          if (leaf !== undefined) leaves.set(position, leaf);
        }
      } else if (table === "frames") {
        for (const frame of parseFrames(name, content)) {
          const leaf = leaves.get(frame.position);
          if (leaf !== undefined) gathered.frame(leaf, frame);
        }
      } else if (table === "commits") {
        for (const [number, , size, root, note] of parseRows(name, content, 5)) {
          const log = logOfNote(gathered, String(note));
          const row = { size: Number(size), root: String(root), note: String(note) };
          if (log !== undefined) gathered.note(log, { ...row, number: Number(number) });
        }
      }
    },
  };
}
