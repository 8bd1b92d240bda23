/**
 * JSON from outside, read strictly: I-JSON (RFC 7493), so that every reader sees the same value. Refused
 * are duplicate keys, lone surrogates, numbers that a double would change into another value, and what
 * harms readers further on: U+0000, the key `__proto__`, deep nesting, a byte order mark.
 *
 * `parseJson` reads text in one pass and linear time; `parseJsonLocated` also tells where chosen values
 * stand, so that their original text (and the precision of its decimals) can be kept; `assertIJson` holds
 * a JavaScript value to the same rules. Offsets count UTF-16 code units of the (decoded) text from 0.
 */
import { fromUtf8 } from "./bytes.ts";
import { type ErrorCode, HoldfastError } from "./errors.ts";
import { limits } from "./limits.ts";
import {
  detailPointer,
  isPlainContainer,
  type JsonPath,
  jsonPointer,
  type PlainRules,
  plainRefusal,
} from "./plain.ts";

/** What JSON can say; the type of everything that {@link parseJson} returns. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Half-open range of UTF-16 code units: `text.slice(start, end)` is the value's own text. */
export interface JsonSpan {
  readonly start: number;
  readonly end: number;
}

/** A parsed value, the text it was read from, and where the wanted values stand, by JSON Pointer. */
export interface LocatedJson {
  readonly value: JsonValue;
  readonly text: string;
  readonly spans: ReadonlyMap<string, JsonSpan>;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;

/** What one character after a backslash stands for; `u` is read apart. */
const escapes: Readonly<Record<string, string>> = {
  '"': '"',
  "\\": "\\",
  "/": "/",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
};

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE;
}

/** Offset of the first half of a pair that stands alone, in text that is known to hold one. */
function loneSurrogate(text: string): number {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0xd800 || code > 0xdfff) continue;
    const next = text.charCodeAt(i + 1);
    if (code > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) return i;
    i++;
  }
  return text.length;
}

/** One reading of one text. */
class Reader {
  readonly text: string;
  readonly spans = new Map<string, JsonSpan>();
  readonly #wellFormed: boolean;
  readonly #wanted: ((path: JsonPath) => boolean) | undefined;
  /** Steps to the value being read; its length is the nesting depth. */
  readonly #path: (string | number)[] = [];
  #at = 0;

  constructor(text: string, wanted?: (path: JsonPath) => boolean) {
    this.text = text;
    this.#wellFormed = text.isWellFormed();
    this.#wanted = wanted;
  }

  read(): JsonValue {
    const value = this.#value(this.#skip());
    if (!Number.isNaN(this.#skip())) this.#refuse("json_malformed", this.#at);
    return value;
  }

  #refuse(code: ErrorCode, offset: number): never {
    throw new HoldfastError(code, { path: detailPointer(this.#path), offset });
  }

  /** Step over white space; the code of the character there, NaN at the end. */
  #skip(): number {
    const { text } = this;
    for (;;) {
      const code = text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return code;
      this.#at++;
    }
  }

  #value(code: number): JsonValue {
    const wanted = this.#wanted;
    if (wanted === undefined) return this.#anyValue(code);
    const isWanted = wanted(this.#path);
    const start = this.#at;
    const value = this.#anyValue(code);
    if (isWanted) this.spans.set(jsonPointer(this.#path), { start, end: this.#at });
    return value;
  }

  #anyValue(code: number): JsonValue {
    switch (code) {
      case QUOTE:
        return this.#string();
      case 0x7b:
        return this.#object();
      case 0x5b:
        return this.#array();
      case 0x74:
        return this.#word("true", true);
      case 0x66:
        return this.#word("false", false);
      case 0x6e:
        return this.#word("null", null);
      default:
        return this.#number(code);
    }
  }

  #word<T extends JsonValue>(word: string, value: T): T {
    const { text } = this;
    for (let i = 1; i < word.length; i++)
      if (text.charCodeAt(this.#at + i) !== word.charCodeAt(i))
        this.#refuse("json_malformed", this.#at + i);
    this.#at += word.length;
    return value;
  }

  /** Step into a container; the character after its bracket. */
  #enter(): number {
    if (this.#path.length >= limits.jsonDepthMax) this.#refuse("json_too_deep", this.#at);
    this.#at++;
    return this.#skip();
  }

  #array(): JsonValue {
    const out: JsonValue[] = [];
    let code = this.#enter();
    if (code === 0x5d) {
      this.#at++;
      return out;
    }
    const path = this.#path;
    const level = path.push(0) - 1;
    for (;;) {
      path[level] = out.length;
      out.push(this.#value(code));
      code = this.#skip();
      if (code === COMMA) {
        this.#at++;
        code = this.#skip();
        continue;
      }
      path.pop();
      if (code !== 0x5d) this.#refuse("json_malformed", this.#at);
      this.#at++;
      return out;
    }
  }

  #object(): JsonValue {
    const out: Record<string, JsonValue> = {};
    let code = this.#enter();
    if (code === 0x7d) {
      this.#at++;
      return out;
    }
    const path = this.#path;
    for (;;) {
      const keyAt = this.#at;
      if (code !== QUOTE) this.#refuse("json_malformed", keyAt);
      const key = this.#string();
      path.push(key);
      if (key === "__proto__") this.#refuse("json_forbidden_key", keyAt);
      // No parsed value is undefined, so only inherited names need the slower question.
      if (out[key] !== undefined && Object.hasOwn(out, key))
        this.#refuse("json_duplicate_key", keyAt);
      if (this.#skip() !== 0x3a) this.#refuse("json_malformed", this.#at);
      this.#at++;
      out[key] = this.#value(this.#skip());
      path.pop();
      code = this.#skip();
      if (code === COMMA) {
        this.#at++;
        code = this.#skip();
        continue;
      }
      if (code !== 0x7d) this.#refuse("json_malformed", this.#at);
      this.#at++;
      return out;
    }
  }

  /** From the opening quote to behind the closing one. */
  #string(): string {
    const { text } = this;
    let at = this.#at + 1;
    for (;;) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        const out = this.#raw(this.#at + 1, at);
        this.#at = at + 1;
        return out;
      }
      if (code === BACKSLASH) return this.#escapedString(at);
      if (!(code >= 0x20)) this.#refuse("json_malformed", Math.min(at, text.length));
      at++;
    }
  }

  /** Text as it stands. A pair is never split between raw text and an escape, so pieces are judged alone. */
  #raw(start: number, end: number): string {
    const piece = this.text.slice(start, end);
    if (!this.#wellFormed && !piece.isWellFormed())
      this.#refuse("json_lone_surrogate", start + loneSurrogate(piece));
    return piece;
  }

  /** A string whose first backslash stands at `at`. */
  #escapedString(at: number): string {
    const { text } = this;
    let out = this.#raw(this.#at + 1, at);
    for (;;) {
      // `at` is on a backslash.
      const letter = text.charAt(at + 1);
      if (letter === "u") {
        const code = this.#hex4(at + 2);
        if (code === 0) this.#refuse("json_nul", at);
        out += String.fromCharCode(code);
        if (code >= 0xd800 && code <= 0xdfff) {
          const isPair =
            code <= 0xdbff && text.charAt(at + 6) === "\\" && text.charAt(at + 7) === "u";
          const low = isPair ? this.#hex4(at + 8) : 0;
          if (low < 0xdc00 || low > 0xdfff) this.#refuse("json_lone_surrogate", at);
          out += String.fromCharCode(low);
          at += 6;
        }
        at += 6;
      } else {
        const meaning = Object.hasOwn(escapes, letter) ? escapes[letter] : undefined;
        if (meaning === undefined) this.#refuse("json_malformed", Math.min(at + 1, text.length));
        out += meaning;
        at += 2;
      }
      const start = at;
      let code = text.charCodeAt(at);
      while (code >= 0x20 && code !== QUOTE && code !== BACKSLASH) code = text.charCodeAt(++at);
      if (at > start) out += this.#raw(start, at);
      if (code === BACKSLASH) continue;
      if (code !== QUOTE) this.#refuse("json_malformed", Math.min(at, text.length));
      this.#at = at + 1;
      return out;
    }
  }

  #hex4(at: number): number {
    let value = 0;
    for (let i = at; i < at + 4; i++) {
      const code = this.text.charCodeAt(i);
      const letter = code | 0x20;
      if (isDigit(code)) value = value * 16 + code - ZERO;
      else if (letter >= 0x61 && letter <= 0x66) value = value * 16 + letter - 0x57;
      else this.#refuse("json_malformed", Math.min(i, this.text.length));
    }
    return value;
  }

  /** Digits from `at`, at least one; the offset behind them. */
  #digits(at: number): number {
    const { text } = this;
    if (!isDigit(text.charCodeAt(at))) this.#refuse("json_malformed", Math.min(at, text.length));
    do at++;
    while (isDigit(text.charCodeAt(at)));
    return at;
  }

  #number(first: number): number {
    const { text } = this;
    const start = this.#at;
    let at = first === MINUS ? start + 1 : start;
    at = text.charCodeAt(at) === ZERO ? at + 1 : this.#digits(at);
    if (text.charCodeAt(at) === POINT) at = this.#digits(at + 1);
    if ((text.charCodeAt(at) | 0x20) === 0x65) {
      const sign = text.charCodeAt(at + 1);
      at = this.#digits(sign === 0x2b || sign === MINUS ? at + 2 : at + 1);
    }
    const literal = text.slice(start, at);
    const value = Number(literal);
    const changed =
      value === 0 ? first === MINUS || /^[^eE]*[1-9]/.test(literal) : isUnsafeNumber(value);
    if (changed) this.#refuse("json_unsafe_number", start);
    this.#at = at;
    return value;
  }
}

/** Not finite, negative zero, or an integer beyond ±(2^53−1). */
function isUnsafeNumber(value: number): boolean {
  return value === 0
    ? Object.is(value, -0)
    : !Number.isFinite(value) || (!Number.isSafeInteger(value) && Number.isInteger(value));
}

/** The text to read, within the limit. */
function checkedText(input: string | Uint8Array): string {
  const max = limits.jsonTextBytesMax;
  if (typeof input !== "string") {
    if (input.length > max) throw new HoldfastError("json_too_large", { bytes: input.length, max });
    return fromUtf8(input);
  }
  // One code unit is one to three bytes: most texts need no counting.
  if (input.length * 3 <= max) return input;
  const bytes = utf8Length(input);
  if (bytes > max) throw new HoldfastError("json_too_large", { bytes, max });
  return input;
}

function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    // A pair is four bytes from two code units, so either half adds one.
    if (code > 0x7f) bytes += code > 0x7ff && (code < 0xd800 || code > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/**
 * Value of one I-JSON text (RFC 8259, RFC 7493), given as a string or as UTF-8 bytes. Objects are ordinary
 * objects in which `constructor` and the like are own keys as any other.
 *
 * Throws, with `path` (JSON Pointer) and `offset` (UTF-16 code units): `json_malformed`,
 * `json_duplicate_key`, `json_too_deep` (`jsonDepthMax`), `json_lone_surrogate`, `json_nul`,
 * `json_unsafe_number` (not finite, −0, a non-zero literal that becomes 0, an integer beyond 2^53−1),
 * `json_forbidden_key`; without them `json_too_large` (`jsonTextBytesMax`) and `utf8_malformed`. For a
 * string that is a key, the path is that of its object until the key is read.
 */
export function parseJson(input: string | Uint8Array): JsonValue {
  return new Reader(checkedText(input)).read();
}

/**
 * {@link parseJson}, and where the wanted values stand in the text: slice `text` with a span and the value
 * is had as it was written, trailing zeros of decimals included.
 *
 * `wanted` is asked once for every value, outer before inner; the path it gets is valid during the call.
 */
export function parseJsonLocated(
  input: string | Uint8Array,
  wanted: (path: JsonPath) => boolean,
): LocatedJson {
  const reader = new Reader(checkedText(input), wanted);
  const value = reader.read();
  return { value, text: reader.text, spans: reader.spans };
}

const rules: PlainRules = {
  text: textProblem,
  number: (value) => (isUnsafeNumber(value) ? "json_unsafe_number" : undefined),
  cycle: "json_too_deep",
};

function textProblem(text: string, role: "key" | "value"): ErrorCode | undefined {
  if (!text.isWellFormed()) return "json_lone_surrogate";
  if (text.includes("\0")) return "json_nul";
  return role === "key" && text === "__proto__" ? "json_forbidden_key" : undefined;
}

function isIJson(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() && !value.includes("\0");
    case "number":
      return !isUnsafeNumber(value);
    case "boolean":
      return true;
    case "object":
      return value === null || (depth < limits.jsonDepthMax && isIJsonContainer(value, depth + 1));
    case "undefined":
    case "function":
    case "bigint":
    case "symbol":
    default:
      return false;
  }
}

function isIJsonContainer(value: object, depth: number): boolean {
  if (!isPlainContainer(value)) return false;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isIJson(value[i], depth)) return false;
    return true;
  }
  const members = value as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(members)) {
    if (!key.isWellFormed() || key.includes("\0") || key === "__proto__") return false;
    if (!isIJson(members[key], depth)) return false;
  }
  return true;
}

/**
 * Holds a JavaScript value to the rules of {@link parseJson}: what passes is written as JSON and read
 * back unchanged. Throws the same codes with `path`, and `json_not_plain` for what JSON cannot say;
 * a cycle is `json_too_deep`.
 */
export function assertIJson(value: unknown): asserts value is JsonValue {
  if (!isIJson(value, 0)) throw plainRefusal(value, rules);
}
