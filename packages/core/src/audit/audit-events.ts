/**
 * Audit events: who did what to keys, backups and leases, and which starts were refused, when and why (21 CFR 11.10(e)).
 * They are sealed events like any other, in the device's own stream and scope: what they say is in a section,
 * which auditors are granted. Each kind has a closed schema of words, counts and ids: nobody's name, nothing
 * personal, no key. Who and why stand in the header (`act`, `why`); a reason in words is in the section.
 */
import { HoldfastError } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Operation } from "../event/event.ts";
import { defineEvent, type EventType, isName } from "../event/registry.ts";
import { assurances } from "../keys/policy.ts";
import { providerNames } from "../keys/provider.ts";
import { rotationPhases } from "../keys/rotation.ts";

/** What is rotated. */
export const rotatedKeys = ["epoch", "provider", "data", "signing", "hpke"] as const;

type FieldValue = string | number;
type Check = (value: unknown) => boolean;

const word =
  (words: readonly string[]): Check =>
  (value) =>
    typeof value === "string" && words.includes(value);
const count: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
/** A code, a setting, a method: a name as event types have. */
const name: Check = (value) => typeof value === "string" && isName(value);
/** An id or digest in base64url or hex. */
const id: Check = (value) => typeof value === "string" && /^[A-Za-z0-9_-]{8,64}$/.test(value);
const provider = word(providerNames);

interface Kind {
  readonly op: Extract<Operation, "key" | "admin">;
  readonly means: string;
  readonly required: Readonly<Record<string, Check>>;
  readonly optional?: Readonly<Record<string, Check>>;
}

/** Every kind of audit event with its operation, its meaning and its closed schema. */
const kinds = {
  KeyRotationAdvanced: {
    op: "key",
    means: "A rotation of keys came to another phase",
    required: { key: word(rotatedKeys), phase: word(rotationPhases) },
    optional: { rotation: id, done: count, total: count },
  },
  KeyProviderFellBack: {
    op: "key",
    means: "A weaker key provider served in place of a stronger one",
    required: { from: provider, to: provider, operation: name, code: name },
  },
  KeyProviderReturned: {
    op: "key",
    means: "The provider that policy prefers serves again",
    required: { provider },
    optional: { from: provider },
  },
  KeyPolicyChanged: {
    op: "key",
    means: "Settings of key providers were applied while the store was open",
    required: { minimum: word(assurances), fallback: word(["never", "audited"]) },
  },
  RecoveryKeyAdded: {
    op: "key",
    means: "The epoch key was wrapped to a recovery key",
    required: { recovery: id },
  },
  RecoveryKeyDrilled: {
    op: "key",
    means: "A recovery key was tried and opened the keyring; nothing was changed",
    required: { recovery: id },
    optional: { signing_keys: count },
  },
  KeyringRecovered: {
    op: "key",
    means: "The store was opened with a recovery key and given a new key provider",
    required: { recovery: id, provider },
  },
  BackupMade: {
    op: "admin",
    means: "A backup was written, or a rescue bundle asked for",
    required: { of: word(["store", "rescue"]) },
    optional: { bytes: count, removed: count },
  },
  BackupRestored: {
    op: "admin",
    means: "The store was put back from a backup",
    required: { made: count, events: count },
  },
  LeaseTakenOver: {
    op: "admin",
    means: "A lease was taken over from a holder that is gone or late",
    required: { lease: word(["writer", "outbox"]) },
    optional: { entries: count },
  },
  LeaseForced: {
    op: "admin",
    means: "A lease was released by force",
    required: { lease: word(["writer", "outbox"]) },
    optional: { entries: count },
  },
  StoreCompacted: {
    op: "admin",
    means: "What the store no longer needed was taken away; the log stayed as it was",
    required: {
      bytes_before: count,
      bytes_after: count,
      builds: count,
      snapshots: count,
      letters: count,
    },
  },
  StoreEraseBegun: {
    op: "admin",
    means: "An erase of this store was begun, on a drain proof or a rescue bundle",
    required: { release: word(["drained", "rescued"]), events: count },
  },
  StoreMigrated: {
    op: "admin",
    means: "A migration of the store ended; found at the next good start",
    required: { migration: name, phase: word(["committed", "rolled-back"]), at: count },
    optional: { records: count, errors: count, duration_ms: count, code: name },
  },
  StoreSalvaged: {
    op: "admin",
    means: "A damaged store was put together again from what was left of it",
    required: { events: count, missing: count },
    optional: { recorded: count, closed: count },
  },
  StartBlocked: {
    op: "admin",
    means: "The store did not start; found at the next good start",
    required: { code: name, at: count },
  },
} as const satisfies Readonly<Record<string, Kind>>;

/** Name of a kind of audit event. */
export type AuditKind = keyof typeof kinds;
/** Every kind of audit event. */
export const auditKinds = Object.keys(kinds) as readonly AuditKind[];

type FieldsOf<Of> = Of extends { readonly required: infer Required }
  ? { readonly [Field in keyof Required]: FieldValue } & (Of extends {
      readonly optional: infer Optional;
    }
      ? { readonly [Field in keyof Optional]?: FieldValue | undefined }
      : unknown)
  : never;

/** What an audit event of a kind says: words, counts and ids. */
export type AuditFacts<Of extends AuditKind = AuditKind> = FieldsOf<(typeof kinds)[Of]>;

/** One audit event before it is sealed. */
export type AuditEntry = {
  readonly [Of in AuditKind]: {
    readonly kind: Of;
    readonly facts: AuditFacts<Of>;
    /** In words or as an id; absent: the device itself. */
    readonly actor?: string;
    /** Reason code. */
    readonly why?: string;
    /** Reason in words. */
    readonly reason?: string;
    /** UUIDv7, for an entry that may be handed over twice. */
    readonly id?: string;
  };
}[AuditKind];

/** Is that the type of an audit event? */
export function isAuditType(type: string): type is AuditKind {
  return Object.hasOwn(kinds, type);
}

/** Operation and meaning of a kind. */
export function auditKindOf(kind: AuditKind): Pick<Kind, "op" | "means"> {
  return kinds[kind];
}

/** The first fact that is not as the closed schema of its kind says; `undefined`: none. */
export function auditFault(
  kind: AuditKind,
  facts: Readonly<Record<string, unknown>>,
): string | undefined {
  const { required, optional = {} } = kinds[kind] as Kind;
  for (const [field, value] of Object.entries(facts)) {
    const check = required[field] ?? optional[field];
    if (check === undefined || !check(value)) return field;
  }
  return Object.keys(required).find((field) => !Object.hasOwn(facts, field));
}

function typeOf(kind: AuditKind): EventType {
  return defineEvent({
    type: kind,
    concurrency: "independent",
    schema: {
      "~standard": {
        version: 1,
        vendor: "holdfast",
        validate(value: unknown) {
          const isFacts = typeof value === "object" && value !== null && !Array.isArray(value);
          const fault = isFacts
            ? auditFault(kind, value as Readonly<Record<string, unknown>>)
            : "facts";
          if (fault === undefined) return { value };
          return { issues: [{ message: "not its form", path: [fault] }] };
        },
      },
    },
  });
}

/** Audit events as event types, for reading them. */
export const auditTypes: readonly EventType[] = auditKinds.map(typeOf);

/** Facts without those that are absent. Throws `draft_invalid`. */
export function checkedFacts(entry: AuditEntry): Readonly<Record<string, FieldValue>> {
  const facts = Object.fromEntries(
    Object.entries(entry.facts).filter(([, value]) => value !== undefined),
  ) as Record<string, FieldValue>;
  const fault = auditFault(entry.kind, facts);
  if (fault !== undefined) refuse(`facts/${fault}`, "not its form");
  if (entry.why !== undefined && !isName(entry.why)) refuse("why", "not a reason code");
  for (const [field, text] of [
    ["actor", entry.actor],
    ["reason", entry.reason],
  ] as const) {
    if (text === undefined) continue;
    if (text === "" || text.length > limits.wordsCharactersMax) refuse(field, "not a text");
  }
  return facts;
}

function refuse(field: string, reason: string): never {
  throw new HoldfastError("draft_invalid", { path: `/${field}`, reason });
}
