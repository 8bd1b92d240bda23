/** Compacting an open store, for a platform: it knows how large the store's files are and how much room there is. */
import { createUuidV7 } from "../event/uuid.ts";
import {
  compact,
  type CompactDeps,
  type CompactPolicy,
  compactPolicyDefault,
  type CompactReport,
  type CompactState,
} from "../lifecycle/compact.ts";
import type { RotationOrder } from "../lifecycle/rotate-keys.ts";
import { lifeOf } from "./grant-store.ts";
import type { Holdfast } from "./holdfast.ts";

/** What a platform knows of the files of a store. */
export type StoreFiles = Pick<CompactDeps, "bytes" | "room">;

/**
 * Compacts a store while it is used, or goes on with a run that was interrupted. Throws `store_read_only`,
 * `compact_no_room`, `compact_unfinished` and what an append throws.
 */
export function compactOpenStore(
  store: Holdfast,
  files: StoreFiles,
  policy: Partial<CompactPolicy> = {},
  order: RotationOrder = {},
  onProgress?: (state: CompactState) => void,
): Promise<CompactReport> {
  const life = lifeOf(store);
  const { clock, random } = life.deps;
  const { writer, timers, observer, audit, stopped } = life.rotateDeps();
  const deps: CompactDeps = {
    ...files,
    writer,
    timers,
    observer,
    audit,
    stopped,
    session: () => life.current(),
    newId: createUuidV7(clock, random),
    onProgress,
  };
  return life.rotate(() => compact(deps, { ...compactPolicyDefault, ...policy }, order));
}
