/**
 * Which tables are in a backup, in which order and form (spec/backup.md).
 *
 * Left out: `grants`, `projections`, `snapshots`, read models and full-text indices, as FORMATS "Shred" demands, and
 * what follows from the events: `streams`, `tiles`, `access`. Leases keep their tokens and lose their holders.
 */
import { base64, type Bytes, concatAll, fromBase64, fromUtf8, u32, utf8 } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { parseJson } from "../std/json.ts";
import { restoredRow } from "../store/restored.ts";
import type { SqlValue } from "../store/sqlite-driver.ts";

/** A table whose rows are kept as lines; `values` are SQL, one for each column. */
export interface BackedUpTable {
  readonly name: string;
  readonly columns: readonly string[];
  readonly values: readonly string[];
  readonly where?: string;
}

function table(
  name: string,
  columns: readonly string[],
  instead: Readonly<Record<string, string>> = {},
  where?: string,
): BackedUpTable {
  const values = columns.map((column) => instead[column] ?? column);
  return { name, columns, values, ...(where === undefined ? {} : { where }) };
}

/** Before the events: what they refer to. */
export const tablesBefore: readonly BackedUpTable[] = [
  table("store", ["name", "value"], {}, `name <> '${restoredRow}'`),
  table("incarnations", ["number", "device", "incarnation", "own"]),
];

/** After the events. */
export const tablesAfter: readonly BackedUpTable[] = [
  table("commits", ["number", "incarnation", "size", "root", "note"]),
  table("sync", ["name", "value"]),
  table("checkpoints", ["log", "size", "root", "note", "before", "path"]),
  table("server_leaves", [
    "number",
    "incarnation",
    "kind",
    "size",
    "leaf",
    "log",
    "leaf_index",
    "log_size",
    "path",
  ]),
  table("pushed", ["incarnation", "size", "owed", "receipt", "receipted_at"]),
  table("pulls", ["scope", "position"]),
  table("note_links", ["incarnation", "before", "size", "path"]),
  table("proofs", ["number", "incarnation", "size", "indices", "hashes"]),
  table("outbox", ["position", "lane", "state", "enqueued_at", "attempts", "next_at"], {
    // Nobody holds a lease of a restored store.
    state: "CASE state WHEN 'leased' THEN 'waiting' ELSE state END",
  }),
  table(
    "attempts",
    [
      "number",
      "token",
      "endpoint",
      "first",
      "last",
      "entries",
      "positions",
      "started_at",
      "ended_at",
      "result",
      "code",
      "status",
    ],
    { ended_at: "coalesce(ended_at, started_at)", result: "coalesce(result, 'lost')" },
  ),
  table("dead_letters", [
    "position",
    "attempts",
    "code",
    "message",
    "status",
    "severity",
    "created_at",
    "updated_at",
    "archived_at",
    "purged_at",
  ]),
  table("breakers", ["endpoint", "state", "failures", "trips", "changed_at", "retry_at"]),
  table("leases", ["name", "token", "acquired_at", "heartbeat_at", "expires_at"]),
];

/** A row as a line of JSON: an array of its columns, bytes as {"b64": …}. */
export function formatRow(values: readonly SqlValue[]): Bytes {
  const plain = values.map((value) =>
    value instanceof Uint8Array ? { b64: base64(value) } : value,
  );
  return utf8(`${JSON.stringify(plain)}\n`);
}

/** The rows of an entry. Throws `backup_altered`. */
export function parseRows(entry: string, content: Uint8Array, columns: number): SqlValue[][] {
  return linesOf(entry, content).map((line) => {
    const values = readJson(entry, line);
    if (!Array.isArray(values) || values.length !== columns) throw altered(entry);
    return values.map((value) => valueOf(entry, value));
  });
}

/** The lines of an entry, each with its end. Throws `backup_altered`. */
export function linesOf(entry: string, content: Uint8Array): readonly string[] {
  const lines = textOf(entry, content).split("\n");
  if (lines.pop() !== "") throw altered(entry);
  return lines;
}

function textOf(entry: string, content: Uint8Array): string {
  try {
    return fromUtf8(content);
  } catch (error) {
    if (isHoldfastError(error)) throw altered(entry);
    throw error;
  }
}

function readJson(entry: string, line: string): unknown {
  try {
    return parseJson(line);
  } catch (error) {
    if (isHoldfastError(error)) throw altered(entry);
    throw error;
  }
}

function valueOf(entry: string, value: unknown): SqlValue {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  const { b64 } = value as { readonly b64?: unknown };
  const bytes = typeof b64 === "string" ? fromBase64(b64) : undefined;
  if (bytes === undefined) throw altered(entry);
  return bytes;
}

/** A frame as it stands in a backup. */
export interface BackedUpFrame {
  readonly position: number;
  readonly section: string;
  readonly key: string;
  readonly state: string;
  readonly bytes: Uint8Array | null;
}

/** u32 length ‖ JSON [position, section, key, state] ‖ u32 length ‖ bytes; big-endian, no bytes: length 0. */
export function frameParts(frame: BackedUpFrame): readonly Uint8Array[] {
  const { position, section, key, state, bytes } = frame;
  const head = utf8(JSON.stringify([position, section, key, state]));
  return [u32(head.length), head, u32(bytes?.length ?? 0), bytes ?? none];
}

const none = new Uint8Array(0);

/** The frames of an entry. Throws `backup_altered`. */
export function parseFrames(entry: string, content: Uint8Array): readonly BackedUpFrame[] {
  const frames: BackedUpFrame[] = [];
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  let at = 0;
  const take = (): Uint8Array => {
    if (at + 4 > content.length) throw altered(entry);
    const length = view.getUint32(at);
    at += 4 + length;
    if (at > content.length) throw altered(entry);
    return content.subarray(at - length, at);
  };
  while (at < content.length) {
    const head = readJson(entry, textOf(entry, take()));
    const bytes = take();
    if (!Array.isArray(head) || head.length !== 4) throw altered(entry);
    const [position, section, key, state] = head as readonly unknown[];
    const named = typeof section === "string" && typeof key === "string";
    if (!Number.isSafeInteger(position) || !named || typeof state !== "string") {
      throw altered(entry);
    }
    const present = state === "present";
    frames.push({
      position: position as number,
      section,
      key,
      state,
      bytes: present ? bytes : null,
    });
  }
  return frames;
}

/** Name of an entry: table and number, from 1. */
export function entryName(tableName: string, number: number): string {
  return `${tableName}/${String(number).padStart(8, "0")}`;
}

export function altered(part: string): HoldfastError {
  return new HoldfastError("backup_altered", { part });
}

export function unsound(problem: string, object: string): HoldfastError {
  return new HoldfastError("backup_unsound", { problem, object });
}

/** Pieces gathered until they are large enough for an entry. */
export function createGatherer(bytesMax: number): {
  add(piece: Uint8Array): void;
  isFull(): boolean;
  isEmpty(): boolean;
  take(): Bytes;
} {
  let parts: Uint8Array[] = [];
  let held = 0;
  return {
    add(piece) {
      parts.push(piece);
      held += piece.length;
    },
    isFull: () => held >= bytesMax,
    isEmpty: () => held === 0,
    take() {
      const whole = concatAll(parts);
      parts = [];
      held = 0;
      return whole;
    },
  };
}
