/**
 * Canonical JSON: RFC 8785 (JCS). Equal values have equal bytes, so a digest or signature over them means
 * the same everywhere. Keys are sorted by UTF-16 code units, numbers and strings are written as ECMAScript
 * writes them (RFC 8785 §3.2.2), and nothing that JSON cannot hold is dropped or converted: it is refused.
 *
 * The encoder keeps to the RFC and no more: `-0` becomes `0`, U+0000 is escaped, integers beyond 2^53−1
 * are written as their double. What Holdfast records is narrower; `assertIJson` in `json.ts` says how.
 */
import { type Bytes, utf8 } from "./bytes.ts";
import { limits } from "./limits.ts";
import { isPlainContainer, type PlainRules, plainRefusal } from "./plain.ts";

const rules: PlainRules = {
  text: (text) => (text.isWellFormed() ? undefined : "json_lone_surrogate"),
  number: (value) => (Number.isFinite(value) ? undefined : "json_unsafe_number"),
  cycle: "json_not_plain",
};

/** Keys in place, by UTF-16 code units: insertion sort, because headers have few and often sorted keys. */
function sortKeys(keys: string[]): string[] {
  if (keys.length > 24) return keys.sort();
  for (let i = 1; i < keys.length; i++) {
    const key = keys[i] as string;
    let j = i - 1;
    while (j >= 0 && (keys[j] as string) > key) {
      keys[j + 1] = keys[j] as string;
      j--;
    }
    keys[j + 1] = key;
  }
  return keys;
}

/** `"key":` of recent keys: payloads and headers repeat theirs. */
const quotedKeys = new Map<string, string>();
const quotedKeysMax = 1_024;
const quotedCharactersMax = 64;

/** `undefined` for a key without UTF-8 form. */
function quoteKey(key: string): string | undefined {
  const known = quotedKeys.get(key);
  if (known !== undefined) return known;
  if (!key.isWellFormed()) return undefined;
  const quoted = `${JSON.stringify(key)}:`;
  if (key.length > quotedCharactersMax) return quoted;
  if (quotedKeys.size >= quotedKeysMax) quotedKeys.clear();
  quotedKeys.set(key, quoted);
  return quoted;
}

function encodeArray(value: readonly unknown[], depth: number): string | undefined {
  let out = "[";
  for (let i = 0; i < value.length; i++) {
    const item = encode(value[i], depth);
    if (item === undefined) return undefined;
    out += i === 0 ? item : `,${item}`;
  }
  return `${out}]`;
}

function encodeObject(value: Readonly<Record<string, unknown>>, depth: number): string | undefined {
  const keys = sortKeys(Object.keys(value));
  let out = "{";
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as string;
    const quoted = quoteKey(key);
    const member = quoted === undefined ? undefined : encode(value[key], depth);
    if (quoted === undefined || member === undefined) return undefined;
    if (i > 0) out += ",";
    out += quoted;
    out += member;
  }
  return `${out}}`;
}

/** `undefined` = refused somewhere inside; the slow walk then finds the place. */
function encode(value: unknown, depth: number): string | undefined {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? JSON.stringify(value) : undefined;
    case "number":
      return Number.isFinite(value) ? String(value) : undefined;
    case "boolean":
      return value ? "true" : "false";
    case "object": {
      if (value === null) return "null";
      if (depth >= limits.jsonDepthMax || !isPlainContainer(value)) return undefined;
      return Array.isArray(value)
        ? encodeArray(value, depth + 1)
        : encodeObject(value as Readonly<Record<string, unknown>>, depth + 1);
    }
    case "undefined":
    case "function":
    case "bigint":
    case "symbol":
    default:
      return undefined;
  }
}

/**
 * Canonical text of a plain value (RFC 8785).
 *
 * Throws, with `path` (JSON Pointer, RFC 6901) in the details: `json_lone_surrogate` for a string or key
 * without UTF-8 form (for a key: the path of its object), `json_unsafe_number` for NaN and infinities,
 * `json_not_plain` for undefined, functions, bigints, symbols, class instances, array holes and cycles,
 * `json_too_deep` beyond `jsonDepthMax`.
 */
export function canonicalJson(value: unknown): string {
  const text = encode(value, 0);
  if (text === undefined) throw plainRefusal(value, rules);
  return text;
}

/** UTF-8 bytes of {@link canonicalJson}; the same error codes. */
export function canonicalBytes(value: unknown): Bytes {
  return utf8(canonicalJson(value));
}
