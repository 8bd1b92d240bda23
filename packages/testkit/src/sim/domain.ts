/**
 * What the simulated devices record: notes, which conflict, and weights, which do not. Every payload holds a
 * word that no other has, so that an event can be told from every other by its content alone.
 */
import { defineProjection, type Projection } from "@holdfast/core";

/** State of one stream: depends on the order of events, so that a wrong order shows. */
export interface DiaryState {
  readonly count: number;
  readonly last: string;
  readonly mix: number;
}

/** One row a stream: how many, which one last, and a number over all in their order. */
export const diary: Projection = defineProjection<DiaryState>({
  name: "diary",
  version: 1,
  types: ["NoteTaken", "WeightMeasured"],
  columns: { events: "integer", last: "text" },
  fold(state = { count: 0, last: "", mix: 7 }, event) {
    const word = wordOf(event.data);
    let { mix } = state;
    for (const letter of word ?? "?") mix = (mix * 31 + letter.charCodeAt(0)) % 1_000_003;
    return { count: state.count + 1, last: word ?? "?", mix };
  },
  row: ({ count, last }) => ({ events: count, last }),
});

/** The word that makes a payload unique; `undefined` in anything else. */
export function wordOf(payload: unknown): string | undefined {
  const { text, grams } = (payload ?? {}) as { readonly text?: unknown; readonly grams?: unknown };
  if (typeof text === "string") return text;
  return typeof grams === "number" ? `g${grams}` : undefined;
}
