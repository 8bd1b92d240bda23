/** What an export writes as a table: events of the log, or rows of a read model, a page at a time. */
import {
  type Holdfast,
  limits,
  type LogQuery,
  type Projection,
  type RecordedEvent,
  toWire,
} from "@holdfast/core";
import { modelRows } from "@holdfast/packs";

/** `time`: ISO 8601 in text formats, a timestamp where the format has one. */
export type ColumnKind = "text" | "integer" | "real" | "time" | "json";

export interface Column {
  readonly name: string;
  readonly kind: ColumnKind;
  readonly required: boolean;
}

export type Row = Readonly<Record<string, unknown>>;

export interface Table {
  readonly columns: readonly Column[];
  readonly rows: Iterable<Row>;
}

/** Events that are read at once with their payloads: 25 MiB at most. */
const payloadPageEvents = 100;

/** What is not encrypted in the store: identifiers, times, pseudonyms. */
const plainColumns: readonly Column[] = [
  { name: "position", kind: "integer", required: true },
  { name: "id", kind: "text", required: true },
  { name: "seq", kind: "integer", required: true },
  { name: "leaf", kind: "text", required: true },
  { name: "type", kind: "text", required: true },
  { name: "schema_version", kind: "integer", required: true },
  { name: "op", kind: "text", required: true },
  { name: "stream", kind: "text", required: true },
  { name: "scope", kind: "text", required: true },
  { name: "actor", kind: "text", required: true },
  { name: "recorded_at", kind: "time", required: true },
  { name: "why", kind: "text", required: false },
];
/** What is encrypted in the store: only with --include-payload. */
const payloadColumns: readonly Column[] = [
  { name: "occurred_at", kind: "time", required: false },
  { name: "reason", kind: "text", required: false },
  { name: "content", kind: "text", required: true },
  { name: "data", kind: "json", required: false },
  { name: "text", kind: "text", required: false },
];

/** All events that meet the conditions, a page at a time. */
export function* pages(
  store: Holdfast,
  query: LogQuery,
  pageEvents: number = limits.queryRowsDefault,
): Generator<readonly RecordedEvent[]> {
  let after = query.after ?? 0;
  let left = query.limit ?? Number.POSITIVE_INFINITY;
  while (left > 0) {
    const limit = Math.min(left, pageEvents);
    const events = store.read({ ...query, after, limit });
    if (events.length > 0) yield events;
    if (events.length < limit) return;
    left -= events.length;
    after = events.at(-1)?.position ?? after;
  }
}

/** Events in wire form: snake_case names, times in ISO 8601. */
export function eventTable(store: Holdfast, query: LogQuery, includePayload: boolean): Table {
  const columns = [...plainColumns, ...(includePayload ? payloadColumns : [])];
  function* rows(): Generator<Row> {
    const size = includePayload ? payloadPageEvents : undefined;
    for (const events of pages(store, { ...query, headersOnly: !includePayload }, size)) {
      for (const event of events) yield wireRow(event);
    }
  }
  return { columns, rows: rows() };
}

function wireRow(event: RecordedEvent): Row {
  return toWire(event) as unknown as Row;
}

/** The declared columns of a read model, after the stream and the scope of each row. */
export function modelTable(store: Holdfast, projection: Projection): Table {
  const declared = Object.entries(projection.columns).map(([name, kind]): Column => ({
    name,
    kind,
    required: false,
  }));
  const columns: readonly Column[] = [
    { name: "stream", kind: "text", required: true },
    { name: "scope", kind: "text", required: true },
    ...declared,
  ];
  function* rows(): Generator<Row> {
    for (const { stream, scope, columns: values } of modelRows(store, projection.name)) {
      yield { stream, scope, ...values };
    }
  }
  return { columns, rows: rows() };
}
