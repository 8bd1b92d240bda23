/**
 * Incarnations: the first event of each device log says whose key signs it.
 *
 * `IncarnationOpened` carries in `pub` the signing key (SPKI), the installation's HPKE key, and, for every
 * incarnation but the first of a device, its predecessor with size and root, signed by the predecessor's key
 * as a DSSE envelope over {ten, dev, inc, spki, predecessor, size, root}. The first is self-authorised: its
 * SPKI hashes to `dev`.
 */
import { base64, base64url, type Bytes, fromBase64, utf8 } from "../std/bytes.ts";
import { canonicalJson } from "../std/jcs.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";

/** DSSE payload type of the statement that hands a device over to a new incarnation. */
export const successionPayloadType = "application/vnd.holdfast.succession+json";

/** Why an incarnation was opened. */
export type OpeningReason =
  | "first"
  | "moved"
  | "rollback-accepted"
  | "restored"
  | "re-key"
  | "fork"
  /** Of another key provider, beside its predecessor, which goes on. */
  | "fallback";

/** The plaintext fields of an `IncarnationOpened` event. A type, not an interface: it is plain JSON. */
export type IncarnationPub = {
  readonly alg: SignatureAlgorithm;
  /** DER SubjectPublicKeyInfo, base64. */
  readonly spki: string;
  /** X25519 public key, base64. */
  readonly hpke: string;
  readonly reason: OpeningReason;
  readonly predecessor?: string;
  readonly size?: number;
  /** base64 */
  readonly root?: string;
  /** Signature of the predecessor's key over the succession statement (DSSE PAE), base64. */
  readonly sig?: string;
};

/** base64url(SHA-256(first SPKI))[0:22]: the name of a device is the digest of its first key. */
export function deviceId(crypto: Crypto, firstSpki: Uint8Array): string {
  return base64url(crypto.sha256(firstSpki)).slice(0, 22);
}

/** What the predecessor's key signs. */
export interface Succession {
  readonly tenant: string;
  readonly device: string;
  readonly incarnation: string;
  readonly spki: Uint8Array;
  readonly predecessor: string;
  readonly size: number;
  readonly root: string;
}

/** JCS bytes of the succession statement. */
export function successionStatement(succession: Succession): Bytes {
  return utf8(
    canonicalJson({
      dev: succession.device,
      inc: succession.incarnation,
      predecessor: succession.predecessor,
      root: succession.root,
      size: succession.size,
      spki: base64(succession.spki),
      ten: succession.tenant,
    }),
  );
}

const optionalText = (value: unknown): boolean => value === undefined || typeof value === "string";

/** The closed schema of the plaintext fields; `undefined` for anything else. */
export function readIncarnationPub(pub: unknown): IncarnationPub | undefined {
  if (typeof pub !== "object" || pub === null) return undefined;
  const known = ["alg", "spki", "hpke", "reason", "predecessor", "size", "root", "sig"];
  if (Object.keys(pub).some((key) => !known.includes(key))) return undefined;
  const fields = pub as Readonly<Record<string, unknown>>;
  const { alg, spki, hpke, reason, predecessor, size, root, sig } = fields;
  if (alg !== "ed25519" && alg !== "ecdsa-p256") return undefined;
  if (typeof spki !== "string" || fromBase64(spki) === undefined) return undefined;
  if (typeof hpke !== "string" || fromBase64(hpke)?.length !== 32) return undefined;
  if (typeof reason !== "string") return undefined;
  if (![predecessor, root, sig].every(optionalText)) return undefined;
  if (size !== undefined && !Number.isSafeInteger(size)) return undefined;
  return pub as IncarnationPub;
}
