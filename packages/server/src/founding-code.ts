/** The code that founds a tenant: made by the operator's server, used once by the first admin's device. */
import {
  base64url,
  type Clock,
  type Crypto,
  enrolmentProof,
  formatEnrolmentCode,
  HoldfastError,
  proofDigest,
  type Random,
} from "@holdfast/core";
import type { SyncServer } from "./engine/sync-server.ts";

/** Ports of {@link addFoundingCode}. */
export interface FoundingDeps {
  readonly server: Pick<SyncServer, "addFoundingCode">;
  readonly crypto: Crypto;
  readonly clock: Clock;
  readonly random: Random;
  /** DER SubjectPublicKeyInfo of the checkpoint key. */
  readonly spki: Uint8Array;
}

/** Registers a new founding code and gives its text, which is shown once and kept nowhere. */
export async function addFoundingCode(
  deps: FoundingDeps,
  url: string,
  lifeMs: number,
): Promise<string> {
  const { server, crypto, clock, random, spki } = deps;
  const secret = random.bytes(32);
  const expires = clock.now() + lifeMs;
  const digest = proofDigest(crypto, enrolmentProof(crypto, secret));
  if (digest === undefined) throw new HoldfastError("enrol_code_malformed", { part: "secret" });
  await server.addFoundingCode(digest, expires);
  const key = base64url(crypto.sha256(spki));
  return formatEnrolmentCode({ url, key, secret, expires, joins: undefined });
}
