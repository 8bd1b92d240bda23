/**
 * Requests made up from the published document: each is right for its route, then one or a few things about it are
 * made wrong. One seed makes the same requests again.
 */
import { gzipSync, zstdCompressSync } from "node:zlib";
import { encodePush } from "@holdfast/core";
import type { Chance, PushingDevice } from "@holdfast/testkit";

/** One request, as it goes over the socket. */
export interface MadeRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Uint8Array | undefined;
  /** Bytes that the headers promise; default: those of the body. */
  readonly promised: number | undefined;
}

type Node = Readonly<Record<string, unknown>>;

interface Sources {
  readonly document: Node;
  /** Ids and digests that mean something to the server. */
  readonly words: readonly string[];
}

/** A value that the schema allows; enough of JSON Schema for our own document. */
function valueOf(sources: Sources, schema: Node, chance: Chance, depth = 0): unknown {
  const { document } = sources;
  const reference = schema["$ref"];
  if (typeof reference === "string") {
    const name = reference.replace(/^.*\//, "");
    const schemas = (document["components"] as { schemas: Record<string, Node> }).schemas;
    return valueOf(sources, schemas[name] as Node, chance, depth);
  }
  if ("const" in schema) return schema["const"];
  const choices = (schema["enum"] ?? schema["oneOf"] ?? schema["anyOf"]) as unknown[] | undefined;
  if (choices !== undefined) {
    const one = chance.pick(choices);
    return schema["enum"] === undefined ? valueOf(sources, one as Node, chance, depth) : one;
  }
  const type = Array.isArray(schema["type"])
    ? chance.pick(schema["type"] as unknown[])
    : schema["type"];
  if (type === "object") return objectOf(sources, schema, chance, depth);
  if (type === "array") {
    const prefix = schema["prefixItems"] as Node[] | undefined;
    if (prefix !== undefined)
      return prefix.map((item) => valueOf(sources, item, chance, depth + 1));
    const count = depth > 3 ? 0 : chance.integer(4);
    const items = (schema["items"] ?? {}) as Node;
    return Array.from({ length: count }, () => valueOf(sources, items, chance, depth + 1));
  }
  if (type === "integer" || type === "number")
    return chance.pick([0, 1, 2, 7, 100, 65_536, 2 ** 53 - 1]);
  if (type === "boolean") return chance.oneIn(2);
  if (type === "null") return null;
  return textOf(sources, schema, chance);
}

function objectOf(sources: Sources, schema: Node, chance: Chance, depth: number): unknown {
  const properties = (schema["properties"] ?? {}) as Record<string, Node>;
  const required = new Set((schema["required"] ?? []) as string[]);
  const entries = Object.entries(properties)
    .filter(([name]) => required.has(name) || chance.oneIn(2))
    .map(([name, of]) => [name, valueOf(sources, of, chance, depth + 1)] as const);
  return Object.fromEntries(entries);
}

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function textOf({ words }: Sources, { pattern, format }: Node, chance: Chance): string {
  if (format === "date-time") return "2026-01-01T00:00:30.000Z";
  const form = typeof pattern === "string" ? pattern : "";
  const known = words.filter((text) => new RegExp(form, "u").test(text));
  if (known.length > 0 && !chance.oneIn(3)) return chance.pick(known);
  const length = Number(/\{(\d+)\}/.exec(form)?.[1] ?? chance.integer(30));
  const alphabet = form.includes("0-9a-f") && !form.includes("A-Z") ? "0123456789abcdef" : letters;
  return Array.from({ length }, () => alphabet[chance.integer(alphabet.length)]).join("");
}

const oddValues: readonly unknown[] = [
  null,
  true,
  -1,
  0.5,
  1e308,
  2 ** 53,
  -0,
  "",
  "x",
  "'; DROP TABLE events; --",
  "../../etc/passwd",
  "\u0000",
  "\u202E\u2028",
  "%00%0d%0aX: 1",
  "a".repeat(5_000),
  [],
  {},
  [[[[[[[[]]]]]]]],
  { $ref: "#/" },
  { toString: 1, constructor: { prototype: 1 } },
];

/** The value with one part of it made something else, left out or doubled. */
function spoiled(value: unknown, chance: Chance): unknown {
  if (typeof value !== "object" || value === null || chance.oneIn(6)) return chance.pick(oddValues);
  if (Array.isArray(value)) {
    if (value.length === 0 || chance.oneIn(4)) {
      return Array.from(
        { length: chance.pick([1, 300, 2_000]) },
        () => (value[0] as unknown) ?? "x",
      );
    }
    const at = chance.integer(value.length);
    return value.map((each: unknown, place) => (place === at ? spoiled(each, chance) : each));
  }
  const entries = Object.entries(value);
  const at = chance.integer(entries.length + 1);
  if (at === entries.length)
    return { ...value, [chance.pick(["role", "tenant", "__proto", "x"])]: 1 };
  if (chance.oneIn(4)) return Object.fromEntries(entries.filter((_, place) => place !== at));
  return Object.fromEntries(
    entries.map(([name, each], place) => [name, place === at ? spoiled(each, chance) : each]),
  );
}

/** Bytes with something wrong: cut, changed, filled up, doubled. */
function spoiledBytes(bytes: Uint8Array, chance: Chance): Uint8Array {
  const changed = Uint8Array.from(bytes);
  switch (chance.integer(6)) {
    case 0:
      return changed.subarray(0, chance.integer(changed.length + 1));
    case 1:
      return Buffer.concat([changed, chance.bytes(1 + chance.integer(40))]);
    case 2:
      return Buffer.concat([changed, changed]);
    case 3:
      return chance.bytes(chance.integer(400));
    default: {
      const times = 1 + chance.integer(8);
      for (let i = 0; i < times && changed.length > 0; i++) {
        changed[chance.integer(changed.length)] = chance.integer(256);
      }
      return changed;
    }
  }
}

/** The text with a member twice, a comma more, another encoding, or as it is. */
function spoiledText(text: string, chance: Chance): Uint8Array {
  switch (chance.integer(8)) {
    case 0:
      return Buffer.from(text.replace(/^\{"([^"]+)":/, '{"$1":1,"$1":'));
    case 1:
      return Buffer.from(`\uFEFF${text}`);
    case 2:
      return Buffer.from(text, "utf16le");
    case 3:
      return Buffer.from(`${text},`);
    case 4:
      return spoiledBytes(Buffer.from(text), chance);
    default:
      return Buffer.from(text);
  }
}

const types = [
  "application/json",
  "application/json;charset=utf-16",
  "application/x-www-form-urlencoded",
  "application/vnd.holdfast.push",
  "text/plain",
  "multipart/form-data; boundary=x",
  "*/*",
  "",
];
const encodings = ["identity", "gzip", "zstd", "br", "deflate", "gzip, gzip", "x".repeat(200)];
const oddHeaders: readonly (readonly [string, string | readonly string[]])[] = [
  ["accept-encoding", "gzip;q=zz, *;q=9"],
  ["accept-encoding", "zstd"],
  ["accept", "x/y"],
  ["x-http-method-override", "DELETE"],
  ["x-forwarded-for", "10.0.0.1"],
  ["forwarded", "for=10.0.0.1"],
  ["range", "bytes=0-1"],
  ["if-none-match", "*"],
  ["expect", "what"],
  ["upgrade", "websocket"],
  ["transfer-encoding", "gzip, chunked"],
  ["cookie", "a=b"],
  ["x-long", "a".repeat(9_000)],
  ["x-latin", "\u00e9\u00ff"],
  ["host", "a.b:99999"],
  ["host", "[::1"],
  ["host", "x/y@z"],
  ["authorization", ["Bearer a.b.c", "Bearer d.e.f"]],
];

function written(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What requests are made from. */
export interface RequestSources {
  readonly document: Node;
  readonly device: PushingDevice;
  readonly tokens: readonly (string | undefined)[];
  readonly words: readonly string[];
}

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly { readonly name: string; readonly schema: Node }[];
  readonly type: string | undefined;
  readonly schema: Node | undefined;
}

function operations(document: Node): readonly Operation[] {
  return Object.entries(document["paths"] as Record<string, Record<string, Node>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, operation]): Operation => {
        const body = operation["requestBody"] as { content: Record<string, Node> } | undefined;
        const [type, content] = Object.entries(body?.content ?? {})[0] ?? [];
        const schema = (content?.["x-holdfast-control"] ?? content?.["schema"]) as Node | undefined;
        const parameters = (operation["parameters"] ?? []) as Operation["parameters"];
        return { method: method.toUpperCase(), path, parameters, type, schema };
      }),
  );
}

const faults = ["value", "text", "path", "query", "type", "encoding", "header", "method", "length"];

/** The next request, from chance. */
export function createRequests({ document, device, tokens, words }: RequestSources) {
  const all = operations(document);
  const push = encodePush(device.push(0));

  function bodyOf({ type, schema }: Operation, wrong: Wrong, chance: Chance) {
    if (type === undefined || schema === undefined) {
      return wrong("text") ? chance.bytes(50) : undefined;
    }
    if (type.startsWith("application/vnd.holdfast.push")) {
      return wrong("value") || wrong("text") ? spoiledBytes(push, chance) : push;
    }
    const right = valueOf({ document, words }, schema, chance);
    const value = wrong("value") ? spoiled(right, chance) : right;
    const text =
      type === "application/x-www-form-urlencoded" ? formOf(value) : JSON.stringify(value);
    return wrong("text") ? spoiledText(text, chance) : Buffer.from(text);
  }

  function pathOf({ path, parameters }: Operation, wrong: Wrong, chance: Chance): string {
    const given = new URLSearchParams();
    for (const { name, schema } of parameters) {
      const value = wrong("query")
        ? chance.pick(oddValues)
        : valueOf({ document, words }, schema, chance);
      given.append(name, written(value));
    }
    if (wrong("query") && chance.oneIn(2)) {
      given.append(chance.pick(["x", "after", "limit", "size"]), "1");
    }
    const where = wrong("path")
      ? chance.pick([`${path}/`, `/${path}`, path.toUpperCase(), `${path}/../x`, `${path}%00`, "/"])
      : path;
    const query = given.toString();
    return query === "" ? where : `${where}?${query}`;
  }

  return (chance: Chance): MadeRequest => {
    const operation = chance.pick(all);
    const chosen = new Set(chance.shuffle(faults).slice(0, chance.integer(3)));
    const wrong: Wrong = (what) => chosen.has(what);
    const token = chance.pick(tokens);
    const raw = bodyOf(operation, wrong, chance);
    const headers: Record<string, string | readonly string[]> = {};
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    const type = wrong("type") ? chance.pick(types) : operation.type;
    if (raw !== undefined && type !== undefined && type !== "") headers["content-type"] = type;
    let body = raw;
    if (raw !== undefined && wrong("encoding")) {
      const encoding = chance.pick(encodings);
      headers["content-encoding"] = encoding;
      if (encoding === "gzip" && !chance.oneIn(3)) body = gzipSync(raw);
      if (encoding === "zstd" && !chance.oneIn(3)) body = zstdCompressSync(raw);
    }
    if (wrong("header")) {
      const [name, value] = chance.pick(oddHeaders);
      headers[name] = value;
    }
    const method = wrong("method") ? chance.pick(methods) : operation.method;
    // Shorter than promised, a body never ends by itself: the connection is closed behind it.
    const short = body !== undefined && wrong("length") && chance.oneIn(4);
    const promised = short ? (body?.length ?? 0) + 1 + chance.integer(9) : undefined;
    return { method, path: pathOf(operation, wrong, chance), headers, body, promised };
  };
}

const methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"];
type Wrong = (what: string) => boolean;

function formOf(value: unknown): string {
  const form = new URLSearchParams();
  const members = typeof value === "object" && value !== null ? Object.entries(value) : [];
  for (const [name, each] of members) form.append(name, written(each));
  return form.toString();
}
