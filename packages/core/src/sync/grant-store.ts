/**
 * The port between grants and a store. Implementation: `client/grant-store.ts`, over the writer loop.
 */
import type { AccessGrantedPub, AccessRevokedPub, KeyGrantedPub } from "../event/system.ts";
import type { Keyring } from "../keys/keyring.ts";
import type { Clock, Crypto, Random } from "../std/ports.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { ShredTable } from "../store/shreds.ts";
import type { AccessRow } from "./access-table.ts";
import type { AccessState } from "./access-fold.ts";
import type { KeyLedger } from "./key-ledger.ts";
import type { LocalValues } from "./local-values.ts";

/** A system event about access or keys, before it has its place. */
export type AccessDraft =
  | { readonly type: "AccessGranted"; readonly pub: AccessGrantedPub }
  | { readonly type: "AccessRevoked"; readonly pub: AccessRevokedPub; readonly why?: string }
  | { readonly type: "KeyGranted"; readonly pub: KeyGrantedPub };

/** State of a grant as this installation knows it. */
export type GrantState = "sent" | "received" | "withdrawn";

/** A row of the table `grants`: a key that went to an installation. */
export interface GrantRow {
  /** Key id; the tenant's id stands for its pseudonym key. */
  readonly key: string;
  readonly generation: number;
  /** Device id. */
  readonly recipient: string;
  readonly state: GrantState;
  /** UTC milliseconds. */
  readonly at: number;
}

/** What one transaction may change. */
export interface GrantWrites {
  readonly values: LocalValues;
  put(row: GrantRow): void;
  /** Folds the streams anew that have sections under that key; how many. */
  opened(key: string, generation: number): number;
}

/** What the exchange of grants reads and changes of a store. */
export interface GrantStore {
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly random: Random;
  readonly observer: Observer;
  readonly keyring: Keyring;
  /** Of this store. */
  device(): string;
  /** Device that founded the tenant. */
  founder(): string;
  access(): AccessState;
  rows(): readonly AccessRow[];
  grants(): readonly GrantRow[];
  /** What is shredded here: its keys are neither taken nor given. */
  shreds(): Pick<ShredTable, "any" | "isShredded">;
  readonly values: LocalValues;
  /** What the log says of granted keys, up to now. */
  ledger(): KeyLedger;
  /** Header texts of the verified events that opened a device's incarnations, in order of position. */
  openings(device: string): readonly string[];
  /** Appends in one commit. Throws what an append throws. */
  append(drafts: readonly AccessDraft[]): Promise<void>;
  transact<T>(work: (writes: GrantWrites) => T): Promise<T>;
}
