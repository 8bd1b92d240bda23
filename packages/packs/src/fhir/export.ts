/**
 * Export as FHIR R4: one Bundle of type `collection`, a piece of text at a time.
 *
 * - Imported resources come out as they were recorded, byte for byte: what the read model `fhir` holds of
 *   each stream. Amended resources stand as amended; retracted ones are left out.
 * - Events of other packs become resources by a {@link FhirModel}: which events of a read model hold, and how
 *   each looks in FHIR. Their `id` is the event id, and so is their identifier (`urn:uuid:…` in the system
 *   `urn:ietf:rfc:3986`), so that a receiver can name the signed event that stands behind a resource.
 *
 * `fullUrl` is given where the id is a UUID. A resource that was imported without an id is identified in the
 * store by a pseudonym only, so its entry has neither id nor fullUrl.
 *
 * Memory is bounded by one page of rows, whatever the store holds. Each page is a read of its own: what is
 * recorded while the export runs may be in it or not; no stream comes twice. Order is by stream, which is a
 * pseudonym and says nothing.
 */
import { type Holdfast, HoldfastError, type ModelRow, type RecordedEvent } from "@holdfast/core";
import type { FhirRow } from "./projection.ts";

/** The part of a store that the exporter uses. */
export type FhirExportStore = Pick<Holdfast, "get" | "query" | "read" | "status">;

/** A resource without what the exporter adds: `id`, `identifier`, `subject`. */
export interface FhirShape {
  readonly resourceType: string;
  readonly [element: string]: unknown;
}

/** Which events of a stream hold now: one by its leaf, or all of the stream but those superseded. */
export type FhirHolding =
  | { readonly leaf: string }
  | { readonly superseded: readonly string[] }
  | undefined;

/** How a read model of another pack is written in FHIR. */
export interface FhirModel {
  /** Name of the read model. */
  readonly model: string;
  /** What holds of a row; `undefined`: nothing, the entry was retracted. */
  readonly holding: (row: ModelRow) => FhirHolding;
  /** The event in FHIR; `undefined` for a type that is not exported. */
  readonly shape: (event: RecordedEvent) => FhirShape | undefined;
}

/** What {@link exportFhir} takes. */
export interface FhirExportOptions {
  /** Read models beside `fhir`. */
  readonly models?: readonly FhirModel[];
  /** Only this subject: a scope id. */
  readonly scope?: string;
  /** `Bundle.timestamp`: an ISO 8601 instant. */
  readonly timestamp?: string;
}

/** Counts of exported resources, by type. */
export interface FhirExportResult {
  readonly resources: Readonly<Record<string, number>>;
}

/** Rows or events that are read at once: with the largest events allowed, 25 MiB of text. */
export const exportPageRows = 100;
/** Subjects whose patient is remembered. */
const patientsMax = 1_000;

/**
 * Pieces of the bundle's text; joined they are one JSON document. Returns the counts. Throws `model_stale`,
 * and `export_model_incomplete` when a read model stopped or lacks events, before the first piece.
 */
export function* exportFhir(
  store: FhirExportStore,
  options: FhirExportOptions = {},
): Generator<string, FhirExportResult> {
  const models = options.models ?? [];
  requireComplete(store, ["fhir", ...models.map(({ model }) => model)]);
  const resources: Record<string, number> = {};
  const { timestamp } = options;
  const meta = timestamp === undefined ? "" : `,"timestamp":${JSON.stringify(timestamp)}`;
  yield `{"resourceType":"Bundle","type":"collection"${meta}`;
  let entries = 0;
  for (const { resourceType, id, text } of allResources(store, models, options.scope)) {
    resources[resourceType] = (resources[resourceType] ?? 0) + 1;
    // FHIR has no empty arrays: `entry` is opened with the first resource.
    const front = entries === 0 ? `,"entry":[\n{` : `,\n{`;
    entries += 1;
    yield `${front}${fullUrl(id)}"resource":${text}}`;
  }
  yield entries === 0 ? "}\n" : "\n]}\n";
  return { resources };
}

/** Throws `export_model_incomplete` when a read model does not show all that its events say. */
export function requireComplete(store: Pick<Holdfast, "status">, models: readonly string[]): void {
  for (const { name, state } of store.status().projections) {
    if (models.includes(name) && (state === "stopped" || state === "incomplete")) {
      throw new HoldfastError("export_model_incomplete", { model: name, state });
    }
  }
}

/** All rows of a read model, a page at a time, by stream. */
export function* modelRows<State>(
  store: Pick<Holdfast, "query">,
  model: string,
  scope?: string,
): Generator<ModelRow<State>> {
  let after = "";
  for (;;) {
    const where = { stream: { gt: after }, ...(scope === undefined ? {} : { scope }) };
    const rows = store.query<State>(model, { where, limit: exportPageRows });
    yield* rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < exportPageRows) return;
    after = last.stream;
  }
}

interface ResourceText {
  readonly resourceType: string;
  readonly id: string | null;
  readonly text: string;
}

function* allResources(
  store: FhirExportStore,
  models: readonly FhirModel[],
  scope: string | undefined,
): Generator<ResourceText> {
  for (const { state } of modelRows<FhirRow>(store, "fhir", scope)) {
    if (state.status === "retracted") continue;
    yield { resourceType: state.resource_type, id: state.id, text: state.text };
  }
  const subjectOf = createSubjects(store);
  for (const model of models) {
    for (const row of modelRows(store, model.model, scope)) {
      for (const event of holdingEvents(store, row, model.holding(row))) {
        const shape = event.content === "opened" ? model.shape(event) : undefined;
        if (shape === undefined) continue;
        const { resourceType, ...elements } = shape;
        const identifier = [{ system: "urn:ietf:rfc:3986", value: `urn:uuid:${event.id}` }];
        const front = { resourceType, id: event.id, identifier, subject: subjectOf(event.scope) };
        yield { resourceType, id: event.id, text: JSON.stringify({ ...front, ...elements }) };
      }
    }
  }
}

/** The events of a stream that hold. A series is read twice: its corrections first, then its readings. */
function* holdingEvents(
  store: FhirExportStore,
  row: ModelRow,
  holding: FhirHolding,
): Generator<RecordedEvent> {
  if (holding === undefined) return;
  if ("leaf" in holding) {
    const event = store.get(holding.leaf);
    if (event !== undefined) yield event;
    return;
  }
  const gone = new Set(holding.superseded);
  for (const { op, header } of streamEvents(store, row.stream, true)) {
    if (corrections.has(op)) for (const leaf of header.ref ?? []) gone.add(leaf);
  }
  for (const event of streamEvents(store, row.stream, false)) {
    if (event.op !== "retract" && !gone.has(event.leaf)) yield event;
  }
}

const corrections: ReadonlySet<string> = new Set(["amend", "retract", "resolve"]);

function* streamEvents(
  store: Pick<Holdfast, "read">,
  stream: string,
  headersOnly: boolean,
): Generator<RecordedEvent> {
  let after = 0;
  for (;;) {
    const events = store.read({ stream, after, limit: exportPageRows, headersOnly });
    yield* events;
    const last = events.at(-1);
    if (last === undefined || events.length < exportPageRows) return;
    after = last.position;
  }
}

/** References to subjects: the imported Patient of the same scope, else the pseudonym. */
function createSubjects(store: Pick<Holdfast, "query">): (scope: string) => object {
  const known = new Map<string, object>();
  return (scope) => {
    const before = known.get(scope);
    if (before !== undefined) return before;
    const where = { resource_type: "Patient", scope, status: "current" };
    const [patient] = store.query<FhirRow>("fhir", { where, limit: 1 });
    const id = patient?.state.id ?? undefined;
    // Without a system: the pseudonym means something to this tenant's stores only.
    const subject =
      id === undefined
        ? { type: "Patient", identifier: { value: scope } }
        : { reference: `Patient/${id}` };
    if (known.size >= patientsMax) known.clear();
    known.set(scope, subject);
    return subject;
  };
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function fullUrl(id: string | null): string {
  return id !== null && uuid.test(id) ? `"fullUrl":"urn:uuid:${id}",` : "";
}
