/**
 * Enrolment: a store presents a code to the server that the code names, and keeps the server that answers.
 *
 * Presenting the same code again from the same device, after an answer was lost, is the same act: the server
 * answers as before.
 */
import { HoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import {
  checkCodeAt,
  deviceBinding,
  type EnrolmentCode,
  enrolmentProof,
} from "./enrolment-code.ts";
import type { GrantStore } from "./grant-store.ts";
import { foundTenant } from "./invitations.ts";
import type { EnrolAnswer } from "./messages/enrol.ts";
import type { SyncStore } from "./sync-store.ts";
import type { AbortSignalLike, Transport } from "./transport.ts";

/** What enrolment needs of a store. */
export interface EnrolDeps {
  readonly crypto: Crypto;
  readonly store: Pick<SyncStore, "origin" | "enrolment" | "enrolled">;
  readonly grants: GrantStore;
  readonly transport: Pick<Transport, "hello" | "enrol">;
}

/**
 * Enrols the store. Throws `enrol_tenant_mismatch`, `enrol_server_mismatch`, `enrol_code_expired`,
 * `enrol_founder_mismatch`, `server_*`, and what the transport throws. Nothing is kept before all is checked.
 */
export async function enrol(
  deps: EnrolDeps,
  code: EnrolmentCode,
  signal?: AbortSignalLike,
): Promise<EnrolAnswer> {
  const { crypto, store, transport } = deps;
  const options = signal === undefined ? {} : { signal };
  const own = store.origin();
  if (code.joins !== undefined && code.joins.tenant !== own.tenant) {
    throw new HoldfastError("enrol_tenant_mismatch", { own: own.tenant, code: code.joins.tenant });
  }
  // Who founded the tenant is in the code, or is this device: never the server's word.
  const founder = code.joins?.founder ?? own.device;
  checkFounder(founder, deps.grants.founder());
  const hello = await transport.hello(options);
  checkCodeAt(crypto, code, hello);
  const request = store.enrolment();
  const answer = await transport.enrol(
    {
      ...request,
      proof: enrolmentProof(crypto, code.secret),
      binding: deviceBinding(crypto, code.secret, request.opening),
    },
    options,
  );
  if (answer.tenant !== own.tenant || answer.device !== own.device) {
    throw new HoldfastError("enrol_tenant_mismatch", { own: own.tenant, code: answer.tenant });
  }
  checkFounder(founder, answer.founder);
  await store.enrolled(code.url, hello, answer, code.key);
  if (founder === own.device) await foundTenant(deps.grants, answer.node, hello.reads);
  return answer;
}

function checkFounder(expected: string, found: string): void {
  if (expected !== found) throw new HoldfastError("enrol_founder_mismatch", { expected, found });
}
