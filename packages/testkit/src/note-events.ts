/**
 * A small domain for tests: notes, which conflict, and weights, which do not.
 */
import { createRegistry, defineEvent, type Draft, type Registry } from "@holdfast/core";
import { createTestSchema } from "./schemas.ts";

/** Payload of `NoteTaken`. */
export interface NotePayload {
  readonly text: string;
}

/** Payload of `WeightMeasured`. */
export interface WeightPayload {
  readonly grams: number;
}

/** `NoteTaken`: exclusive. */
export const noteTaken = defineEvent<NotePayload>({
  type: "NoteTaken",
  schema: createTestSchema((value) => {
    const text = (value as Partial<NotePayload> | null)?.text;
    return typeof text === "string" ? { value: { text } } : [{ message: "a text", path: ["text"] }];
  }),
});

/** `WeightMeasured`: independent. */
export const weightMeasured = defineEvent<WeightPayload>({
  type: "WeightMeasured",
  concurrency: "independent",
  schema: createTestSchema((value) => {
    const grams = (value as Partial<WeightPayload> | null)?.grams;
    return typeof grams === "number"
      ? { value: { grams } }
      : [{ message: "a number", path: ["grams"] }];
  }),
});

/** Both types. */
export function createNoteRegistry(): Registry {
  return createRegistry([noteTaken, weightMeasured]);
}

/** A draft of a note on a stream, ready for `append`. */
export function createNoteDraft(stream: string, text: string, more: Partial<Draft> = {}): Draft {
  return { type: "NoteTaken", stream, actor: "nurse/7", data: { text }, ...more };
}

/** A draft of a weight on a stream, ready for `append`. */
export function createWeightDraft(stream: string, grams: number, more: Partial<Draft> = {}): Draft {
  return { type: "WeightMeasured", stream, actor: "nurse/7", data: { grams }, ...more };
}
