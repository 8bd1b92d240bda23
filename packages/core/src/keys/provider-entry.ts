/** What a set of key providers remembers of each one. */
import type { Assurance } from "../event/event.ts";
import type { ErrorCode } from "../std/errors.ts";
import type { GuardedProvider } from "./guard.ts";
import type { AuditedProvider, KeyOperation } from "./key-audit.ts";
import { assuranceOfKind, type ProviderRecord } from "./provider.ts";
import { closedProviderBreaker, type ProviderBreaker } from "./provider-breaker.ts";

/** One provider of the keyring, working or not. */
export interface Entry {
  readonly record: ProviderRecord;
  provider: GuardedProvider | undefined;
  assurance: Assurance;
  /** What it did not do, and why. */
  operation: KeyOperation | undefined;
  code: ErrorCode | undefined;
  configured: boolean;
  breaker: ProviderBreaker;
  cancelProbe: (() => void) | undefined;
}

/** A provider of which nothing is known but its record. */
export function untried(record: ProviderRecord): Entry {
  return {
    record,
    provider: undefined,
    assurance: assuranceOfKind(record),
    operation: undefined,
    code: undefined,
    configured: false,
    breaker: closedProviderBreaker,
    cancelProbe: undefined,
  };
}

/** As the audit trail names it. */
export function audited({ record, assurance }: Entry): AuditedProvider {
  return { id: record.id, name: record.name, assurance };
}
