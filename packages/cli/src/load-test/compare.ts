/** Two runs, figure by figure: what each measured, and the second by the first. */
import { figuresOf, type Machine, type RunResult } from "./result.ts";

/** One figure of both runs; what one of them does not have is `undefined`. */
export interface Compared {
  readonly figure: string;
  readonly a: number | undefined;
  readonly b: number | undefined;
  /** b ÷ a: 1 is the same, 2 is twice as much. `undefined` where there is no such number. */
  readonly ratio: number | undefined;
}

/** Every figure of either run, in the order of the first. */
export function compareRuns(first: RunResult, second: RunResult): readonly Compared[] {
  const [a, b] = [figuresOf(first), figuresOf(second)];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].map((figure) => ({
    figure,
    a: a[figure],
    b: b[figure],
    ratio: ratioOf(a[figure], b[figure]),
  }));
}

function ratioOf(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return undefined;
  if (a === b) return 1;
  const ratio = b / a;
  return Number.isFinite(ratio) ? ratio : undefined;
}

/** Facts in which the runs differ: then their figures do not say which software is faster. */
export function differencesOf(first: RunResult, second: RunResult): readonly string[] {
  const facts: readonly (keyof Machine)[] = ["cores", "cpu", "memory_mb", "platform", "node"];
  const machines = facts.filter((fact) => first.machine[fact] !== second.machine[fact]);
  const settings = first.suites
    .filter(({ name, settings: own }) => {
      const other = second.suites.find((suite) => suite.name === name);
      return other !== undefined && JSON.stringify(other.settings) !== JSON.stringify(own);
    })
    .map(({ name }) => `settings of ${name}`);
  const server = first.server === second.server ? [] : ["server"];
  return [...machines, ...server, ...settings];
}
