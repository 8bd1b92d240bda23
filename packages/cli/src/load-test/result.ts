/**
 * What a run leaves: figures by name, checks, and the machine they were measured on. The JSON form is what
 * `--compare` reads; its version moves when a figure changes its meaning.
 */
import { readFileSync } from "node:fs";
import { HoldfastError } from "@holdfast/core";
import { z } from "zod";

/** Facts beside which figures are read. */
export interface Machine {
  readonly cores: number;
  readonly cpu: string;
  readonly memory_mb: number;
  readonly platform: string;
  readonly node: string;
  readonly holdfast: string;
  /** Processes that wanted a core in the last minute, before and after the run; 0 where the system does not say. */
  readonly load_before: number;
  readonly load_after: number;
}

/** What one suite found. */
export interface SuiteResult {
  readonly name: string;
  readonly seconds: number;
  /** What was asked of it: sizes, delays, shares. */
  readonly settings: Readonly<Record<string, string | number>>;
  readonly figures: Readonly<Record<string, number>>;
  /** What must hold whatever the machine: nothing lost, nothing twice. */
  readonly checks: Readonly<Record<string, boolean>>;
}

/** A whole run. */
export interface RunResult {
  readonly kind: "holdfast-load-test";
  readonly version: 1;
  readonly began_at: string;
  readonly quick: boolean;
  /** `simulated`, or the address of the server. */
  readonly server: string;
  readonly machine: Machine;
  readonly suites: readonly SuiteResult[];
}

const figure = z.number();
const machineSchema = z.object({
  cores: z.number(),
  cpu: z.string(),
  memory_mb: z.number(),
  platform: z.string(),
  node: z.string(),
  holdfast: z.string(),
  load_before: z.number(),
  load_after: z.number(),
});
const runSchema = z.object({
  kind: z.literal("holdfast-load-test"),
  version: z.literal(1),
  began_at: z.string(),
  quick: z.boolean(),
  server: z.string(),
  machine: machineSchema,
  suites: z.array(
    z.object({
      name: z.string(),
      seconds: figure,
      settings: z.record(z.string(), z.union([z.string(), z.number()])),
      figures: z.record(z.string(), figure),
      checks: z.record(z.string(), z.boolean()),
    }),
  ),
});

/** All figures of a run, under suite and name. */
export function figuresOf({ suites }: Pick<RunResult, "suites">): Readonly<Record<string, number>> {
  return Object.fromEntries(
    suites.flatMap(({ name, figures }) =>
      Object.entries(figures).map(([figureName, value]) => [`${name}.${figureName}`, value]),
    ),
  );
}

const resultBytesMax = 16 * 1024 * 1024;

/** Reads what a run wrote. Throws `input_unreadable` {argument, reason}. */
export function readResult(path: string, argument: string): RunResult {
  const refused = (reason: string, cause?: unknown): HoldfastError =>
    new HoldfastError("input_unreadable", { argument, reason }, { cause });
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw refused("unreadable", cause);
  }
  if (text.length > resultBytesMax) throw refused("too_large");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refused("not_json", cause);
  }
  const read = runSchema.safeParse(value);
  if (!read.success) throw refused("no_load_test_result", read.error);
  return read.data;
}
