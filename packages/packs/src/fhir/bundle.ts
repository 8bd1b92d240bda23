/**
 * A FHIR bundle read and checked as a whole, before anything of it is recorded.
 *
 * Every entry needs a resource of a known R4 type that fits its schema, and an identity: `id`, else the
 * entry's `fullUrl`. An entry whose `request.method` is neither POST nor PUT is refused: a DELETE states no
 * resource, and withdrawing a record needs a reason that a bundle does not carry.
 */
import {
  detailPointer,
  type ErrorCode,
  HoldfastError,
  type JsonPath,
  jsonPointer,
  parseJsonLocated,
  type JsonValue,
} from "@holdfast/core";
import { createScopeResolver } from "./compartment.ts";
import { type CheckedEntry, type JsonObject, objectOf } from "./entry.ts";
import { fhirEvents, fhirEventType } from "./events.ts";

/** One resource of a bundle, ready to be compared with the store. */
export interface BundleResource {
  readonly resourceType: string;
  /** Resource key in words: `fhir/<type>/<id>`, else `fhir/<fullUrl>`. */
  readonly stream: string;
  /** Subject key in words: `Patient/<id>`, else `reference`. */
  readonly scope: string;
  /** The resource's original JSON text. */
  readonly text: string;
  readonly value: JsonObject;
  /** JSON Pointer of the resource in the bundle. */
  readonly path: string;
}

const schemas = new Map(fhirEvents.map(({ type, schema }) => [type, schema]));
const idPattern = /^[A-Za-z0-9\-.]{1,64}$/;

function refuse(code: ErrorCode, path: JsonPath, rule: string): never {
  throw new HoldfastError(code, { path: detailPointer(path), rule });
}

/**
 * Reads one bundle. Throws `json_*`, `utf8_malformed`, `fhir_bundle_invalid`, `fhir_resource_invalid`,
 * `fhir_resource_type_unknown`, `fhir_unsupported`, `payload_invalid`, each with `path`.
 */
export function readBundle(input: string | Uint8Array): readonly BundleResource[] {
  const { value, text, spans } = parseJsonLocated(input, isResourcePath);
  const bundle = objectOf(value) ?? refuse("fhir_bundle_invalid", [], "an object");
  if (bundle["resourceType"] !== "Bundle") {
    refuse("fhir_bundle_invalid", ["resourceType"], "resourceType is Bundle");
  }
  // FHIR has no empty arrays: a bundle without entries leaves the element out.
  const entries = bundle["entry"] ?? [];
  if (!Array.isArray(entries)) refuse("fhir_bundle_invalid", ["entry"], "an array");
  const checked = (entries as readonly JsonValue[]).map(checkedEntry);
  const scopeOf = createScopeResolver(checked);
  return checked.map(({ resource, resourceType, stream, fullUrl }, index) => {
    const path = jsonPointer(["entry", index, "resource"]);
    const span = spans.get(path);
    const original = span === undefined ? "" : text.slice(span.start, span.end);
    const scope = scopeOf(resource, resourceType, stream, fullUrl);
    return { resourceType, stream, scope, text: original, value: resource, path };
  });
}

function isResourcePath(path: JsonPath): boolean {
  return (
    path.length === 3 &&
    path[0] === "entry" &&
    path[2] === "resource" &&
    typeof path[1] === "number"
  );
}

function checkedEntry(value: JsonValue, index: number): CheckedEntry {
  const at: JsonPath = ["entry", index];
  const entry = objectOf(value) ?? refuse("fhir_bundle_invalid", at, "an object");
  checkMethod(entry["request"], [...at, "request", "method"]);
  const here: JsonPath = [...at, "resource"];
  const resource = objectOf(entry["resource"]) ?? refuse("fhir_bundle_invalid", here, "an object");
  const resourceType = resource["resourceType"];
  if (typeof resourceType !== "string") {
    return refuse("fhir_bundle_invalid", [...here, "resourceType"], "a text");
  }
  const schema = schemas.get(fhirEventType(resourceType));
  if (schema === undefined) {
    return refuse("fhir_resource_type_unknown", [...here, "resourceType"], "a type of R4");
  }
  const fullUrl = entry["fullUrl"];
  if (
    fullUrl !== undefined &&
    (typeof fullUrl !== "string" || fullUrl === "" || fullUrl.length > 2_048)
  ) {
    return refuse("fhir_bundle_invalid", [...at, "fullUrl"], "a text of 1 to 2,048 characters");
  }
  const id = resource["id"];
  if (id !== undefined && (typeof id !== "string" || !idPattern.test(id))) {
    return refuse("fhir_resource_invalid", [...here, "id"], "an R4 id");
  }
  if (id === undefined && fullUrl === undefined) {
    return refuse("fhir_resource_invalid", [...here, "id"], "id, or fullUrl of the entry");
  }
  checkSchema(schema["~standard"].validate(resource), resourceType, here);
  const stream = id === undefined ? `fhir/${fullUrl}` : `fhir/${resourceType}/${id}`;
  return { resource, resourceType, stream, fullUrl };
}

function checkMethod(request: JsonValue | undefined, path: JsonPath): void {
  if (request === undefined) return;
  const method = objectOf(request)?.["method"];
  if (method !== "POST" && method !== "PUT") refuse("fhir_unsupported", path, "POST or PUT");
}

type Validation = ReturnType<(typeof fhirEvents)[number]["schema"]["~standard"]["validate"]>;

function checkSchema(result: Validation, resourceType: string, at: JsonPath): void {
  if (result instanceof Promise || result.issues === undefined) return;
  const steps = (result.issues[0]?.path ?? []).map((step) => {
    const key = typeof step === "object" ? step.key : step;
    return typeof key === "number" ? key : String(key);
  });
  throw new HoldfastError("payload_invalid", {
    type: fhirEventType(resourceType),
    path: detailPointer([...at, ...steps]),
    issues: result.issues.length,
  });
}
