/**
 * Grants on their way from one installation to another: kept by the HPKE key that they are wrapped to, handed out
 * to the device in whose log that key stands. The server reads the envelope only.
 */
import {
  base64url,
  canonicalJson,
  fromBase64,
  fromBase64url,
  type GrantsAnswer,
  type GrantsRequest,
  HoldfastError,
  limits,
  shreddedBy,
} from "@holdfast/core";
import { admit, admitWriter } from "../caller.ts";
import type { EngineDeps } from "../engine-deps.ts";
import type { DeviceLogRow, ServerReads } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";
import type { WriteLoop } from "../write-loop.ts";

/** HPKE public key of a log in the form that grants name it by. */
export function grantRecipient({ hpke }: Pick<DeviceLogRow, "hpke">): string {
  return base64url(fromBase64(hpke) ?? new Uint8Array(0));
}

/** Grants for the caller's own keys, by number. Throws `caller_unknown`, `device_revoked`. */
export function listGrants(
  { store }: EngineDeps,
  caller: Caller,
  after: number,
): Promise<GrantsAnswer> {
  if (!Number.isSafeInteger(after) || after < 0) {
    throw new HoldfastError("request_malformed", { part: "after" });
  }
  return store.read(caller.tenant, async (reads) => {
    await admit(reads, caller);
    const { tenant, device } = caller;
    const keys = new Set((await reads.deviceLogs(tenant, device)).map(grantRecipient));
    const found: { readonly number: number; readonly grant: string }[] = [];
    for (const key of keys) {
      found.push(...(await reads.grants(tenant, key, after, limits.grantsMax + 1)));
    }
    const inOrder = found.toSorted((a, b) => a.number - b.number);
    const grants = inOrder.slice(0, limits.grantsMax);
    return { grants, more: inOrder.length > grants.length };
  });
}

/** Throws `grant_malformed`, `grant_recipient_unknown`, `role_insufficient`; then none of them is kept. */
export function sendGrants(
  loop: WriteLoop,
  caller: Caller,
  { grants }: GrantsRequest,
): Promise<void> {
  if (grants.length > limits.grantsMax) {
    throw new HoldfastError("request_malformed", { part: "grants" });
  }
  const envelopes = grants.map((grant) => readEnvelope(caller.tenant, grant));
  return loop.submit<void>({
    tenant: caller.tenant,
    bytes: grants.reduce((sum, { length }) => sum + length, 0),
    async judge(reads) {
      await admitWriter(reads, caller);
      const recipients = await recipientsOf(reads, caller.tenant);
      if (!envelopes.every(({ recipient }) => recipients.has(recipient))) {
        throw new HoldfastError("grant_recipient_unknown");
      }
      // A key of what is shredded, from a device that does not know yet, is not handed on.
      const scopes = envelopes.map(({ scope }) => scope).filter((scope) => scope !== "");
      const isShredded = shreddedBy(await reads.shreds(caller.tenant, [...new Set(scopes)]));
      const kept = envelopes.filter((envelope) => !isShredded(envelope));
      return async (tx) => {
        await tx.addGrants(caller.tenant, kept);
        return () => undefined;
      };
    },
  });
}

async function recipientsOf(reads: ServerReads, tenant: string): Promise<ReadonlySet<string>> {
  const devices = await reads.devices(tenant);
  const active = new Set(
    devices.filter(({ status }) => status === "active").map(({ device }) => device),
  );
  const logs = await reads.deviceLogs(tenant);
  return new Set(logs.filter(({ device }) => active.has(device)).map(grantRecipient));
}

interface Envelope {
  readonly recipient: string;
  readonly key: string;
  readonly generation: number;
  readonly grant: string;
  /** Of a data key; else empty. */
  readonly scope: string;
  readonly section: string;
}

/** Whom a grant is for, and which key it holds. Throws `grant_malformed`. */
function readEnvelope(tenant: string, grant: string): Envelope {
  const malformed = (field: string): HoldfastError =>
    new HoldfastError("grant_malformed", { field });
  if (grant.length > limits.keyringLineBytesMax) throw malformed("text");
  let fields: Readonly<Record<string, unknown>>;
  try {
    fields = JSON.parse(grant) as typeof fields;
    if (canonicalJson(fields) !== grant) throw malformed("text");
  } catch {
    throw malformed("text");
  }
  if (typeof fields !== "object" || fields === null) throw malformed("text");
  const { kind, to, id, generation } = fields;
  if (fields["tenant"] !== tenant) throw malformed("tenant");
  if (typeof to !== "string" || fromBase64url(to)?.length !== 32) throw malformed("to");
  if (kind === "pseudonym") {
    return { recipient: to, key: "pseudonym", generation: 0, grant, scope: "", section: "" };
  }
  if (kind !== "data" || typeof id !== "string" || id.length > limits.nameBytesMax) {
    throw malformed("id");
  }
  if (typeof generation !== "number" || !Number.isSafeInteger(generation)) {
    throw malformed("generation");
  }
  const { scope, section } = fields;
  if (typeof scope !== "string" || scope.length > limits.nameBytesMax) throw malformed("scope");
  if (typeof section !== "string" || section.length > limits.nameBytesMax) {
    throw malformed("section");
  }
  return { recipient: to, key: id, generation, grant, scope, section };
}
