/**
 * What the high-water mark says about a store: a pure decision from the mark, the device log and the folder.
 */
import type { MarkReading } from "./mark.ts";

/** Where a store lies now. */
export interface Place {
  readonly folder: string;
  /** Identity of the folder on its file system; a copy of it has another. */
  readonly identity: string;
}

/** What the high-water mark says about a store. */
export type Verdict =
  /** The store is where and what it was, or further (a crash between COMMIT and mark). */
  | "same"
  /** No mark, another path or another folder: a new incarnation before anything is written. */
  | "moved"
  /** The store holds less than the mark says, in the mark's own place. */
  | "rolled-back"
  /** The store holds another history than the mark attests. */
  | "rewritten";

/** A verdict, and the findings behind it by code. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly findings: readonly string[];
}

/** What the judgement needs to know of a device log. */
export interface JudgedLog {
  readonly size: number;
  /** Root hash at a size where a commit ended, base64. */
  rootAt(size: number): string | undefined;
  /** Did the store pass through this running hash of pulled leaves? */
  wasPulled(hash: string): boolean;
}

/** Decides what a mark says about a device log in its place. */
export function judgeMark(reading: MarkReading, log: JudgedLog, place: Place): Judgement {
  const findings: string[] = [];
  if (reading.damaged > 0) findings.push("mark_damaged");
  const { mark } = reading;
  if (mark === undefined) return { verdict: "moved", findings: [...findings, "mark_missing"] };
  const samePath = mark.folder === place.folder;
  const moved = !samePath || mark.identity !== place.identity;
  if (mark.size > log.size) {
    // Elsewhere, a copy that the original has outgrown; here, an older copy in place of the newest.
    if (!samePath) return { verdict: "moved", findings: [...findings, "store_cloned"] };
    return { verdict: "rolled-back", findings: [...findings, "store_rolled_back"] };
  }
  if (!log.wasPulled(mark.pulled)) {
    // Own events are all here and pulled ones are not: an older copy with the same own log.
    if (!samePath) return { verdict: "moved", findings: [...findings, "store_cloned"] };
    return { verdict: "rolled-back", findings: [...findings, "store_rolled_back"] };
  }
  if (log.rootAt(mark.size) !== mark.root) {
    return { verdict: "rewritten", findings: [...findings, "store_rewritten"] };
  }
  if (moved) return { verdict: "moved", findings: [...findings, "store_moved"] };
  return { verdict: "same", findings };
}
