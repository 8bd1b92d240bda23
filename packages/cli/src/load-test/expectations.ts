/**
 * Bounds that a run must keep: `p95<5000ms`, `enqueue.10000.p99_ms<20`, `memory.bytes_per_entry<=2000`. A figure is
 * named with its suite; without one it is a delivery's of the suite `latency`. A unit that is written must be the
 * figure's own; seconds are taken for milliseconds.
 */
import { InvalidArgumentError } from "commander";

type Relation = "<" | "<=" | ">" | ">=";

/** One bound. */
export interface Expectation {
  /** As it was written. */
  readonly text: string;
  /** Suite and figure, joined by a dot. */
  readonly figure: string;
  readonly relation: Relation;
  readonly bound: number;
}

/** Figures of a run by name: suite, then what it measured, joined by dots. */
export type Figures = Readonly<Record<string, number>>;

const form = /^([a-z][a-z0-9_.]*)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*([a-z%/]*)$/i;
const usualSuite = "latency.";
const units: Readonly<Record<string, { readonly suffix: string; readonly factor: number }>> = {
  ms: { suffix: "_ms", factor: 1 },
  s: { suffix: "_ms", factor: 1_000 },
  "/s": { suffix: "_per_s", factor: 1 },
  "%": { suffix: "_percent", factor: 1 },
  mb: { suffix: "_mb", factor: 1 },
};

/** Reads a bound over figures that the run will have. Throws `InvalidArgumentError`. */
export function parseExpectation(text: string, known: readonly string[]): Expectation {
  const [, name = "", relation = "", number = "", unitText = ""] = form.exec(text.trim()) ?? [];
  if (name === "") {
    throw new InvalidArgumentError(`A bound is needed, such as p95<5000ms, not ${text}.`);
  }
  const unit = unitText === "" ? undefined : units[unitText.toLowerCase()];
  if (unitText !== "" && unit === undefined) {
    throw new InvalidArgumentError(`The units are ${Object.keys(units).join(", ")}.`);
  }
  const suffixes = unit === undefined ? ["", ...suffixesOf(known)] : [unit.suffix, ""];
  const named = [name, `${usualSuite}${name}`].flatMap((each) => suffixes.map((end) => each + end));
  const figure = named.find((each) => known.includes(each));
  if (figure === undefined || (unit !== undefined && !figure.endsWith(unit.suffix))) {
    throw new InvalidArgumentError(
      `The run has no figure ${name}${unitText === "" ? "" : ` in ${unitText}`}. It has ${known.join(", ")}.`,
    );
  }
  const bound = Number(number) * (unit?.factor ?? 1);
  return { text: text.trim(), figure, relation: relation as Relation, bound };
}

function suffixesOf(known: readonly string[]): readonly string[] {
  return Object.values(units)
    .map(({ suffix }) => suffix)
    .filter((suffix) => known.some((name) => name.endsWith(suffix)));
}

/** Is it kept? A figure that is missing, or no number, keeps no bound. */
export function isKept({ figure, relation, bound }: Expectation, figures: Figures): boolean {
  return holds[relation](figures[figure] ?? Number.NaN, bound);
}

const holds: Readonly<Record<Relation, (value: number, bound: number) => boolean>> = {
  "<": (value, bound) => value < bound,
  "<=": (value, bound) => value <= bound,
  ">": (value, bound) => value > bound,
  ">=": (value, bound) => value >= bound,
};
