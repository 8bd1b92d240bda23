/**
 * Rows of read models kept in memory: bounded, dropped when they are old, when an append changes them, and
 * all at once when another process has committed.
 */
import { limits } from "../std/limits.ts";
import type { Clock } from "../std/ports.ts";
import type { ModelRow } from "./projection.ts";
import type { TouchedRow } from "./read-models.ts";

export interface RowCache {
  /** The row as it was read last, or as `read` gives it now. */
  get(
    model: string,
    stream: string,
    version: number,
    read: () => ModelRow | undefined,
  ): ModelRow | undefined;
  forget(rows: readonly TouchedRow[], swapped: ReadonlySet<string>): void;
  clear(): void;
}

interface Kept {
  readonly row: ModelRow | undefined;
  readonly until: number;
}

export function createRowCache(clock: Pick<Clock, "monotonic">): RowCache {
  const kept = new Map<string, Kept>();
  let seen = -1;
  return {
    get(model, stream, version, read) {
      if (version !== seen) kept.clear();
      seen = version;
      const key = `${model}/${stream}`;
      const now = clock.monotonic();
      const known = kept.get(key);
      if (known !== undefined && known.until > now) return known.row;
      const row = read();
      if (kept.size >= limits.cacheRowsMax) kept.clear();
      kept.set(key, { row, until: now + limits.cacheTtlMs });
      return row;
    },
    forget(rows, swapped) {
      if (swapped.size > 0) kept.clear();
      for (const { model, stream } of rows) kept.delete(`${model}/${stream}`);
    },
    clear() {
      kept.clear();
    },
  };
}
