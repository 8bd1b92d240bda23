/**
 * From a payload to its sections and back.
 *
 * `json` types: each declared section holds the JCS of its fields; `content` holds {data, occurred_at,
 * reason}. `text` types: `content` holds the exact text; `context` holds {occurred_at, reason} when there
 * are any. Whatever is personal is inside sections, never in the header.
 */
import { contentSection, type EventType } from "../event/registry.ts";
import { fromUtf8, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { parseJson } from "../std/json.ts";
import type { SectionDraft } from "./seal.ts";

const contextSection = "context";

/** What an event says, in the open. */
export interface EventContent {
  readonly data: unknown;
  /** The exact recorded text, of `text` types. */
  readonly text: string | undefined;
  readonly occurredAt: number | undefined;
  readonly reason: string | undefined;
}

type Words = Pick<EventContent, "occurredAt" | "reason">;

function wordsOf({ occurredAt, reason }: Words): Record<string, unknown> {
  return {
    ...(occurredAt !== undefined && { occurred_at: occurredAt }),
    ...(reason !== undefined && { reason }),
  };
}

/** The sections that hold a content. */
export function toSections(
  type: Pick<EventType, "sections" | "encoding">,
  content: EventContent,
): readonly SectionDraft[] {
  const words = wordsOf(content);
  if (type.encoding === "text") {
    const sections = [{ name: contentSection, plaintext: utf8(content.text ?? "") }];
    if (Object.keys(words).length > 0) {
      sections.push({ name: contextSection, plaintext: utf8(canonicalJson(words)) });
    }
    return sections;
  }
  const apart = Object.entries(type.sections);
  if (apart.length === 0 || !isRecord(content.data)) {
    return [section(contentSection, { ...words, data: content.data })];
  }
  const rest: Record<string, unknown> = { ...content.data };
  const sections: SectionDraft[] = [];
  for (const [name, fields] of apart) {
    const taken: Record<string, unknown> = {};
    for (const field of fields) {
      if (!Object.hasOwn(rest, field)) continue;
      taken[field] = rest[field];
      delete rest[field];
    }
    if (Object.keys(taken).length > 0) sections.push(section(name, taken));
  }
  return [...sections, section(contentSection, { ...words, data: rest })];
}

function section(name: string, value: unknown): SectionDraft {
  return { name, plaintext: utf8(canonicalJson(value)) };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The content that sections hold; the inverse of {@link toSections}. */
export function fromSections(
  encoding: "json" | "text",
  opened: ReadonlyMap<string, Uint8Array>,
): EventContent {
  const content = opened.get(contentSection);
  if (encoding === "text") {
    const text = content === undefined ? undefined : fromUtf8(content);
    const data = text === undefined ? undefined : parseJson(text);
    return { ...readWords(parsed(opened.get(contextSection))), data, text };
  }
  const envelope = parsed(content);
  let data: unknown = envelope["data"];
  for (const [name, plaintext] of opened) {
    if (name === contentSection || name === contextSection) continue;
    data = { ...(isRecord(data) ? data : {}), ...parsed(plaintext) };
  }
  return { ...readWords(envelope), data, text: undefined };
}

/** Sections that this software wrote are JCS: the platform's parser reads them exactly. */
function parsed(plaintext: Uint8Array | undefined): Readonly<Record<string, unknown>> {
  if (plaintext === undefined) return {};
  const value: unknown = JSON.parse(fromUtf8(plaintext));
  return isRecord(value) ? value : {};
}

function readWords(fields: Readonly<Record<string, unknown>>): Words {
  const { occurred_at: occurredAt, reason } = fields;
  return {
    occurredAt: typeof occurredAt === "number" ? occurredAt : undefined,
    reason: typeof reason === "string" ? reason : undefined,
  };
}
