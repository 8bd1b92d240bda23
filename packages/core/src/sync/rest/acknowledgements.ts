/**
 * What a backend without receipts acknowledged, of each own device log: half-open ranges of indices, in named
 * values of the table `sync`, a value for every 4,096 events, so that the largest one stays small however many
 * gaps it has. `outbox/whole.ts` reads them in SQL. They are this device's own word, signed by nobody.
 */
import { acknowledgedPrefix } from "../../outbox/whole.ts";
import type { IndexRanges } from "../../proof/server-leaf.ts";
import type { SqliteDriver } from "../../store/sqlite-driver.ts";
import { type LocalValues, localValues } from "../local-values.ts";
import { isInRanges } from "../ranges.ts";

/** A place in a device log: number of the incarnation, index from 0. */
export interface LogPlace {
  readonly number: number;
  readonly index: number;
}

/** Acknowledged places of one store. */
export interface Acknowledgements {
  has(place: LogPlace): boolean;
  /** In the caller's transaction. */
  add(places: readonly LogPlace[]): void;
  /** Indices of that log from 0 on without a gap. */
  through(log: number): number;
  any(): boolean;
  /** Forgets all of them, in the caller's transaction. */
  clear(): void;
}

const eventsPerValue = 4_096;

/** Over one connection. */
export function createAcknowledgements(driver: SqliteDriver): Acknowledgements {
  const values = localValues(driver);
  return {
    has: ({ number, index }) => isInRanges(rangesAt(values, nameOf(number, chunkOf(index))), index),
    add(places) {
      const byName = new Map<string, { readonly log: number; readonly indices: number[] }>();
      for (const { number, index } of places) {
        const name = nameOf(number, chunkOf(index));
        const group = byName.get(name) ?? { log: number, indices: [] };
        group.indices.push(index);
        byName.set(name, group);
      }
      for (const [name, { log, indices }] of byName) {
        const ranges = indices.reduce(withIndex, rangesAt(values, name));
        values.set(name, JSON.stringify({ log, ranges }));
      }
    },
    through(log) {
      for (let chunk = 0; ; chunk++) {
        const start = chunk * eventsPerValue;
        const [first] = rangesAt(values, nameOf(log, chunk));
        const end = first?.[0] === start ? first[1] : start;
        if (end < start + eventsPerValue) return end;
      }
    },
    any: () => values.list(acknowledgedPrefix).length > 0,
    clear() {
      for (const { name } of values.list(acknowledgedPrefix)) values.remove(name);
    },
  };
}

function chunkOf(index: number): number {
  return Math.floor(index / eventsPerValue);
}

function nameOf(log: number, chunk: number): string {
  return `${acknowledgedPrefix}${log}/${chunk}`;
}

/** A value that is none says nothing: its events are sent again, and recognised. */
function rangesAt(values: LocalValues, name: string): IndexRanges {
  try {
    const value: unknown = JSON.parse(values.get(name) ?? "{}");
    const ranges = (value as { readonly ranges?: unknown } | null)?.ranges;
    return Array.isArray(ranges) && ranges.every(isRange) ? ranges : [];
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

function isRange(value: unknown): value is readonly [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isSafeInteger);
}

/** The ranges with one index more, joined where they touch. */
export function withIndex(ranges: IndexRanges, index: number): IndexRanges {
  if (isInRanges(ranges, index)) return ranges;
  const before = ranges.filter(([, to]) => to < index);
  const after = ranges.filter(([from]) => from > index + 1);
  const touching = ranges.slice(before.length, ranges.length - after.length);
  const from = Math.min(index, touching[0]?.[0] ?? index);
  const to = Math.max(index + 1, touching.at(-1)?.[1] ?? index + 1);
  return [...before, [from, to], ...after];
}
