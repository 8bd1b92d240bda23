/**
 * Import of FHIR R4 bundles: each resource is compared with what the store holds of it.
 *
 * - Not there: recorded (`op: "create"`).
 * - There, equal content: nothing is appended. Two texts are equal when they say the same to the last digit
 *   of every number; white space, the order of keys and the spelling of strings do not count.
 * - There, and the bundle's version is older (`meta.versionId` as a number, else `meta.lastUpdated`, each
 *   when both sides state it): a duplicate, nothing is appended.
 * - There, changed: recorded as `op: "amend"`, `why: "source-changed"`, superseding what held. A return to
 *   earlier content is a change like any other.
 * - Retracted here, and the source still says the same: stays retracted; a changed resource holds again.
 *
 * All sources are read and checked before the first event is appended. Every resource is its own append call
 * with the stream's frontier as `expect`, so that of two importers at once one records and the other sees a
 * conflict, compares again and finds a duplicate; calls in flight together are committed together.
 */
import {
  type AppendResult,
  type Draft,
  type Expectation,
  type Holdfast,
  HoldfastError,
} from "@holdfast/core";
import { type BundleResource, readBundle } from "./bundle.ts";
import { objectOf } from "./entry.ts";
import { fhirEventType } from "./events.ts";
import { effectiveTime, type FhirRow } from "./projection.ts";
import { sameJsonText } from "./text.ts";

/** The part of a store that the importer uses. */
export type ImportStore = Pick<
  Holdfast,
  "append" | "frontier" | "read" | "row" | "scopeId" | "streamId"
>;

/** A bundle's text, its UTF-8 bytes, or a function that loads either when its turn comes. */
export type FhirSource = string | Uint8Array | (() => Promise<string | Uint8Array>);

/** What {@link importFhir} takes beside its sources. */
export interface FhirImportOptions {
  /** On whose authority the records are made, in words. */
  readonly actor: string;
  /** Resources compared so far, of all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Counts of resources; every resource seen is one of appended, duplicates, amended. */
export interface FhirImportResult {
  readonly appended: number;
  readonly duplicates: number;
  readonly amended: number;
  /** Resources seen, by type. */
  readonly resources: Readonly<Record<string, number>>;
}

/** Append calls that wait together for their commit. */
export const importCallsMax = 200;
/** Times that one resource is compared again after a conflict. */
export const importTriesMax = 20;

/**
 * Imports bundles. Throws the codes of {@link readBundle} with `source` (number of the source, from 1) and
 * nothing recorded; `fhir_subject_changed`, `fhir_stream_contended` and the codes of `append` with what came
 * before them recorded: importing again goes on from there.
 */
export async function importFhir(
  store: ImportStore,
  sources: readonly FhirSource[],
  options: FhirImportOptions,
): Promise<FhirImportResult> {
  let total = 0;
  for (let index = 0; index < sources.length; index++) total += (await load(sources, index)).length;
  const counts = { appended: 0, duplicates: 0, amended: 0 };
  const resources: Record<string, number> = {};
  let done = 0;
  for (let index = 0; index < sources.length; index++) {
    for (const group of groups(await load(sources, index))) {
      const outcomes = await settled(
        group.map((resource) => record(store, resource, options.actor)),
      );
      for (const outcome of outcomes) counts[outcome] += 1;
      for (const { resourceType } of group)
        resources[resourceType] = (resources[resourceType] ?? 0) + 1;
      done += group.length;
      options.onProgress?.(done, total);
    }
  }
  return { ...counts, resources };
}

async function load(
  sources: readonly FhirSource[],
  index: number,
): Promise<readonly BundleResource[]> {
  const source = sources[index] as FhirSource;
  const input = typeof source === "function" ? await source() : source;
  try {
    return readBundle(input);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    throw new HoldfastError(error.code, { ...error.details, source: index + 1 }, { cause: error });
  }
}

/** Bounded groups in which no resource stands twice: a second one is compared with the first. */
export function groups(all: readonly BundleResource[]): readonly (readonly BundleResource[])[] {
  const out: BundleResource[][] = [];
  let group: BundleResource[] = [];
  let streams = new Set<string>();
  for (const resource of all) {
    if (group.length >= importCallsMax || streams.has(resource.stream)) {
      out.push(group);
      group = [];
      streams = new Set();
    }
    group.push(resource);
    streams.add(resource.stream);
  }
  return group.length === 0 ? out : [...out, group];
}

/** All results, once nothing is under way any more; throws the first failure. */
async function settled<T>(calls: readonly Promise<T>[]): Promise<readonly T[]> {
  await Promise.allSettled(calls);
  return Promise.all(calls);
}

type Outcome = "appended" | "duplicates" | "amended";

async function record(
  store: ImportStore,
  resource: BundleResource,
  actor: string,
): Promise<Outcome> {
  for (let attempt = 0; attempt < importTriesMax; attempt++) {
    const stream = store.streamId(resource.stream);
    // The frontier first: what changes after it is a conflict, never an oversight.
    const expect: Expectation = store.frontier(stream) ?? "none";
    const held = expect === "none" ? undefined : heldOf(store, stream);
    const decision = decide(resource, held);
    if (decision === "duplicate") return "duplicates";
    if (held !== undefined && held.scope !== store.scopeId(resource.scope)) {
      throw new HoldfastError("fhir_subject_changed", { path: resource.path });
    }
    const result: AppendResult = await store.append(draftOf(resource, held, actor), { expect });
    if (result.status === "appended") return held === undefined ? "appended" : "amended";
  }
  throw new HoldfastError("fhir_stream_contended", { path: resource.path });
}

/** What the store holds of a resource. */
export interface Held {
  /** Leaf of the stream's last event. */
  readonly leaf: string;
  readonly scope: string;
  /** `undefined`: recorded, and no longer readable. */
  readonly text: string | undefined;
}

function heldOf(store: ImportStore, stream: string): Held | undefined {
  const row = store.row<FhirRow>("fhir", stream);
  if (row !== undefined) return { leaf: row.state.leaf, scope: row.scope, text: row.state.text };
  // No row though the stream is there: the read model was stopped, or the content cannot be opened.
  const events = store.read({ stream });
  const last = events.at(-1);
  const text = events.findLast((event) => event.text !== undefined)?.text;
  return last === undefined ? undefined : { leaf: last.leaf, scope: last.scope, text };
}

/** Is the resource something that the store does not hold yet? Pure. */
export function decide(
  resource: Pick<BundleResource, "text" | "value">,
  held: Pick<Held, "text"> | undefined,
): "create" | "amend" | "duplicate" {
  if (held === undefined) return "create";
  if (held.text === undefined) return "amend";
  if (sameJsonText(resource.text, held.text)) return "duplicate";
  const before = JSON.parse(held.text) as BundleResource["value"];
  return isOlder(resource.value, before) ? "duplicate" : "amend";
}

/** Does the first resource state an older version than the second? */
function isOlder(a: BundleResource["value"], b: BundleResource["value"]): boolean {
  const [mine, theirs] = [objectOf(a["meta"]) ?? {}, objectOf(b["meta"]) ?? {}];
  const [v, w] = [mine["versionId"], theirs["versionId"]];
  // R4 calls versionId opaque; only where both are numbers do they say which is older.
  if (isNumeral(v) && isNumeral(w) && BigInt(v) !== BigInt(w)) return BigInt(v) < BigInt(w);
  const [from, to] = [mine["lastUpdated"], theirs["lastUpdated"]];
  return typeof from === "string" && typeof to === "string" && Date.parse(from) < Date.parse(to);
}

function isNumeral(value: unknown): value is string {
  return typeof value === "string" && /^\d{1,64}$/.test(value);
}

const instant = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

function draftOf(resource: BundleResource, held: Held | undefined, actor: string): Draft {
  const effective = effectiveTime(resource.value);
  // Only a full instant says when something happened; a date alone leaves the zone open.
  const occurred =
    effective !== null && instant.test(effective) ? Date.parse(effective) : Number.NaN;
  return {
    type: fhirEventType(resource.resourceType),
    stream: resource.stream,
    scope: resource.scope,
    actor,
    data: resource.value,
    text: resource.text,
    ...(Number.isNaN(occurred) ? {} : { occurredAt: occurred }),
    ...(held === undefined
      ? { op: "create" as const }
      : { op: "amend" as const, ref: [held.leaf], why: "source-changed" }),
  };
}
