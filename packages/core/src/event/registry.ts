/**
 * The event-type registry: which types exist, how their payloads are validated, and how older payloads are
 * read.
 *
 * A type's name is permanent. Its payload shape has a **schema version**; an **upcaster** lifts a payload
 * from one version to the next when it is read, and stored bytes are never rewritten. Fields that an older
 * payload lacks get their defaults from the schema. A type that the registry does not know is kept,
 * forwarded and shown, and projections skip it.
 *
 * @example
 * ```ts
 * import { createRegistry, defineEvent } from "@holdfast/core";
 * import { z } from "zod";
 *
 * const reading = defineEvent({
 *   type: "TemperatureMeasured",
 *   version: 2,
 *   concurrency: "independent",
 *   schema: z.object({ celsius: z.number(), site: z.string().default("ear") }),
 *   upcasters: { 1: (old) => ({ celsius: (Number((old as { fahrenheit: number }).fahrenheit) - 32) / 1.8 }) },
 * });
 * const registry = createRegistry([reading]);
 * console.log(registry.read("TemperatureMeasured", 1, { fahrenheit: 98.6 }));
 * ```
 */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Header } from "./event.ts";

/** `exclusive`: two concurrent events on a stream conflict. `independent`: they commute (measurements). */
export type Concurrency = "exclusive" | "independent";

/** A pure function from one payload shape to the next. */
export type Upcaster = (payload: unknown) => unknown;

/** One side of a conflict, as a custom strategy sees it. */
export interface ConflictSide {
  readonly leaf: string;
  readonly header: Header;
  /** At the type's current schema version. */
  readonly payload: unknown;
}

/**
 * Settles conflicts by a rule of the application's own. Every replica must come to the same choice, so
 * `resolve` depends on its argument alone; the sides come sorted by leaf, whatever the order of arrival.
 */
export interface CustomStrategy {
  /** Part of the registry's digest: another rule needs another name. */
  readonly name: string;
  /**
   * Index of the winner; `undefined` leaves the conflict to a person. So does anything thrown, an index
   * outside the list, and a side that cannot be opened (then it is not called).
   */
  resolve(sides: readonly ConflictSide[]): number | undefined;
}

/**
 * How concurrent events on a stream are settled. `manual`: open until a resolution names the sides.
 * `last-writer`: at once; the last in canonical order wins.
 */
export type ConflictStrategy = "manual" | "last-writer" | CustomStrategy;

/** A declared event type; {@link defineEvent} makes it. */
export interface EventType<Payload = unknown> {
  readonly type: string;
  /** Current schema version, from 1. */
  readonly version: number;
  readonly concurrency: Concurrency;
  readonly schema: StandardSchemaV1<unknown, Payload>;
  /** From each former version to the next. */
  readonly upcasters: Readonly<Record<number, Upcaster>>;
  /**
   * Section → top-level payload fields that belong into it; the rest is in `content`. A section is encrypted
   * under a key of its own and can be granted and shredded by itself.
   */
  readonly sections: Readonly<Record<string, readonly string[]>>;
  /** `json`: the payload is recorded as canonical JSON. `text`: the draft's exact text is recorded. */
  readonly encoding: "json" | "text";
  /** How concurrent events on a stream are settled. */
  readonly strategy: ConflictStrategy;
}

/** What {@link defineEvent} takes: all but type and schema has a default. */
export interface EventTypeDefinition<Payload> {
  readonly type: string;
  readonly schema: StandardSchemaV1<unknown, Payload>;
  readonly version?: number;
  readonly concurrency?: Concurrency;
  readonly upcasters?: Readonly<Record<number, Upcaster>>;
  readonly sections?: Readonly<Record<string, readonly string[]>>;
  readonly encoding?: "json" | "text";
  readonly strategy?: ConflictStrategy;
}

const builtIn: ReadonlySet<string> = new Set(["manual", "last-writer"]);
const namePattern = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** Is this a legal name of an event type, a section, a role or a reason code? */
export function isName(text: string): boolean {
  return text.length <= limits.nameBytesMax && namePattern.test(text);
}

/**
 * Declares an event type; `schema` is any Standard Schema (zod, valibot, arktype …) that validates
 * synchronously. Throws `event_type_invalid` when the declaration contradicts itself.
 */
export function defineEvent<Payload>(definition: EventTypeDefinition<Payload>): EventType<Payload> {
  const version = definition.version ?? 1;
  const upcasters = definition.upcasters ?? {};
  const sections = definition.sections ?? {};
  const refuse = (reason: string): never => {
    throw new HoldfastError("event_type_invalid", { type: definition.type.slice(0, 128), reason });
  };
  if (!isName(definition.type)) refuse("name");
  if (!Number.isSafeInteger(version) || version < 1) refuse("version");
  for (let from = 1; from < version; from++) {
    if (upcasters[from] === undefined) refuse(`no upcaster from version ${from}`);
  }
  if (Object.keys(upcasters).some((from) => Number(from) < 1 || Number(from) >= version)) {
    refuse("an upcaster leads nowhere");
  }
  if (Object.keys(sections).length >= limits.eventSectionsMax) refuse("too many sections");
  for (const name of Object.keys(sections)) {
    if (!isName(name) || name === contentSection || name === "blob") refuse(`section ${name}`);
  }
  if (!isStrategy(definition.strategy ?? "manual")) refuse("strategy");
  const fields = Object.values(sections).flat();
  if (new Set(fields).size !== fields.length) refuse("a field stands in two sections");
  return {
    type: definition.type,
    version,
    concurrency: definition.concurrency ?? "exclusive",
    schema: definition.schema,
    upcasters,
    sections,
    encoding: definition.encoding ?? "json",
    strategy: definition.strategy ?? "manual",
  };
}

function isStrategy(strategy: ConflictStrategy): boolean {
  if (strategy === "manual" || strategy === "last-writer") return true;
  return typeof strategy === "object" && isName(strategy.name) && !builtIn.has(strategy.name);
}

/** The section that holds all payload fields without a section of their own, and what is said in words. */
export const contentSection = "content";

/** A payload read through the registry. */
export interface ReadPayload {
  readonly known: boolean;
  readonly version: number;
  readonly payload: unknown;
}

/** The event types that an application knows; {@link createRegistry} makes it. */
export interface Registry {
  /** The declared types, by name. */
  readonly types: ReadonlyMap<string, EventType>;
  /**
   * Checks a draft's payload against the type's current schema and returns what is to be recorded. Throws
   * `event_type_unknown`, `payload_invalid` (with the path of the first issue).
   */
  validate(type: string, payload: unknown): unknown;
  /**
   * Lifts a recorded payload to the current version. An unknown type or a newer version comes back as it is,
   * `known: false`. Throws `payload_unreadable` when an upcaster or the schema refuses it.
   */
  read(type: string, version: number, payload: unknown): ReadPayload;
  /** What the registry depends on, as JSON: the digest of it is part of every projection's version. */
  describe(): readonly unknown[];
}

/** Builds the registry. Throws `event_type_duplicate` when two declarations share a name. */
export function createRegistry(declared: readonly EventType[]): Registry {
  const types = new Map<string, EventType>();
  for (const type of declared) {
    if (types.has(type.type)) throw new HoldfastError("event_type_duplicate", { type: type.type });
    types.set(type.type, type);
  }
  return {
    types,
    validate(name, payload) {
      const type = types.get(name);
      if (type === undefined)
        throw new HoldfastError("event_type_unknown", { type: name.slice(0, 128) });
      return checked(type, payload, "payload_invalid");
    },
    read(name, version, payload) {
      const type = types.get(name);
      if (type === undefined || version > type.version) return { known: false, version, payload };
      return { known: true, version: type.version, payload: lifted(type, version, payload) };
    },
    describe: () =>
      [...types.values()]
        .map(({ type, version, concurrency, sections, encoding, strategy }) => {
          const named = typeof strategy === "string" ? strategy : strategy.name;
          return { type, version, concurrency, sections, encoding, strategy: named };
        })
        .toSorted((a, b) => (a.type < b.type ? -1 : 1)),
  };
}

function lifted(type: EventType, from: number, payload: unknown): unknown {
  let current = payload;
  for (let version = from; version < type.version; version++) {
    const upcast = type.upcasters[version];
    invariant(
      upcast !== undefined,
      "defineEvent checked that every former version has an upcaster",
    );
    try {
      current = upcast(current);
    } catch (cause) {
      throw new HoldfastError("payload_unreadable", { type: type.type, version }, { cause });
    }
  }
  return checked(type, current, "payload_unreadable");
}

function checked(
  type: EventType,
  payload: unknown,
  code: "payload_invalid" | "payload_unreadable",
): unknown {
  const result = type.schema["~standard"].validate(payload);
  if (result instanceof Promise) {
    throw new HoldfastError("event_type_invalid", {
      type: type.type,
      reason: "asynchronous schema",
    });
  }
  if (result.issues === undefined) return result.value;
  const [first] = result.issues;
  const path = (first?.path ?? []).map((step) =>
    String(typeof step === "object" ? step.key : step),
  );
  throw new HoldfastError(code, {
    type: type.type,
    path: path.map((step) => `/${step.replaceAll("~", "~0").replaceAll("/", "~1")}`).join(""),
    issues: result.issues.length,
  });
}
