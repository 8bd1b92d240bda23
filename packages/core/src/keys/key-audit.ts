/**
 * What the use of keys tells the audit trail: a port, because the trail is written with the very keys whose
 * use it records. `note` never throws, never waits and never signs within the call; whoever implements it
 * writes later. A commit signature has no event of its own: the commit note is the record of it, and an
 * audit event for each signature would need a signature for each audit event.
 */
import type { Assurance } from "../event/event.ts";
import type { ErrorCode } from "../std/errors.ts";
import type { ProviderName } from "./provider.ts";

/** A provider as the audit trail names it: public facts, never a key, a PIN or a path. */
export interface AuditedProvider {
  /** Id of its record in the keyring. */
  readonly id: string;
  readonly name: ProviderName;
  readonly assurance: Assurance;
}

/** What happened. */
export type KeyAuditEvent =
  /** A provider of the keyring was opened when the keyring was, or later by a change of configuration. */
  | { readonly kind: "provider_opened"; readonly provider: AuditedProvider }
  /** It did not open, answer in time, or answer rightly. */
  | {
      readonly kind: "provider_failed";
      readonly provider: AuditedProvider;
      readonly operation: KeyOperation;
      readonly code: ErrorCode;
    }
  /** A probe found it working again. */
  | { readonly kind: "provider_returned"; readonly provider: AuditedProvider }
  /** From now on a weaker provider signs and unwraps, because the preferred one does not work. */
  | {
      readonly kind: "key_fallback";
      readonly from: AuditedProvider;
      readonly to: AuditedProvider;
      /** What the preferred one did not do. */
      readonly operation: KeyOperation;
      readonly code: ErrorCode;
    }
  /** The preferred provider signs and unwraps again. */
  | { readonly kind: "key_fallback_ended"; readonly provider: AuditedProvider }
  /** One operation that a provider did, or refused with a code. Signatures that succeed are not among them. */
  | {
      readonly kind: "key_operation";
      readonly provider: AuditedProvider;
      readonly operation: KeyOperation;
      readonly result: "ok" | ErrorCode;
    }
  /** Another policy, or other providers, by a change of configuration. */
  | {
      readonly kind: "key_policy_changed";
      readonly minimum: Assurance;
      readonly fallback: "never" | "audited";
    };

/** What a provider is asked to do. */
export type KeyOperation = "open" | "wrap" | "unwrap" | "generate" | "signer" | "sign";

/** Where events about the use of keys go. */
export interface KeyAuditSink {
  note(event: KeyAuditEvent): void;
}

/** For nobody: where there is no audit trail yet. */
export const silentKeyAudit: KeyAuditSink = { note: () => undefined };
