/** Compacting a store in a folder: how large its files are, and how much room there is to write one anew. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import {
  compactOpenStore,
  type CompactPolicy,
  type CompactReport,
  type CompactState,
  type Holdfast,
  type RotationOrder,
} from "@holdfast/core";
import { guardedFile, roomIn } from "./files.ts";
import { databasePath } from "./store-place.ts";

/** What {@link compactStore} may be told. */
export interface CompactOptions extends Partial<CompactPolicy>, RotationOrder {
  /** Told after each slice. */
  readonly onProgress?: (state: CompactState) => void;
}

/**
 * Compacts an open store that lies in that folder, while it is used, or goes on with a run that was interrupted.
 * Throws as `compactOpenStore`.
 */
export function compactStore(
  store: Holdfast,
  directory: string,
  { actor, why, reason, onProgress, ...policy }: CompactOptions = {},
): Promise<CompactReport> {
  const path = databasePath(resolve(directory));
  const files = {
    bytes: () => sizeOf(path) + sizeOf(`${path}-wal`),
    room: () => roomIn(resolve(directory)),
  };
  const order = {
    ...(actor !== undefined && { actor }),
    ...(why !== undefined && { why }),
    ...(reason !== undefined && { reason }),
  };
  return compactOpenStore(store, files, policy, order, onProgress);
}

function sizeOf(path: string): number {
  return guardedFile(() => statSync(path, { throwIfNoEntry: false })?.size ?? 0);
}
