/** A draft as JSON, one a line: the fields of `append --ndjson`. */
import {
  type Draft,
  fromIsoTime,
  HoldfastError,
  isHoldfastError,
  type JsonValue,
  type Operation,
  operations,
  parseJson,
} from "@holdfast/core";
import { registry } from "./store.ts";

/** What a line may leave out because the command line says it for all. */
export type DraftDefaults = Partial<Pick<Draft, "type" | "stream" | "scope" | "actor">>;

const textFields = [
  "type",
  "stream",
  "scope",
  "site",
  "actor",
  "role",
  "session",
  "text",
  "why",
  "reason",
  "id",
] as const;
const fields: ReadonlySet<string> = new Set([
  ...textFields,
  "occurred_at",
  "data",
  "op",
  "ref",
  "lane",
]);

function refuse(field: string, reason: string): never {
  throw new HoldfastError("draft_invalid", { path: field === "" ? "" : `/${field}`, reason });
}

/**
 * The draft that a line of JSON states, checked as far as it can be without the store. Throws `json_*`,
 * `utf8_malformed`, `draft_invalid`, `event_type_unknown`, `payload_invalid`.
 */
export function parseDraft(line: string | Uint8Array, defaults: DraftDefaults = {}): Draft {
  const value = parseJson(line);
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse("", "an object");
  const draft = draftOf(value as Readonly<Record<string, JsonValue>>, defaults);
  try {
    registry.validate(draft.type, draft.data);
  } catch (error) {
    if (!isHoldfastError(error, "payload_invalid")) throw error;
    const path = `/data${String(error.details["path"] ?? "")}`;
    throw new HoldfastError(error.code, { ...error.details, path }, { cause: error });
  }
  return draft;
}

function draftOf(given: Readonly<Record<string, JsonValue>>, defaults: DraftDefaults): Draft {
  for (const field of Object.keys(given)) {
    if (!fields.has(field)) refuse(field.slice(0, 64), "a field of a draft");
  }
  const texts: Record<string, string> = { ...defaults };
  for (const field of textFields) {
    const value = given[field];
    if (value === undefined) continue;
    if (typeof value !== "string") refuse(field, "a text");
    texts[field] = value;
  }
  const { type, stream, actor } = texts;
  if (type === undefined || type === "") return refuse("type", "given");
  if (stream === undefined || stream === "") return refuse("stream", "given");
  if (actor === undefined || actor === "") return refuse("actor", "given");
  if (given["data"] === undefined) return refuse("data", "given");
  return { ...texts, type, stream, actor, data: given["data"], ...otherFields(given) };
}

function otherFields(
  given: Readonly<Record<string, JsonValue>>,
): Pick<Draft, "occurredAt" | "op" | "ref" | "lane"> {
  const { occurred_at: at, op, ref, lane } = given;
  const occurredAt = typeof at === "string" ? fromIsoTime(at) : undefined;
  if (at !== undefined && occurredAt === undefined)
    refuse("occurred_at", "ISO 8601 with an offset");
  if (op !== undefined && !operations.includes(op as Operation)) refuse("op", "an operation");
  const refs = Array.isArray(ref) ? (ref as readonly JsonValue[]) : undefined;
  if (ref !== undefined && !refs?.every((one) => typeof one === "string"))
    refuse("ref", "a list of leaves");
  if (lane !== undefined && lane !== "normal" && lane !== "urgent")
    refuse("lane", "normal or urgent");
  return {
    ...(occurredAt === undefined ? {} : { occurredAt }),
    ...(op === undefined ? {} : { op: op as Operation }),
    ...(refs === undefined ? {} : { ref: refs as readonly string[] }),
    ...(lane === undefined ? {} : { lane }),
  };
}
