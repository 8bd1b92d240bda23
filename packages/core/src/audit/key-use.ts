/** What of the use of keys stands in the trail: fallbacks, returns and other terms. Of the rest the metrics tell. */
import type { KeyAuditEvent, KeyAuditSink } from "../keys/key-audit.ts";
import type { AuditEntry } from "./audit-events.ts";

/** The audit event of it; `undefined`: it has none. */
function keyUseEntry(event: KeyAuditEvent): AuditEntry | undefined {
  if (event.kind === "key_fallback") {
    const { from, to, operation, code } = event;
    const facts = { from: from.name, to: to.name, operation, code };
    return { kind: "KeyProviderFellBack", facts };
  }
  if (event.kind === "key_fallback_ended") {
    return { kind: "KeyProviderReturned", facts: { provider: event.provider.name } };
  }
  if (event.kind === "key_policy_changed") {
    const { minimum, fallback } = event;
    return { kind: "KeyPolicyChanged", facts: { minimum, fallback } };
  }
  return undefined;
}

/** Notes what has an audit event. */
export function keyUseIn(note: (entry: AuditEntry) => void): KeyAuditSink {
  return {
    note(event) {
      const entry = keyUseEntry(event);
      if (entry !== undefined) note(entry);
    },
  };
}
