/**
 * The acts around sync, for applications and operators: enrol, invite, list and revoke devices. What runs is
 * the engine, `Holdfast.sync`.
 */
import type { EnrolledDevice } from "../sync/messages/enrol.ts";
import type { InvitationTerms } from "../sync/invitations.ts";
import type { AccessRow } from "../sync/access-table.ts";
import type { EnrolAnswer } from "../sync/messages/enrol.ts";
import type { GrantRow } from "../sync/grant-store.ts";
import type { Breaker } from "../outbox/breaker.ts";
import type { ServerIdentity, SyncWatermarks } from "../sync/sync-store.ts";
import type { SyncHalt, SyncResume } from "../sync/sync-tables.ts";

/** Where sync stands, from what is stored: whatever process an engine runs in, if any. */
export interface SyncStanding {
  /**
   * `halted`: a person must look at the evidence. `open`: the endpoint failed, its breaker lets nothing through.
   * `partial`: something waits or is owed. `drained`: the server has everything.
   */
  readonly state: "not-enrolled" | "halted" | "open" | "partial" | "drained";
  readonly server: ServerIdentity | undefined;
  readonly watermarks: SyncWatermarks;
  readonly breakers: readonly (Breaker & { readonly endpoint: string })[];
  readonly halt: SyncHalt | undefined;
  /** Halts that were ended. */
  readonly resumes: readonly SyncResume[];
  /** Names of what is kept as evidence. */
  readonly evidence: readonly string[];
}

/** Desk of one store, made by `createSyncDesk`. What asks the server throws what the transport throws. */
export interface SyncDesk {
  /**
   * Enrols the store with a code that an admin device or the server's operator made. Throws `enrol_*` and
   * `server_*`; nothing is kept before all is checked.
   */
  enrol(code: string): Promise<EnrolAnswer>;
  /** Makes an enrolment code for a new device. Throws `access_denied`, `sync_not_enrolled`. */
  invite(terms: InvitationTerms): Promise<string>;
  /** Every device of the tenant, as the server lists them. */
  devices(): Promise<readonly EnrolledDevice[]>;
  /**
   * Ends a device's access: no more grants, new keys for what is recorded from now on, and the server takes
   * nothing more of it but into quarantine. Throws `access_denied`.
   */
  revoke(device: string, why: string): Promise<void>;
  /** Who may read what, from the log. */
  access(): readonly AccessRow[];
  /** Keys that were granted, sent and received. */
  grants(): readonly GrantRow[];
  /** Where sync stands. */
  standing(): SyncStanding;
  /**
   * Ends a halt: somebody has looked at the evidence, for a reason. Both are kept. An engine of another process
   * goes on when it is asked or started next, at the latest at its watchdog. Throws `sync_not_halted`,
   * `sync_reason_missing`, `store_read_only`.
   */
  resume(actor: string, reason: string): Promise<void>;
  /** The circuit breakers, one for each endpoint. */
  breakers(): readonly (Breaker & { readonly endpoint: string })[];
}
