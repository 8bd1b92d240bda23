/** Enrolment codes: an admin device invites to its tenant, the operator to found one. */
import { type CodeRequest, fromBase64url, HoldfastError, roles } from "@holdfast/core";
import { admitAdmin } from "../caller.ts";
import type { CodeRow } from "../server-store.ts";
import type { Caller } from "../sync-server.ts";
import type { WriteLoop } from "../write-loop.ts";

/** Throws `role_insufficient`, `request_malformed`; the same code again is no change. */
export function addCode(loop: WriteLoop, caller: Caller, request: CodeRequest): Promise<void> {
  const { digest, role, expires } = request;
  if (!roles.includes(role)) throw new HoldfastError("request_malformed", { part: "role" });
  return registerCode(loop, { digest, role, expires, tenant: caller.tenant }, caller);
}

/** A code that founds a tenant; whoever uses it becomes its first admin. Throws `request_malformed`. */
export function addFoundingCode(loop: WriteLoop, digest: string, expires: number): Promise<void> {
  return registerCode(loop, { digest, role: "admin", expires, tenant: undefined }, undefined);
}

function registerCode(
  loop: WriteLoop,
  code: Omit<CodeRow, "usedAt">,
  caller: Caller | undefined,
): Promise<void> {
  if (fromBase64url(code.digest)?.length !== 32) {
    throw new HoldfastError("request_malformed", { part: "digest" });
  }
  if (!Number.isSafeInteger(code.expires)) {
    throw new HoldfastError("request_malformed", { part: "expires" });
  }
  return loop.submit<void>({
    tenant: caller?.tenant,
    bytes: 0,
    async judge(reads) {
      if (caller !== undefined) await admitAdmin(reads, caller);
      const known = await reads.code(code.digest);
      if (known !== undefined && known.tenant !== code.tenant) {
        throw new HoldfastError("request_malformed", { part: "digest" });
      }
      return async (tx) => {
        if (known === undefined) await tx.addCode({ ...code, usedAt: undefined });
        return () => undefined;
      };
    },
  });
}
