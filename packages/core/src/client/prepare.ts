/**
 * Checks a draft alone, before it waits for the writer: form, payload, reason, sizes. What depends on the
 * store (its stream, duplicates, expectations) is decided by the writer loop.
 */
import { type Draft, type Operation, operationsWithReason } from "../event/event.ts";
import { type EventType, isName, type Registry } from "../event/registry.ts";
import { isUuidV7 } from "../event/uuid.ts";
import { type EventContent, toSections } from "../seal/content.ts";
import { fromBase64url } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { assertIJson, parseJson } from "../std/json.ts";
import { limits } from "../std/limits.ts";
import type { PreparedDraft } from "../store/append.ts";

const applicationOperations: ReadonlySet<Operation> = new Set([
  "create",
  "amend",
  "retract",
  "resolve",
  "sign",
  "review",
]);
/** Operations that name what they concern. */
const operationsWithRef: ReadonlySet<Operation> = new Set(["amend", "retract", "resolve", "sign"]);

export interface PrepareDeps {
  readonly registry: Registry;
  readonly actorOf: (actor: string) => string;
}

function refuse(field: string, reason: string): never {
  throw new HoldfastError("draft_invalid", { path: `/${field}`, reason });
}

/** Words for a stream, a scope, an actor: they become pseudonyms and must mean the same everywhere. */
function checkWords(field: string, text: unknown): asserts text is string {
  if (typeof text !== "string" || text === "") refuse(field, "a text is needed");
  if (text.length > limits.wordsCharactersMax) refuse(field, "too long");
  prefixed(field, () => {
    assertIJson(text);
  });
}

/** Runs a check and puts the field in front of the path that it names. */
function prefixed<T>(field: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    if (!isHoldfastError(error) || error.code === "event_type_unknown") throw error;
    const path = `/${field}${String(error.details["path"] ?? "")}`;
    throw new HoldfastError(error.code, { ...error.details, path }, { cause: error });
  }
}

/** Throws `draft_invalid`, `event_type_unknown`, `payload_invalid`, `json_*`, `event_too_large`. */
export function prepareDraft(deps: PrepareDeps, draft: Draft, at: number): PreparedDraft {
  if (typeof draft !== "object" || draft === null) refuse("", "not a draft");
  if (typeof draft.type !== "string" || !isName(draft.type)) refuse("type", "not a name");
  const type = deps.registry.types.get(draft.type);
  if (type === undefined) throw new HoldfastError("event_type_unknown", { type: draft.type });
  checkWords("stream", draft.stream);
  checkWords("actor", draft.actor);
  if (draft.scope !== undefined) checkWords("scope", draft.scope);
  if (draft.site !== undefined) checkWords("site", draft.site);
  const op = checkOperation(draft);
  checkPlainFields(draft);
  const content = readContent(deps.registry, type, draft);
  const sections = toSections(type, content);
  const bytes = sections.reduce((sum, { plaintext }) => sum + plaintext.length, 0);
  if (bytes > limits.eventBytesMax) {
    throw new HoldfastError("event_too_large", {
      part: "event",
      bytes,
      limit: limits.eventBytesMax,
    });
  }
  return {
    id: draft.id,
    type: type.type,
    typeVersion: type.version,
    concurrency: type.concurrency,
    stream: draft.stream,
    scope: draft.scope,
    site: draft.site ?? "",
    op,
    // Optional fields of a header are absent, never empty.
    ref: draft.ref?.length === 0 ? undefined : draft.ref,
    at,
    actor: deps.actorOf(draft.actor),
    role: draft.role,
    session: draft.session,
    why: draft.why,
    lane: draft.lane ?? "normal",
    sections,
    bytes,
    content,
  };
}

function checkOperation(draft: Draft): Operation {
  const op = draft.op ?? "create";
  if (!applicationOperations.has(op)) refuse("op", "not an operation of applications");
  if (draft.why !== undefined && !isName(draft.why)) refuse("why", "not a reason code");
  if (operationsWithReason.has(op) && draft.why === undefined) {
    refuse("why", `${op} needs a reason code`);
  }
  if (operationsWithRef.has(op) && (draft.ref === undefined || draft.ref.length === 0)) {
    refuse("ref", `${op} names the leaves that it concerns`);
  }
  for (const leaf of draft.ref ?? []) {
    if (typeof leaf !== "string" || fromBase64url(leaf)?.length !== 32) refuse("ref", "not a leaf");
  }
  if ((draft.ref ?? []).length > limits.vectorEntriesMax) refuse("ref", "too many leaves");
  return op;
}

function checkPlainFields(draft: Draft): void {
  if (draft.id !== undefined && !isUuidV7(draft.id)) refuse("id", "not a UUIDv7");
  if (draft.role !== undefined && !isName(draft.role)) refuse("role", "not a name");
  if (draft.session !== undefined && !isUuidV7(draft.session)) refuse("session", "not an event id");
  if (draft.reason !== undefined) checkWords("reason", draft.reason);
  const { occurredAt } = draft;
  if (occurredAt !== undefined && !Number.isSafeInteger(occurredAt)) {
    refuse("occurredAt", "not integer milliseconds");
  }
  if (draft.lane !== undefined && draft.lane !== "normal" && draft.lane !== "urgent") {
    refuse("lane", "normal or urgent");
  }
}

function readContent(registry: Registry, type: EventType, draft: Draft): EventContent {
  const { occurredAt, reason } = draft;
  if (type.encoding === "text") {
    const { text } = draft;
    if (typeof text !== "string") refuse("text", `${type.type} records a text`);
    const parsed = prefixed("text", () => parseJson(text));
    prefixed("text", () => registry.validate(type.type, parsed));
    return { data: parsed, text, occurredAt, reason };
  }
  if (draft.text !== undefined) refuse("text", `${type.type} records data, not a text`);
  prefixed("data", () => {
    assertIJson(draft.data);
  });
  const data = prefixed("data", () => registry.validate(type.type, draft.data));
  return { data, text: undefined, occurredAt, reason };
}
