/**
 * Events as JSON that leaves the program: snake_case names, times in ISO 8601 UTC with milliseconds. The
 * sealed header keeps its own short names and integer milliseconds, because its bytes are what was signed.
 * What an event does not have is left out, never null.
 */
import { HoldfastError } from "../std/errors.ts";
import type { Header, RecordedEvent } from "./event.ts";

/** A recorded event as JSON. */
export interface WireEvent {
  readonly id: string;
  /** Sequence number in the incarnation that sealed it. */
  readonly seq: number;
  readonly leaf: string;
  readonly position: number;
  readonly type: string;
  readonly schema_version: number;
  readonly known: boolean;
  readonly stream: string;
  readonly scope: string;
  readonly actor: string;
  readonly op: string;
  readonly recorded_at: string;
  readonly occurred_at?: string;
  /** Reason code. */
  readonly why?: string;
  readonly reason?: string;
  readonly content: string;
  readonly data?: unknown;
  readonly text?: string;
  readonly header: Header;
}

/** UTC milliseconds as ISO 8601 with milliseconds: `2026-03-01T08:00:00.000Z`. */
export function isoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

const isoPattern = /^(\d{4}|[+-]\d{6})-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)$/;

/** UTC milliseconds of an ISO 8601 instant with an offset, or `undefined` when the text is none. */
export function fromIsoTime(text: string): number | undefined {
  const time = isoPattern.test(text) ? new Date(text).getTime() : Number.NaN;
  return Number.isNaN(time) ? undefined : time;
}

/** The event as JSON. */
export function toWire(event: RecordedEvent): WireEvent {
  return {
    id: event.id,
    seq: event.header.seq,
    leaf: event.leaf,
    position: event.position,
    type: event.type,
    schema_version: event.schemaVersion,
    known: event.known,
    stream: event.stream,
    scope: event.scope,
    actor: event.actor,
    op: event.op,
    recorded_at: isoTime(event.recordedAt),
    ...(event.occurredAt === undefined ? {} : { occurred_at: isoTime(event.occurredAt) }),
    ...(event.header.why === undefined ? {} : { why: event.header.why }),
    ...(event.reason === undefined ? {} : { reason: event.reason }),
    content: event.content,
    ...(event.data === undefined ? {} : { data: event.data }),
    ...(event.text === undefined ? {} : { text: event.text }),
    header: event.header,
  };
}

/** The way back. Throws `wire_invalid` when a time is not one. */
export function fromWire(wire: WireEvent): RecordedEvent {
  return {
    position: wire.position,
    leaf: wire.leaf,
    header: wire.header,
    id: wire.id,
    type: wire.type,
    schemaVersion: wire.schema_version,
    known: wire.known,
    stream: wire.stream,
    scope: wire.scope,
    actor: wire.actor,
    op: wire.header.op,
    recordedAt: timeOf(wire.recorded_at, "/recorded_at"),
    occurredAt:
      wire.occurred_at === undefined ? undefined : timeOf(wire.occurred_at, "/occurred_at"),
    reason: wire.reason,
    data: wire.data,
    text: wire.text,
    content: wire.content as RecordedEvent["content"],
  };
}

function timeOf(text: string, path: string): number {
  const time = fromIsoTime(text);
  if (time === undefined) throw new HoldfastError("wire_invalid", { path });
  return time;
}
