/**
 * Do two kinds of requests take the same time? They are sent in pairs, in an order that chance gives, so that whatever
 * else the machine does meets both alike; what is judged is the median of the differences within pairs. Its
 * confidence interval is that of the sign test, which asks nothing of the distribution: on a loaded machine it takes
 * more pairs, and no other answer.
 */
import type { Chance } from "@holdfast/testkit";

/** What the pairs so far say. */
export interface Comparison {
  /** `open`: more pairs are needed. */
  readonly verdict: "alike" | "apart" | "open";
  readonly pairs: number;
  /** First minus second, with its confidence interval. */
  readonly medianMs: number;
  readonly lowMs: number;
  readonly highMs: number;
}

/** Differences below it are within one class: less than what a look-up costs that one of both alone makes. */
export const classMs = 1;

/** Standard deviations: some ten thousand looks at a growing sample may not be wrong once. */
const sigmas = 5;

/** Judges the differences of pairs. */
export function compared(differences: readonly number[]): Comparison {
  const sorted = differences.toSorted((a, b) => a - b);
  const pairs = sorted.length;
  const beside = Math.max(1, Math.ceil((sigmas * Math.sqrt(pairs)) / 2));
  const at = (rank: number): number => sorted[rank] ?? (rank < 0 ? -Infinity : Infinity);
  const middle = Math.floor(pairs / 2);
  const [lowMs, highMs] = [at(middle - beside), at(middle + beside)];
  const isAlike = lowMs > -classMs && highMs < classMs;
  const isApart = lowMs >= classMs || highMs <= -classMs;
  const verdict = isAlike ? "alike" : isApart ? "apart" : "open";
  return { verdict, pairs, medianMs: at(middle), lowMs, highMs };
}

/** Takes pairs, at least so many, until there is a verdict or there are too many. */
export async function compareTimes(
  first: () => Promise<unknown>,
  second: () => Promise<unknown>,
  {
    chance,
    least,
    most,
  }: { readonly chance: Chance; readonly least: number; readonly most: number },
): Promise<Comparison> {
  const timed = async (act: () => Promise<unknown>): Promise<number> => {
    const began = performance.now();
    await act();
    return performance.now() - began;
  };
  const differences: number[] = [];
  for (;;) {
    for (let pair = 0; pair < least / 2; pair++) {
      const firstLeads = chance.oneIn(2);
      const early = await timed(firstLeads ? first : second);
      const late = await timed(firstLeads ? second : first);
      differences.push(firstLeads ? early - late : late - early);
    }
    if (differences.length < least) continue;
    const comparison = compared(differences);
    if (comparison.verdict !== "open" || comparison.pairs >= most) return comparison;
  }
}
