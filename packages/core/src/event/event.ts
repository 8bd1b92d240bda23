/**
 * The words of one event: its draft, its sealed header, and its form when read.
 *
 * A **draft** is what an application hands to `append`; it may be refused. Its **header** is the sealed,
 * signed part: short names, integers, pseudonyms, never personal data. A **recorded event** is what a
 * reader gets back: the header in words, plus the payload when its sections can be opened.
 *
 * Formats: spec/event.md. Times in code and in headers are integer UTC milliseconds; JSON that leaves the
 * program (wire.ts) uses ISO 8601 with milliseconds and snake_case.
 */

/** What an event does to its stream. */
export type Operation =
  | "create"
  | "amend"
  | "retract"
  | "resolve"
  | "sign"
  | "review"
  | "redact"
  | "shred"
  | "key"
  | "access"
  | "sync"
  | "migrate"
  | "admin";

/** Every operation, in the order of the specification. */
export const operations: readonly Operation[] = [
  "create",
  "amend",
  "retract",
  "resolve",
  "sign",
  "review",
  "redact",
  "shred",
  "key",
  "access",
  "sync",
  "migrate",
  "admin",
];

/** Operations that need a reason code (21 CFR 11.10(e), ICH E6(R3) 4.2.4). */
export const operationsWithReason: ReadonlySet<Operation> = new Set(["amend", "retract", "redact"]);

/** How strongly the key that sealed an event is protected: none < software < os < hardware. */
export type Assurance = "none" | "software" | "os" | "hardware";

/** (device/incarnation) → last stream counter seen. Keys are {@link originKey}s. */
export type VersionVector = Readonly<Record<string, number>>;

/** One section as the header names it: commitment and data key, both base64url. */
export interface SectionRef {
  readonly c: string;
  readonly k: string;
}

/** The newest server checkpoint that the device knew: log number, tree size, root hash. */
export interface SeenCheckpoint {
  readonly log: number;
  readonly n: number;
  readonly h: string;
}

/** The sealed part of an event; its JCS bytes are stored, hashed and signed for ever. */
export interface Header {
  readonly v: 1;
  /** Tenant: random 128-bit id, base64url. */
  readonly ten: string;
  /** Device: base64url(SHA-256(first SPKI)), 22 characters. */
  readonly dev: string;
  /** Incarnation: 64 random bits, 16 hex digits. */
  readonly inc: string;
  /** 1, 2, 3 … within the incarnation. */
  readonly seq: number;
  /** Leaf of seq − 1, base64url; 32 zero bytes for the first. */
  readonly prev: string;
  /** UUIDv7; also the idempotency key. */
  readonly id: string;
  readonly type: string;
  /** Schema version of the type. */
  readonly tv: number;
  readonly scope: string;
  readonly stream: string;
  /** 1, 2, 3 … within (stream, incarnation). */
  readonly sseq: number;
  readonly op: Operation;
  /** Leaves superseded, resolved or signed. */
  readonly ref?: readonly string[];
  /** Frontier of the stream as seen; absent for `independent` types. */
  readonly vv?: VersionVector;
  /** recordedAt, UTC milliseconds, 0 … 2^48−1. */
  readonly at: number;
  readonly seen?: SeenCheckpoint;
  /** Actor: a pseudonym. */
  readonly act: string;
  readonly role?: string;
  /** Id of the session event. */
  readonly sess?: string;
  /** Reason code; mandatory for amend, retract, redact. */
  readonly why?: string;
  readonly sec: Readonly<Record<string, SectionRef>>;
  /** Plaintext fields of system types only. */
  readonly pub?: Readonly<Record<string, unknown>>;
  readonly tier: Assurance;
  readonly app: string;
}

/** An event before it is sealed. */
export interface Draft {
  readonly type: string;
  /** What the stream is about, in the application's own words, or the id of a stream in the store. */
  readonly stream: string;
  /** Who the data are about, in the application's own words, or a scope id. Default: the stream's scope. */
  readonly scope?: string;
  /** Site of the subject; part of the scope. */
  readonly site?: string;
  /** On whose authority, in the application's own words, or an actor id. */
  readonly actor: string;
  readonly role?: string;
  readonly session?: string;
  /** When it happened, as claimed: UTC milliseconds. Kept inside the encrypted content. */
  readonly occurredAt?: number;
  /** Payload; left out for types that record a text. */
  readonly data?: unknown;
  /** Exact text to record for types whose content is a text of somebody else's (FHIR). */
  readonly text?: string;
  readonly op?: Operation;
  /** Leaves of the events that this one supersedes, resolves or signs. */
  readonly ref?: readonly string[];
  /** Reason code; mandatory for amend, retract, redact. */
  readonly why?: string;
  /** Reason in words. Kept inside the encrypted content. */
  readonly reason?: string;
  /** UUIDv7 chosen by the caller, for a draft that may be handed over twice. */
  readonly id?: string;
  /** Urgent entries never wait behind normal ones. */
  readonly lane?: "normal" | "urgent";
}

/** Where an encrypted section stands. */
export type FrameState = "present" | "owed" | "shredded" | "evicted";

/** An event as it is read back. */
export interface RecordedEvent {
  /** Place in this store's log, from 1. */
  readonly position: number;
  readonly leaf: string;
  readonly header: Header;
  readonly id: string;
  readonly type: string;
  /** Schema version of {@link data}: the current one when the type is known, else the recorded one. */
  readonly schemaVersion: number;
  /** Is the type in the registry, at this version or a later one? */
  readonly known: boolean;
  readonly stream: string;
  readonly scope: string;
  readonly actor: string;
  readonly op: Operation;
  readonly recordedAt: number;
  readonly occurredAt: number | undefined;
  readonly reason: string | undefined;
  /** Payload, upcast and validated; `undefined` when a section is owed, shredded or evicted. */
  readonly data: unknown;
  /** The exact recorded text, for types whose content is a text. */
  readonly text: string | undefined;
  /**
   * `opened`, or why the payload is absent. `closed`: the key is not here. `unopened`: it is, and what another
   * device sent does not open under it. `shredded`: its key was destroyed; an event of which one section class
   * was is `opened` where its type's schema takes what is left.
   */
  readonly content: "opened" | "closed" | "unopened" | "owed" | "shredded" | "evicted" | "none";
}

/** Names one device log: device and incarnation. */
export function originKey(device: string, incarnation: string): string {
  return `${device}/${incarnation}`;
}

/** `prev` of the first event of an incarnation. */
export const noPrevious = "A".repeat(43);
