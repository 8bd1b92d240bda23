/** What is kept of a contradiction: the pieces that show it, once each, in the caller's transaction. */
import { base64, base64url, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { Clock, Crypto } from "../std/ports.ts";
import type { SyncTables } from "./sync-tables.ts";

export function keepEvidence(
  { crypto, clock }: { readonly crypto: Crypto; readonly clock: Clock },
  of: SyncTables,
  code: string,
  shown: Readonly<Record<string, unknown>>,
): void {
  const evidence = JSON.parse(JSON.stringify(shown, bytesAsText)) as Record<string, unknown>;
  const digest = base64url(crypto.sha256(utf8(canonicalJson(evidence)))).slice(0, 16);
  of.keepEvidence(`${code}/${digest}`, { code, at: clock.now(), ...evidence });
}

function bytesAsText(_: string, value: unknown): unknown {
  return value instanceof Uint8Array ? base64(value) : value;
}
