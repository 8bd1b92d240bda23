/** Half-open ranges of indices, ascending and apart: what of a device log is owed. */
import type { IndexRanges } from "@holdfast/core";

/** The ranges with more indices (ascending or not, each outside of the ranges or within). */
export function withIndices(ranges: IndexRanges, indices: readonly number[]): IndexRanges {
  if (indices.length === 0) return ranges;
  const all = [...ranges, ...indices.map((index) => [index, index + 1] as const)].toSorted(
    (a, b) => a[0] - b[0],
  );
  const joined: [number, number][] = [];
  for (const [from, to] of all) {
    const last = joined.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else joined.push([from, to]);
  }
  return joined;
}

/** The ranges without these indices. */
export function withoutIndices(ranges: IndexRanges, indices: readonly number[]): IndexRanges {
  if (indices.length === 0) return ranges;
  const taken = indices.toSorted((a, b) => a - b);
  const left: [number, number][] = [];
  let at = 0;
  for (const [from, to] of ranges) {
    let start = from;
    while (at < taken.length && (taken[at] as number) < from) at += 1;
    for (; at < taken.length && (taken[at] as number) < to; at++) {
      const index = taken[at] as number;
      if (start < index) left.push([start, index]);
      start = index + 1;
    }
    if (start < to) left.push([start, to]);
  }
  return left;
}

/** Is the index in one of the ranges? By halving: a log may owe thousands of ranges. */
export function holdsIndex(ranges: IndexRanges, index: number): boolean {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ranges[middle] as readonly [number, number])[1] <= index) low = middle + 1;
    else high = middle;
  }
  const range = ranges[low];
  return range !== undefined && range[0] <= index;
}
