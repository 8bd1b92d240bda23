/** What every suite of the load test is given, and what it gives back. */
import type { Place } from "../simulated-device.ts";
import type { Pace } from "./pace.ts";
import type { Chart } from "./plot.ts";
import type { SuiteResult } from "./result.ts";
import type { Site } from "./site.ts";
import type { SuiteName } from "./suite-names.ts";

/** How much each suite does. */
export interface Sizes {
  /** Events of each round of `enqueue`. */
  readonly enqueue: readonly number[];
  readonly latencyEvents: number;
  /** Arrivals a second. */
  readonly latencyRate: number;
  readonly memoryEntries: number;
  readonly breakerFailures: number;
  readonly breakerCooldownMs: number;
  readonly workers: number;
  readonly workersEntries: number;
}

/** The sizes of a run that is meant. */
export const fullSizes: Sizes = {
  enqueue: [100, 1_000, 5_000, 10_000],
  latencyEvents: 1_000,
  latencyRate: 20,
  memoryEntries: 50_000,
  breakerFailures: 50,
  breakerCooldownMs: 100,
  workers: 3,
  workersEntries: 5_000,
};

/** Sizes to try the command with; the figures mean nothing. */
export const quickSizes: Sizes = {
  enqueue: [10, 20],
  latencyEvents: 20,
  latencyRate: 20,
  memoryEntries: 400,
  breakerFailures: 50,
  breakerCooldownMs: 10,
  workers: 3,
  workersEntries: 300,
};

/** What a suite works with. */
export interface SuiteContext {
  readonly folder: string;
  readonly passphrase: string;
  readonly sizes: Sizes;
  /** Delay of each request, ms, and share of those that fail, of the path to the server. */
  readonly path: { readonly delayMs: number; readonly failing: number };
  /** From 0 to 1, seeded. */
  readonly chance: () => number;
  readonly pace: (label: string, total: number) => Pace;
  /** The device at the server; made when it is first asked for. */
  readonly site: () => Promise<Site>;
  /** A store of its own that syncs with nobody. */
  readonly makeStore: (name: string) => Promise<Place>;
}

/** What a suite measured, beside its name and duration. */
export interface Measured extends Pick<SuiteResult, "settings" | "figures" | "checks"> {
  readonly charts: Readonly<Record<string, Chart>>;
}

/** One suite. */
export interface Suite {
  readonly name: SuiteName;
  /** Names of its figures, so that a bound can be refused before the run. */
  readonly figures: (sizes: Sizes) => readonly string[];
  readonly run: (context: SuiteContext) => Promise<Measured>;
}

/** Sums and rates to read: whole numbers stay whole. */
export function rounded(value: number, digits = 2): number {
  return Number(value.toFixed(digits));
}

/** Percentiles of milliseconds as figures. */
export function timingFigures(
  summary: Readonly<Record<"p50" | "p90" | "p95" | "p99" | "max", number>>,
): Readonly<Record<(typeof timingNames)[number], number>> {
  const { p50, p90, p95, p99, max } = summary;
  return {
    p50_ms: rounded(p50),
    p90_ms: rounded(p90),
    p95_ms: rounded(p95),
    p99_ms: rounded(p99),
    max_ms: rounded(max),
  };
}

/** Names of {@link timingFigures}. */
export const timingNames = ["p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms"] as const;

/** A pause. */
export const rest = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));
