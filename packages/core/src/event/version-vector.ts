/**
 * Version vectors: which events of a stream had been seen when another was made. They tell *before* from
 * *concurrent*, which clocks cannot.
 */
import type { VersionVector } from "./event.ts";

/** How one version vector stands to another. */
export type Causality = "equal" | "before" | "after" | "concurrent";

/** How `a` stands to `b`. */
export function compareVectors(a: VersionVector, b: VersionVector): Causality {
  let less = false;
  let more = false;
  for (const [origin, count] of Object.entries(a)) {
    const other = b[origin] ?? 0;
    if (count > other) more = true;
    else if (count < other) less = true;
  }
  for (const origin of Object.keys(b)) {
    if ((b[origin] as number) > 0 && !Object.hasOwn(a, origin)) less = true;
  }
  if (less && more) return "concurrent";
  if (less) return "before";
  return more ? "after" : "equal";
}

/** The smallest vector that has seen all that `a` and `b` have. */
export function mergeVectors(a: VersionVector, b: VersionVector): VersionVector {
  const merged: Record<string, number> = { ...a };
  for (const [origin, count] of Object.entries(b)) {
    if (count > (merged[origin] ?? 0)) merged[origin] = count;
  }
  return merged;
}

/** Has the vector seen this event? */
export function covers(vector: VersionVector, origin: string, count: number): boolean {
  return (vector[origin] ?? 0) >= count;
}
