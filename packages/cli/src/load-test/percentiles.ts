/**
 * Percentiles of samples: exact, by nearest rank over all of them. A run keeps at most some ten thousand samples,
 * so that nothing need be estimated.
 */

/** Percentiles that are shown everywhere. */
export const shownPercentiles = [50, 90, 95, 99] as const;

/** What is said of a set of samples, in their unit. */
export interface Summary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Samples in order, smallest first; what is no number is a bug of whoever measured. */
export function sorted(samples: readonly number[]): Float64Array {
  return Float64Array.from(samples).sort();
}

/** The smallest sample that at least that share (percent) of all samples do not exceed; NaN without samples. */
export function percentile(inOrder: Float64Array, percent: number): number {
  const rank = Math.ceil((percent / 100) * inOrder.length);
  return inOrder[Math.min(inOrder.length, Math.max(1, rank)) - 1] ?? Number.NaN;
}

/** Count, mean, percentiles and maximum. */
export function summarize(samples: readonly number[]): Summary {
  const inOrder = sorted(samples);
  const sum = inOrder.reduce((total, sample) => total + sample, 0);
  return {
    count: inOrder.length,
    mean: sum / inOrder.length,
    p50: percentile(inOrder, 50),
    p90: percentile(inOrder, 90),
    p95: percentile(inOrder, 95),
    p99: percentile(inOrder, 99),
    max: percentile(inOrder, 100),
  };
}

/** The line of a percentile chart: x is the share in percent, y the sample, at most `points` of them. */
export function percentileLine(
  samples: readonly number[],
  points = 200,
): readonly (readonly [x: number, y: number])[] {
  const inOrder = sorted(samples);
  const steps = Math.min(points, inOrder.length);
  return Array.from({ length: steps }, (_, at) => {
    const percent = (100 * (at + 1)) / steps;
    return [percent, percentile(inOrder, percent)] as const;
  });
}
