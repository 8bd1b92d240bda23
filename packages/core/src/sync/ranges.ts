/** Arithmetic of half-open index ranges: what is owed, what is delivered, what changed between two receipts. */
import type { IndexRanges } from "../proof/server-leaf.ts";

/** The indices of `a` that are not in `b`. */
export function subtractRanges(a: IndexRanges, b: IndexRanges): IndexRanges {
  const left: (readonly [number, number])[] = [];
  let at = 0;
  for (const [from, to] of a) {
    let next = from;
    while ((b[at]?.[1] ?? Infinity) <= next) at += 1;
    for (let i = at; next < to; i++) {
      const [start, end] = b[i] ?? [to, to];
      if (start > next) left.push([next, Math.min(start, to)]);
      next = Math.max(next, end);
      if (start >= to) break;
    }
  }
  return left;
}

/** Below `size` and outside of `owed`: what a receipt acknowledges. */
export function acknowledged(size: number, owed: IndexRanges): IndexRanges {
  return size === 0 ? [] : subtractRanges([[0, size]], owed);
}

/** Is the index in one of the ranges? */
export function isInRanges(ranges: IndexRanges, index: number): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle]?.[1] ?? 0) <= index) low = middle + 1;
    else high = middle;
  }
  return (ranges[low]?.[0] ?? Infinity) <= index;
}

/** The part of the ranges below `size`. */
export function clipRanges(ranges: IndexRanges, size: number): IndexRanges {
  return ranges
    .filter(([from]) => from < size)
    .map(([from, to]) => [from, Math.min(to, size)] as const);
}
