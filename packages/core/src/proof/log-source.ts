/** What verification reads: rows as they are stored, and what it says about them. */
import type { DataKey } from "../keys/data-key.ts";
import type { Crypto } from "../std/ports.ts";

/** One thing that is not as it must be. */
export interface Problem {
  /** Stable word for the kind of problem. */
  readonly code: string;
  /** What it concerns: `event 17`, `commit 3`, `mark`, `keyring`, `outbox`. */
  readonly object: string;
  readonly message: string;
}

/** Takes note of a problem. */
export type Report = (code: string, object: string, message: string) => void;

/** A row of the log, as stored. */
export interface EventRow {
  readonly position: number;
  readonly leaf: string;
  readonly id: string;
  readonly device: string;
  readonly incarnation: string;
  readonly own: number;
  readonly sequence: number;
  readonly type: string;
  readonly stream: string;
  readonly actor: string;
  readonly recordedAt: number;
  readonly header: string;
}

/** A frame, as stored. */
export interface FrameRow {
  readonly section: string;
  readonly key: string;
  readonly state: string;
  readonly bytes: Uint8Array | null;
}

/** The stored head of one stream: what appends continue from. */
export interface StreamRow {
  readonly stream: string;
  readonly scope: string;
  /** (device/incarnation) → last counter, JSON. */
  readonly vector: string;
  readonly frontier: string;
}

/** A commit note, as stored. */
export interface NoteRow {
  readonly size: number;
  readonly root: string;
  readonly note: string;
}

/** A device log that the store knows of. */
export interface OriginRow {
  readonly device: string;
  readonly incarnation: string;
  /** 1 (default): of this store. */
  readonly own?: number;
}

/** A checkpoint of the server log, as stored; `path` joins it to the one of size `before`. */
export interface CheckpointRow {
  readonly log: string;
  readonly size: number;
  readonly root: string;
  readonly note: string;
  readonly before: number;
  readonly path: Uint8Array;
}

/** How a server log goes on for the one before, as stored. */
export interface EpochRow {
  /** Origin of the next log. */
  readonly log: string;
  /** The epoch statement, with its path in the tree of `logSize`. */
  readonly leaf: string;
  readonly path: Uint8Array;
  readonly logSize: number;
  /** Note of the last checkpoint of the log before. */
  readonly last: string;
  /** Where that log ended below what is held of it: from the newest one below to `last`. */
  readonly consistency: Uint8Array;
}

/** A statement of the server about a device log, as stored. */
export interface ServerLeafRow {
  readonly kind: string;
  readonly size: number;
  readonly leaf: string;
  readonly log: string;
  readonly leafIndex: number;
  readonly logSize: number;
  readonly path: Uint8Array;
}

/** A proof of several leaves under the note of that size, as stored. */
export interface ProofRow {
  readonly size: number;
  /** JSON list. */
  readonly indices: string;
  readonly hashes: Uint8Array;
}

/** What sync keeps beside the events. */
export interface SyncRows {
  /** The pinned key, DER SPKI in base64. */
  server(): { readonly key: string } | undefined;
  /** In the order in which they were taken. */
  checkpoints(): readonly CheckpointRow[];
  epochs(): readonly EpochRow[];
  serverLeaves(device: string, incarnation: string): readonly ServerLeafRow[];
  links(
    device: string,
    incarnation: string,
  ): readonly { readonly before: number; readonly size: number; readonly path: Uint8Array }[];
  proofs(device: string, incarnation: string): readonly ProofRow[];
  /** Events of that log whose headers could not be read when they were pulled: index and leaf. */
  newer(
    device: string,
    incarnation: string,
  ): readonly { readonly index: number; readonly leaf: string }[];
  /** Streams that have such events. */
  newerStreams(): readonly string[];
  /** How far was pulled, and how far there was anything at the last page. */
  pulled(): { readonly head: number; readonly positions: readonly number[] };
}

/** What is verified: rows as they are stored, in order. */
export interface LogSource {
  count(): number;
  events(after: number, limit: number): readonly EventRow[];
  frames(position: number): readonly FrameRow[];
  notes(device: string, incarnation: string, after: number, limit: number): readonly NoteRow[];
  /** In order of their names. */
  streams?(after: string, limit: number): readonly StreamRow[];
  /** Every device log that the store knows of, with or without events. */
  origins(): readonly OriginRow[];
  /** Without it, nobody vouches for another installation's log. */
  readonly sync?: SyncRows;
}

/** What verification needs. */
export interface LogVerifyDeps {
  readonly crypto: Crypto;
  readonly source: LogSource;
  readonly tenant: string;
  /** The key to open a section with; `undefined` when it is not here. */
  readonly dataKey: (id: string, generation: number) => DataKey | undefined;
  /** SPKI that the keyring has for an own incarnation. */
  readonly ownKey: (incarnation: string) => Uint8Array | undefined;
  /** Was the content of that scope and section shredded, by the log's own account? */
  readonly isShredded: (scope: string, section: string) => boolean;
  readonly openSections: boolean;
  readonly allNotes: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Rows that are read at once. */
export const pageRows = 1_000;
