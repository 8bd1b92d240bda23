/** What a store keeps of server logs that went on in another one: one named value for each step. */
import { logStep } from "../proof/check-epoch.ts";
import { parseEpoch } from "../proof/server-epoch.ts";
import { base64, type Bytes, concat } from "../std/bytes.ts";
import type { SqliteDriver } from "../store/sqlite-driver.ts";

/** A server log that another one went on for. */
export interface FormerLog {
  /** The newest checkpoint that is held of it. */
  readonly size: number;
  /** It was sealed: nothing came after the checkpoint that its successor names. */
  readonly sealed: boolean;
}

/** How a server log goes on for the one before: kept as a named value, `epoch/<log>`. */
export interface EpochToKeep {
  /** Origin of the next log. */
  readonly log: string;
  /** The epoch statement, its path, and the size of the tree that the path is in. */
  readonly leaf: string;
  readonly path: readonly Bytes[];
  readonly size: number;
  /** Note of the last checkpoint of the log before. */
  readonly last: string;
  /** Where the log before lost its tail: from what is held below that size to `last`. */
  readonly consistency: readonly Bytes[];
}

/** Rows of them over one connection. */
export function serverLogSteps(driver: SqliteDriver) {
  return {
    addEpoch({ log, path, consistency, ...epoch }: EpochToKeep): void {
      const kept = {
        ...epoch,
        path: base64(concat(...path)),
        consistency: base64(concat(...consistency)),
      };
      driver
        .prepare("INSERT INTO sync (name, value) VALUES (?, ?)")
        .run(`epoch/${log}`, JSON.stringify(kept));
    },
    formerLog(log: string): FormerLog | undefined {
      const steps = driver
        .prepare("SELECT name, value FROM sync WHERE name GLOB 'epoch/*'")
        .all<{ name: string; value: string }>();
      for (const { name, value } of steps) {
        const { leaf } = JSON.parse(value) as { readonly leaf: string };
        if (parseEpoch(leaf).origin !== log) continue;
        const newest = driver
          .prepare("SELECT max(size) AS size FROM checkpoints WHERE log = ?")
          .get<{ size: number | null }>(log);
        const sealed = logStep(log, name.slice("epoch/".length)) === "moved";
        return { size: newest?.size ?? 0, sealed };
      }
      return undefined;
    },
  };
}
