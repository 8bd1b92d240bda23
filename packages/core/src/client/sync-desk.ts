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
  /** The circuit breakers, one for each endpoint. */
  breakers(): readonly (Breaker & { readonly endpoint: string })[];
}
