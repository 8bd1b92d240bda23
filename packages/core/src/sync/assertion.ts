/**
 * The assertion that a device asks for tokens with: a JWT (RFC 7519) as compact JWS (RFC 7515 §3.1), signed by
 * the key of an incarnation (`private_key_jwt`, RFC 7523 §2.2). Assembled by hand: two JSON texts and one
 * signature need no library, and the algorithm is what the key is, never what a text says.
 */
import { deviceLogOrigin } from "../proof/checkpoint.ts";
import { base64url, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import { limits } from "../std/limits.ts";
import type { Random, SignatureAlgorithm } from "../std/ports.ts";
import type { SyncStore } from "./sync-store.ts";

/** JWS names: RFC 8037 §3.1 and RFC 7518 §3.4. */
const algorithmNames: Readonly<Record<SignatureAlgorithm, string>> = {
  ed25519: "EdDSA",
  "ecdsa-p256": "ES256",
};

/** What an assertion says. */
export interface AssertionClaims {
  /** Host of the server that was enrolled at. */
  readonly audience: string;
  /** UTC milliseconds by the server's clock. */
  readonly serverTime: number;
}

/** Makes one assertion, good for `limits.assertionLifeMs` and for one use. */
export async function makeAssertion(
  deps: { readonly store: Pick<SyncStore, "origin" | "signer">; readonly random: Random },
  claims: AssertionClaims,
): Promise<string> {
  const { tenant, device, incarnation } = deps.store.origin();
  const origin = deviceLogOrigin({ tenant, device, incarnation });
  const signer = await deps.store.signer();
  // NumericDate is in seconds (RFC 7519 §2).
  const issuedAt = Math.floor(claims.serverTime / 1_000);
  const header = canonicalJson({ alg: algorithmNames[signer.algorithm], typ: "JWT" });
  const payload = canonicalJson({
    iss: origin,
    sub: origin,
    aud: claims.audience,
    jti: base64url(deps.random.bytes(16)),
    iat: issuedAt,
    exp: issuedAt + Math.floor(limits.assertionLifeMs / 1_000),
  });
  const signed = `${base64url(utf8(header))}.${base64url(utf8(payload))}`;
  return `${signed}.${base64url(await signer.sign(utf8(signed)))}`;
}
