/** Which records a keyring has after a rotation. */
import { HoldfastError, invariant } from "../std/errors.ts";
import { type Index, latestOf } from "./record-index.ts";
import type { EpochRecord, KeyringRecord, WrappedRecord } from "./record.ts";
import { isOver, type RotationState } from "./rotation.ts";

/** What else changes a keyring waits for the end of a rotation. Throws `rotation_under_way`. */
export function refuseWhileRotating({ rotation }: Pick<Index, "rotation">): void {
  if (rotation !== undefined && !isOver(rotation.phase)) {
    throw new HoldfastError("rotation_under_way");
  }
}

/** The last record of an epoch, of that one or of any. Throws `keyring_record_missing`. */
export function newestEpochOf(records: readonly KeyringRecord[], id?: string): EpochRecord {
  const found = records.findLast(
    (one): one is EpochRecord => one.kind === "epoch" && (id === undefined || one.id === id),
  );
  if (found === undefined) throw new HoldfastError("keyring_record_missing", { record: "epoch" });
  return found;
}

/** Everything of the next generation but header and rotation: under the key that stays alone. */
export function remainingRecords(
  records: readonly KeyringRecord[],
  of: RotationState,
): readonly KeyringRecord[] {
  const [gone, stays] = of.phase === "rolled-back" ? [of.to, of.from] : [of.from, of.to];
  const wrapped = [...latestOf(records).values()];
  if (of.key === "epoch") {
    const isMoved = wrapped.every(({ epoch }) => epoch === stays);
    invariant(isMoved, "nothing is under the old key when it is destroyed");
  }
  const isGone = goneSigningKeys(wrapped, of, gone, stays);
  const newest = newestEpochOf(records, of.key === "epoch" ? of.to : undefined);
  const wraps = newest.wraps.filter(({ provider }) => of.key === "epoch" || provider !== gone);
  const others = records.filter((one) => {
    if (one.kind === "provider") return of.key === "epoch" || one.id !== gone;
    return one.kind === "recovery" || one.kind === "escrow";
  });
  return [...others, { ...newest, wraps }, ...wrapped.filter((one) => !isGone(one))];
}

/** Signing keys at the provider that goes, where the one that stays has them as well. */
function goneSigningKeys(
  wrapped: readonly WrappedRecord[],
  of: RotationState,
  gone: string,
  stays: string,
): (one: WrappedRecord) => boolean {
  const moved = new Set(
    wrapped.flatMap((one) =>
      one.kind === "signing" && one.provider === stays ? [one.incarnation] : [],
    ),
  );
  return (one) =>
    of.key === "provider" &&
    one.kind === "signing" &&
    one.provider === gone &&
    (moved.has(one.incarnation) || of.phase === "rolled-back");
}
