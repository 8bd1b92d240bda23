/** A read model in many versions: each row says which one folded it. */
import { defineProjection, type Draft, type Projection } from "@holdfast/core";
import { draftOf } from "./lab.ts";

export interface Versioned {
  readonly count: number;
  readonly version: number;
}

/** Version `version` of the model; `folded` is told the stream of each event. */
export function versioned(
  version: number,
  folded: (stream: string) => void = () => undefined,
): Projection<Versioned> {
  return defineProjection<Versioned>({
    name: "versioned",
    version,
    types: ["NoteRecorded"],
    columns: { version: "integer", count: "integer" },
    fold(state, event) {
      folded(event.stream);
      return { count: (state?.count ?? 0) + 1, version };
    },
    row: (state) => ({ version: state.version, count: state.count }),
  });
}

/** Draft number `n`: every second one extends one long stream, the others are of many short ones. */
export function spreadDraft(n: number): Draft {
  const stream = n % 2 === 0 ? "stream/long" : `stream/${n % 2_000}`;
  return { ...draftOf(n), stream, scope: `subject/${stream}` };
}
