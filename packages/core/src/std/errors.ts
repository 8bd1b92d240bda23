/**
 * Every error code of Holdfast, once, with what it means and what to do.
 *
 * Three kinds of bad news are never mixed: what a caller decides on is data in the return type, what went
 * wrong in operation is a {@link HoldfastError} with a code from this table, and a bug is an assertion
 * ({@link invariant}). Codes are never renamed or reused. Messages and details never hold payloads, names
 * of people, or key material.
 */

/** What an operator reads about a code: its meaning, and what to do next. */
export interface ErrorExplanation {
  readonly meaning: string;
  readonly action: string;
}

export const errorCodes = {
  // Input: text and values
  json_malformed: {
    meaning: "The text is not JSON.",
    action: "Correct the text at the offset named in the details.",
  },
  json_duplicate_key: {
    meaning: "An object names one key twice; two readers could disagree on its value.",
    action: "Remove one of the two.",
  },
  json_too_deep: {
    meaning: "Arrays and objects are nested deeper than the limit.",
    action: "Flatten the value; the limit is jsonDepthMax.",
  },
  json_lone_surrogate: {
    meaning: "A string holds half of a surrogate pair, which has no UTF-8 form.",
    action: "Correct the text at the path named in the details.",
  },
  json_nul: {
    meaning: "A string holds U+0000, which databases and C programs cut strings at.",
    action: "Remove the character at the path named in the details.",
  },
  json_unsafe_number: {
    meaning:
      "A number is not finite, is negative zero, or is an integer that a double cannot hold exactly.",
    action: "Send such a number as a string.",
  },
  json_forbidden_key: {
    meaning: "The key __proto__ is refused: some readers would change an object's prototype.",
    action: "Rename the key.",
  },
  json_not_plain: {
    meaning: "A value has no JSON form (undefined, function, bigint, class instance, cycle).",
    action: "Convert the value at the path named in the details before it is recorded.",
  },
  utf8_malformed: {
    meaning: "The bytes are not UTF-8.",
    action: "Send UTF-8 without a byte order mark.",
  },

  // Proof: trees, notes, checkpoints, envelopes
  proof_source_short: {
    meaning:
      "The store answered with fewer leaves or tile roots than the tree's size says, or other rows.",
    action: "Run verify: rows of the log are missing. Restore them from a backup.",
  },
  note_malformed: {
    meaning: "The text is not a C2SP signed note; the details name the reason.",
    action: "Fetch or restore the note again; it was cut or edited on its way.",
  },
  note_key_ambiguous: {
    meaning: "Two different trusted keys share one name and key id, so a signature names neither.",
    action: "Remove one of the two keys, or rename it.",
  },
  vkey_malformed: {
    meaning: "The text or key is not a verifier key of a signed note; the details name the reason.",
    action: "Copy the whole verifier key again: name+id+key.",
  },
  checkpoint_malformed: {
    meaning: "The text is not the three lines of a checkpoint: origin, size, root hash.",
    action: "Fetch or restore the checkpoint again; the details name the part that is wrong.",
  },
  dsse_malformed: {
    meaning: "The text is not a DSSE envelope in its canonical form; the details name the reason.",
    action: "Fetch the document again; it was cut or edited on its way.",
  },
} as const satisfies Readonly<Record<string, ErrorExplanation>>;

/** The name of one kind of failure; stable for ever. */
export type ErrorCode = keyof typeof errorCodes;

/** Facts about one failure: identifiers, counts, offsets and paths, never content. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>;

/** A failure in operation. `code` is the stable part; the message adds where and how much. */
export class HoldfastError extends Error {
  override readonly name = "HoldfastError";
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(
    code: ErrorCode,
    details: ErrorDetails = {},
    options: { readonly cause?: unknown } = {},
  ) {
    const { meaning, action } = errorCodes[code] as ErrorExplanation;
    const facts = Object.entries(details)
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(" ");
    super(`${code}: ${meaning} ${action}${facts === "" ? "" : ` [${facts}]`}`, options);
    this.code = code;
    this.details = details;
  }
}

/** Is this the failure with that code? Without a code: is it one of ours at all? */
export function isHoldfastError(error: unknown, code?: ErrorCode): error is HoldfastError {
  return error instanceof HoldfastError && (code === undefined || error.code === code);
}

/** A broken assertion: a bug in this software. Stays on in production. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/** Stop at once when a fact that must hold does not. The text names the fact, never content. */
export function invariant(fact: unknown, text: string): asserts fact {
  if (!fact) throw new InvariantError(text);
}
