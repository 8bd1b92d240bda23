/**
 * Where a JavaScript value stops being JSON. The fast passes of `jcs.ts` and `json.ts` only say *that* a
 * value is refused; this slower walk then says where and why, so that the good case pays for no path.
 */
import { type ErrorCode, HoldfastError } from "./errors.ts";
import { limits } from "./limits.ts";

/** Steps from the root of a JSON value: keys of objects and indices of arrays. */
export type JsonPath = readonly (string | number)[];

/** JSON Pointer of a path (RFC 6901 §3): `""` is the whole value. */
export function jsonPointer(path: JsonPath): string {
  let out = "";
  for (const step of path)
    out += `/${typeof step === "number" ? step : step.replaceAll("~", "~0").replaceAll("/", "~1")}`;
  return out;
}

/** Longer pointers are cut in error details: a key may be megabytes long. */
const pointerCharsMax = 512;

/** The pointer as error details carry it: bounded and well-formed. */
export function detailPointer(path: JsonPath): string {
  const pointer = jsonPointer(path);
  return (
    pointer.length <= pointerCharsMax ? pointer : `${pointer.slice(0, pointerCharsMax)}…`
  ).toWellFormed();
}

/** What one caller refuses beyond values that have no JSON form at all. */
export interface PlainRules {
  /** Code for a string or key, or `undefined` when it is fine. */
  text(text: string, role: "key" | "value"): ErrorCode | undefined;
  /** Code for a number. */
  number(value: number): ErrorCode | undefined;
  /** Code for a container that holds itself. */
  readonly cycle: ErrorCode;
}

/** Is this an array or object that JSON can stand for: no class instance, no symbol keys? */
export function isPlainContainer(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (Array.isArray(value)) return prototype === Array.prototype;
  return (
    (prototype === Object.prototype || prototype === null) &&
    Object.getOwnPropertySymbols(value).length === 0
  );
}

interface Finding {
  readonly code: ErrorCode;
  readonly path: JsonPath;
}

function find(
  value: unknown,
  rules: PlainRules,
  path: readonly (string | number)[],
  ancestors: readonly object[],
): Finding | undefined {
  if (value === null || typeof value === "boolean") return undefined;
  if (typeof value === "string" || typeof value === "number") {
    const code = typeof value === "string" ? rules.text(value, "value") : rules.number(value);
    return code === undefined ? undefined : { code, path };
  }
  if (typeof value !== "object" || !isPlainContainer(value))
    return { code: "json_not_plain", path };
  if (ancestors.includes(value)) return { code: rules.cycle, path };
  if (ancestors.length >= limits.jsonDepthMax) return { code: "json_too_deep", path };
  const inside = [...ancestors, value];
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = find(value[i], rules, [...path, i], inside);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  for (const [key, member] of Object.entries(value)) {
    const code = rules.text(key, "key");
    // A key that cannot be written cannot stand in a pointer either: name the object that holds it.
    if (code !== undefined)
      return { code, path: code === "json_forbidden_key" ? [...path, key] : path };
    const found = find(member, rules, [...path, key], inside);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The error for a value that a fast pass refused, with the JSON Pointer of the first refused place. */
export function plainRefusal(value: unknown, rules: PlainRules): HoldfastError {
  // Getters may answer differently on the second walk; the value is then not plain data.
  const { code, path } = find(value, rules, [], []) ?? { code: "json_not_plain", path: [] };
  return new HoldfastError(code, { path: detailPointer(path) });
}
