/** A refusal as JSON, and the hint of a live tail. */
import { limits } from "../../std/limits.ts";
import { map, record, type Shape, text, whole } from "./shape.ts";
import type { JsonValue } from "../../std/json.ts";
import { malformed } from "./shape.ts";

/** Body of every answer that refuses. */
export interface ErrorAnswer {
  /** A code of the error table, or `internal`. */
  readonly code: string;
  /** What the code means and what to do; the same for every request. */
  readonly message: string;
  /** Names the request in the server's log. */
  readonly requestId: string;
  /** Identifiers, counts and paths; never content. */
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
}

const fact: Shape<string | number | boolean | null> = {
  schema: { type: ["string", "number", "boolean", "null"] },
  write: (value) => value,
  read(value: JsonValue, part) {
    if (typeof value === "object" && value !== null) throw malformed(part);
    if (typeof value === "string" && value.length > limits.wordsCharactersMax) {
      throw malformed(part);
    }
    return value;
  },
};

/** Body of every answer that refuses. */
export const errorAnswerShape: Shape<ErrorAnswer> = record<ErrorAnswer>({
  code: text(limits.nameBytesMax, "^[a-z0-9_]+$"),
  message: text(limits.wordsCharactersMax),
  requestId: text(64, "^[A-Za-z0-9_-]*$"),
  details: map("^[A-Za-z0-9_]{1,64}$", fact, 32),
});

/** One hint of the live tail. */
export interface Hint {
  /** Position up to which there are events. */
  readonly head: number;
}

/** One hint of the live tail. */
export const hintShape: Shape<Hint> = record<Hint>({ head: whole() });
