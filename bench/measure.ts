/** Rates, percentiles and gates: what every subject reports. */

/** Latencies of single operations, in milliseconds, and the rate that they give. */
export interface Timing {
  readonly count: number;
  /** Operations (or events) per second of busy time. */
  readonly rate: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** One figure that issue or README promise. */
export interface Gate {
  readonly name: string;
  readonly value: number;
  readonly relation: ">=" | "<";
  readonly limit: number;
  readonly met: boolean;
}

/** What a subject prints as its last line. */
export interface Report {
  readonly subject: string;
  /** Ours to the raw driver: above 1 is faster than raw. */
  readonly ratio: number;
  readonly gates: readonly Gate[];
  readonly [figure: string]: unknown;
}

export function round(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}

/** The value below which that share of the sorted samples lies (nearest rank). */
export function percentile(sorted: readonly number[], share: number): number {
  const rank = Math.max(0, Math.ceil(share * sorted.length) - 1);
  return sorted[rank] ?? 0;
}

export function median(values: readonly number[]): number {
  return percentile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

/** The tenth percentile: what it takes when little else on the machine is in the way. */
export function unhindered(values: readonly number[]): number {
  return percentile(
    values.toSorted((a, b) => a - b),
    0.1,
  );
}

export function timing(milliseconds: readonly number[], eventsEach = 1): Timing {
  const sorted = milliseconds.toSorted((a, b) => a - b);
  const total = sorted.reduce((sum, value) => sum + value, 0);
  return {
    count: sorted.length,
    rate: round((sorted.length * eventsEach * 1_000) / total, 1),
    p50: round(percentile(sorted, 0.5)),
    p95: round(percentile(sorted, 0.95)),
    p99: round(percentile(sorted, 0.99)),
  };
}

export function gate(name: string, value: number, relation: ">=" | "<", limit: number): Gate {
  const met = relation === ">=" ? value >= limit : value < limit;
  return { name, value: round(value), relation, limit, met };
}

/** Milliseconds that a synchronous piece of work takes. */
export function stopwatch(work: () => unknown): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

/** Milliseconds that an asynchronous piece of work takes. */
export async function stopwatchAsync(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Runs ours and raw in turn (A B A B …), so that noise of the machine meets both. */
export async function interleave(
  rounds: number,
  ours: (round: number) => Promise<void> | void,
  raw: (round: number) => Promise<void> | void,
): Promise<void> {
  for (let at = 0; at < rounds; at++) {
    await ours(at);
    await raw(at);
  }
}

/** Median of the ratios of rounds that ran beside each other: total milliseconds of raw by those of ours. */
export function ratioOfRounds(
  ours: readonly (readonly number[])[],
  raw: readonly (readonly number[])[],
): number {
  const sum = (values: readonly number[] = []): number => values.reduce((a, b) => a + b, 0);
  return round(median(ours.map((one, at) => sum(raw[at]) / sum(one))));
}
