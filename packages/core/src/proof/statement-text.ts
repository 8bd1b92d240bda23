/** Statements of a server log as text: canonical JSON of one object, with exactly so many members. */
import { HoldfastError } from "../std/errors.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";

/** The members of a statement. Throws `server_leaf_malformed`. */
export function readMembers(text: string, count: number): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(text);
    if (text.length > limits.headerBytesMax || canonicalJson(value) !== text)
      throw malformed("text");
  } catch (error) {
    throw error instanceof HoldfastError ? error : malformed("text");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("text");
  if (Object.keys(value).length !== count) throw malformed("fields");
  return value as Readonly<Record<string, unknown>>;
}

export function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

export function malformed(part: string): HoldfastError {
  return new HoldfastError("server_leaf_malformed", { part });
}
