/**
 * Checks a draft alone, before it waits for the writer: form, payload, reason, sizes. What depends on the
 * store (its stream, duplicates, expectations) is decided by the writer loop.
 */
import { type Draft, type Operation, operationsWithReason } from "../event/event.ts";
import { type EventType, isName, type Registry } from "../event/registry.ts";
import { isUuidV7 } from "../event/uuid.ts";
import { type EventContent, fromSections, toSections } from "../seal/content.ts";
import type { SectionDraft } from "../seal/seal.ts";
import { fromBase64url } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import { assertIJson, parseJson } from "../std/json.ts";
import { limits } from "../std/limits.ts";
import type { Expectation, PreparedDraft } from "../store/append.ts";

const isNameOf = (value: unknown): boolean => typeof value === "string" && isName(value);
const isIdOf = (value: unknown): boolean => typeof value === "string" && isUuidV7(value);

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
  throw new HoldfastError("draft_invalid", { path: field === "" ? "" : `/${field}`, reason });
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

const draftFields = [
  "type",
  "stream",
  "scope",
  "site",
  "actor",
  "role",
  "session",
  "op",
  "ref",
  "why",
  "reason",
  "occurredAt",
  "data",
  "text",
  "id",
  "lane",
] as const satisfies readonly (keyof Draft)[];

/**
 * Each field of a draft, read once: what is checked is what is recorded, whatever getters and proxies answer
 * the second time. The payload is fixed by its encoding.
 */
function snapshot(given: unknown): Draft {
  if (typeof given !== "object" || given === null) refuse("", "not a draft");
  const taken: Partial<Record<keyof Draft, unknown>> = {};
  let reading: keyof Draft = "type";
  try {
    for (const field of draftFields) {
      reading = field;
      const value = (given as Readonly<Record<string, unknown>>)[field];
      if (value !== undefined) taken[field] = value;
    }
  } catch (error) {
    throw unreadable(reading, error);
  }
  if (taken.ref !== undefined) taken.ref = readable("ref", () => leavesOf(taken.ref));
  return taken as unknown as Draft;
}

function leavesOf(ref: unknown): readonly unknown[] {
  if (!Array.isArray(ref)) refuse("ref", "not a list");
  if (ref.length > limits.vectorEntriesMax) refuse("ref", "too many leaves");
  return Array.from(ref as readonly unknown[]);
}

/** What a caller's objects throw is the caller's: it comes out with a code and the field. */
function readable<T>(field: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw unreadable(field, error);
  }
}

function unreadable(field: string, error: unknown): HoldfastError {
  if (isHoldfastError(error)) return error;
  const path = field === "" ? "" : `/${field}`;
  return new HoldfastError("json_not_plain", { path }, { cause: error });
}

/** Throws `draft_invalid`, `event_type_unknown`, `payload_invalid`, `json_*`, `event_too_large`. */
export function prepareDraft(deps: PrepareDeps, given: unknown, at: number): PreparedDraft {
  const draft = snapshot(given);
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
  const sections = readable("data", () => prefixed("data", () => toSections(type, content)));
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
    content: asRecorded(type, sections),
  };
}

/** What is recorded, not the caller's own objects: these may change before the event is projected. */
function asRecorded(type: EventType, sections: readonly SectionDraft[]): EventContent {
  let content: EventContent | undefined;
  const read = (): EventContent =>
    (content ??= fromSections(
      type.encoding,
      new Map(sections.map(({ name, plaintext }) => [name, plaintext])),
    ));
  return {
    get data() {
      return read().data;
    },
    get text() {
      return read().text;
    },
    get occurredAt() {
      return read().occurredAt;
    },
    get reason() {
      return read().reason;
    },
  };
}

function checkOperation(draft: Draft): Operation {
  const { op = "create" } = draft;
  if (!applicationOperations.has(op)) refuse("op", "not an operation of applications");
  if (draft.why !== undefined && !isNameOf(draft.why)) refuse("why", "not a reason code");
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
  if (draft.id !== undefined && !isIdOf(draft.id)) refuse("id", "not a UUIDv7");
  if (draft.role !== undefined && !isNameOf(draft.role)) refuse("role", "not a name");
  if (draft.session !== undefined && !isIdOf(draft.session)) refuse("session", "not an event id");
  if (draft.reason !== undefined) checkWords("reason", draft.reason);
  const { occurredAt } = draft;
  if (
    occurredAt !== undefined &&
    (!Number.isSafeInteger(occurredAt) || Object.is(occurredAt, -0))
  ) {
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
    readable("text", () => prefixed("text", () => registry.validate(type.type, parsed)));
    return { data: parsed, text, occurredAt, reason };
  }
  if (draft.text !== undefined) refuse("text", `${type.type} records data, not a text`);
  const data = readable("data", () =>
    prefixed("data", () => {
      assertIJson(draft.data);
      return registry.validate(type.type, draft.data);
    }),
  );
  return { data, text: undefined, occurredAt, reason };
}

/** The expectation of an append call, read once. Throws `draft_invalid`. */
export function readExpectation(given: unknown): Expectation | undefined {
  if (given === undefined || given === "none") return given;
  if (typeof given !== "object" || given === null) refuse("expect", "a frontier or none");
  const entries = readable("expect", () => Object.entries(given));
  if (entries.some(([, count]) => !Number.isSafeInteger(count))) refuse("expect", "not counters");
  return Object.fromEntries(entries);
}

/** The drafts of one call, holes included; only as many as decide that they are too many. */
export function listOf(drafts: readonly unknown[]): readonly unknown[] {
  return readable("", () =>
    Array.from(
      { length: Math.min(drafts.length, limits.batchEventsMax + 1) },
      (_, at) => drafts[at],
    ),
  );
}
