/** What the commands share: their context, and readings of option values. */
import { fromIsoTime } from "@holdfast/core";
import type { Command } from "commander";
import { InvalidArgumentError } from "commander";
import { createOutput, type Output } from "../output.ts";
import type { StoreOptions } from "../store.ts";

export interface Context<Options> {
  readonly options: Options & StoreOptions;
  readonly output: Output;
}

/** Options of the command and of the program together, and where to print. */
export function contextOf<Options>(command: Command): Context<Options> {
  const options = command.optsWithGlobals<Options & StoreOptions>();
  return { options, output: createOutput(options.json === true) };
}

/** A whole number from 1. */
export function count(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError("A whole number from 1 is needed.");
  }
  return value;
}

/** A position: a whole number from 0. */
export function position(text: string): number {
  return text === "0" ? 0 : count(text);
}

/** An instant as UTC milliseconds; a date alone is its first moment in UTC. */
export function instant(text: string): number {
  const value = fromIsoTime(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  if (value === undefined) {
    throw new InvalidArgumentError("A date, or an ISO 8601 time with an offset, is needed.");
  }
  return value;
}

const units: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** A span of time in milliseconds: `90s`, `15m`, `12h`, `30d`. */
export function span(text: string): number {
  const [, number, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (number === undefined || unit === undefined) {
    throw new InvalidArgumentError("A span of time is needed: 90s, 15m, 12h, 30d.");
  }
  return Number(number) * (units[unit] ?? 0);
}

/** An option that may be given several times. */
export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}
