/**
 * What the command prints. With `--json`: one object or NDJSON rows on standard output and nothing else
 * there, one error object on standard error. Otherwise plain words and tables for people.
 */
import { once } from "node:events";
import { type ErrorCode, type ErrorDetails, errorCodes, HoldfastError } from "@holdfast/core";

/** 0 ok, 1 a check failed, 2 usage, 3 refused with a code, 70 a bug (EX_SOFTWARE). */
export const exitCodes = { ok: 0, checkFailed: 1, usage: 2, refused: 3, bug: 70 } as const;

export interface Output {
  readonly json: boolean;
  /** A line of text for people; silent with `--json`. */
  say(line: string): Promise<void>;
  /** A value for programs, one line; silent without `--json`. */
  row(value: unknown): Promise<void>;
  /** Text as it is, in either form (exports). */
  raw(text: string): Promise<void>;
}

export function createOutput(
  json: boolean,
  stream: NodeJS.WritableStream = process.stdout,
): Output {
  const write = async (text: string): Promise<void> => {
    if (!stream.write(text)) await once(stream, "drain");
  };
  return {
    json,
    say: async (line) => (json ? undefined : write(`${line}\n`)),
    row: async (value) => (json ? write(`${JSON.stringify(value)}\n`) : undefined),
    raw: write,
  };
}

const controls = /\p{Cc}/gu;

/** Recorded text must not steer a terminal: control characters become `?`. */
export function printable(text: string): string {
  return text.replace(controls, "?");
}

/** Columns for people, left-aligned, long cells cut. */
export function table(
  header: readonly string[],
  rows: readonly (readonly unknown[])[],
  cellCharactersMax = 48,
): string {
  const cell = (value: unknown): string => {
    const text = printable(
      typeof value === "string"
        ? value
        : value === undefined || value === null
          ? ""
          : JSON.stringify(value),
    );
    if (text.length <= cellCharactersMax) return text;
    return `${text.slice(0, cellCharactersMax - 1)}…`;
  };
  const lines = [header, ...rows].map((row) => row.map(cell));
  const widths = header.map((_, column) =>
    Math.max(...lines.map((row) => (row[column] ?? "").length)),
  );
  return lines
    .map((row) =>
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `1 event`, `2 events`. */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** A failure of the command as people and programs read it. */
export interface Failure {
  readonly exit: number;
  readonly code: string;
  readonly message: string;
  readonly action: string;
  readonly details: ErrorDetails;
}

/** Where the command itself says more about a refusal. */
const pointers: Readonly<Partial<Record<ErrorCode, string>>> = {
  event_type_unknown: "holdfast types lists the event types that can be appended.",
  payload_invalid: "holdfast types TYPE shows the fields of a type, with an example.",
  model_unknown: "holdfast query --help lists the read models.",
  query_invalid: "holdfast query --help lists the read models with their columns.",
};

export function failureOf(error: unknown): Failure {
  if (error instanceof HoldfastError) {
    const { code, details } = error;
    const { meaning, action } = errorCodes[code];
    const pointer = pointers[code];
    const next = pointer === undefined ? action : `${action} ${pointer}`;
    return { exit: exitCodes.refused, code, message: meaning, action: next, details };
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : "unknown failure";
  const action = "This is a bug: please report it with the steps that lead here.";
  return { exit: exitCodes.bug, code: "internal", message, action, details: {} };
}

/** Prints a failure on standard error: code, meaning, action, facts. */
export function printFailure(failure: Failure, json: boolean): void {
  const { code, message, action, details } = failure;
  if (json) {
    process.stderr.write(`${JSON.stringify({ error: { code, message, action, details } })}\n`);
    return;
  }
  const facts = Object.entries(details).map(
    ([name, value]) => `  ${name}: ${printable(String(value))}`,
  );
  process.stderr.write(`${[`${code}: ${message}`, `  ${action}`, ...facts].join("\n")}\n`);
}
