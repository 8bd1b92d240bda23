/** Ending a halt: by a person, for a reason. */
import { HoldfastError } from "../std/errors.ts";
import type { SyncStore } from "./sync-store.ts";

/** Throws `sync_not_halted`, `sync_reason_missing`; recorded with actor and reason. */
export async function resumeSync(
  store: Pick<SyncStore, "evidence" | "resumed">,
  actor: string,
  reason: string,
): Promise<void> {
  if (store.evidence() === undefined) throw new HoldfastError("sync_not_halted");
  if (actor.trim() === "" || reason.trim() === "") throw new HoldfastError("sync_reason_missing");
  await store.resumed(actor, reason);
}
