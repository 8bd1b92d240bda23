/**
 * `POST /v1/push`: what a device log has grown by. Entries follow the device's tree from `from`; each brings its
 * body or its leaf alone. `fills` bring bodies that the server is owed, in any order. An exchange ends at the
 * size of a commit note.
 */
import type { Bytes } from "../../std/bytes.ts";
import type { IndexRanges, ProvenLeaf } from "../../proof/server-leaf.ts";
import type { EventBody } from "./body.ts";

/** One event of a push: its leaf (32 bytes) alone, or header and frames. */
export type PushEntry =
  | { readonly kind: "leaf"; readonly leaf: Uint8Array }
  | { readonly kind: "full"; readonly body: EventBody };

/** The body of an event whose leaf the server has. */
export interface Fill {
  readonly index: number;
  readonly body: EventBody;
}

/** `POST /v1/push`: what a device log has grown by, up to a commit note. */
export interface PushRequest {
  readonly device: string;
  readonly incarnation: string;
  /** Index of the first entry; at most the size that the server has. */
  readonly from: number;
  /** Commit note; its size is `from` + number of entries, or with only fills one that was receipted. */
  readonly note: string;
  readonly entries: readonly PushEntry[];
  readonly fills: readonly Fill[];
  /** Size of the newest checkpoint that the device holds; 0: none. */
  readonly checkpoint: number;
}

/** The server's verdict on one body. Entries that are not listed are `accepted`. */
export interface Disposition {
  readonly index: number;
  /** `accepted-shredded`: the event stands, its shredded sections do not. */
  readonly disposition: "duplicate" | "rejected" | "quarantined" | "owed" | "accepted-shredded";
  /** Error code, for rejected and quarantined. */
  readonly code?: string;
}

/** What the server made of a push: `receipted`, or what the device must decide on. */
export type PushAnswer =
  | {
      readonly status: "receipted";
      /** Size of the device log at the server. */
      readonly size: number;
      /** All owed bodies: what the receipt states, listed in full. */
      readonly owed: IndexRanges;
      readonly receipt: ProvenLeaf;
      /** Checkpoint over the receipt, and its consistency with the one that the device named. */
      readonly checkpoint: string;
      readonly consistency: readonly Bytes[];
      readonly dispositions: readonly Disposition[];
    }
  /** The server has fewer leaves than `from`: push from its size. Nothing was taken. */
  | { readonly status: "behind"; readonly size: number }
  /** An offered leaf differs from the one that the server has. Evidence; the branch lies in quarantine. */
  | {
      readonly status: "fork";
      /** First index that differs. */
      readonly index: number;
      /** The commit note that the server holds. */
      readonly held: string;
      readonly size: number;
    };
