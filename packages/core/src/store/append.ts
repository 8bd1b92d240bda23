/** What goes into the writer loop and what comes out of it. */
import type { Operation, VersionVector } from "../event/event.ts";
import type { Concurrency } from "../event/registry.ts";
import type { EventContent } from "../seal/content.ts";
import type { SectionDraft } from "../seal/seal.ts";

/** A draft that was checked alone; the writer finds its place in the store. */
export interface PreparedDraft {
  /** Chosen by the caller, so that the draft may be handed over twice. */
  readonly id: string | undefined;
  readonly type: string;
  readonly typeVersion: number;
  readonly concurrency: Concurrency;
  /** In words, or the id of a stream in the store. */
  readonly stream: string;
  /** In words, or the id of a scope in the store. */
  readonly scope: string | undefined;
  /** Stream and scope are ids already, also where this store has neither; what `ref` names may be lost. */
  readonly exact?: true;
  readonly site: string;
  readonly op: Operation;
  readonly ref: readonly string[] | undefined;
  readonly at: number;
  /** Pseudonym. */
  readonly actor: string;
  readonly role: string | undefined;
  readonly session: string | undefined;
  readonly why: string | undefined;
  readonly lane: "normal" | "urgent";
  readonly sections: readonly SectionDraft[];
  /** Plaintext fields, of system types only. */
  readonly pub?: Readonly<Record<string, unknown>>;
  /** Plaintext bytes of all sections. */
  readonly bytes: number;
  readonly content: EventContent;
}

/** What the caller believes of a stream: its frontier, or that it does not exist yet. */
export type Expectation = VersionVector | "none";

/** One call of `append`: all its drafts or none. */
export interface AppendCall {
  readonly drafts: readonly PreparedDraft[];
  /** Checked against the stream of the first draft. */
  readonly expect: Expectation | undefined;
}

/** One event of an append call. */
export interface AppendedEvent {
  readonly id: string;
  /** Place in this store's log, from 1. */
  readonly position: number;
  /** Sequence number in the incarnation that sealed it. */
  readonly sequence: number;
  readonly leaf: string;
  readonly stream: string;
  /** The id was already recorded with the same content: nothing was appended for it. */
  readonly duplicate: boolean;
}

/** What `append` answers: recorded, or a conflict for the caller to decide on. */
export type AppendResult =
  | { readonly status: "appended"; readonly events: readonly AppendedEvent[] }
  | {
      /** The stream moved on: nothing of the call was recorded. */
      readonly status: "conflict";
      readonly stream: string;
      readonly frontier: VersionVector;
    };
