/**
 * Grants: a data key, or the tenant's pseudonym key, wrapped to one installation by HPKE in base mode
 * (RFC 9180 §5.1.1): DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, AES-256-GCM 0x0002.
 *
 * A grant is JCS text; everything in it but `enc` and `ct` is its *context*, which HPKE takes as `info`
 * (after a label) and as AAD. Base mode says nothing about the sender: a holder wraps only for an HPKE key
 * found in a verified event, and the log's `key` event says who granted.
 *
 *     { "v":1, "suite":"x25519-sha256-aes256gcm", "kind":"data", "tenant":…, "to":HPKE public key,
 *       "id":…, "scope":…, "section":…, "generation":1, "enc":…, "ct":… }
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { x25519 } from "@noble/curves/ed25519.js";
import {
  type Bytes,
  base64url,
  concat,
  equalBytes,
  fromBase64url,
  utf8,
  wipe,
} from "../std/bytes.ts";
import { HoldfastError, invariant, isHoldfastError } from "../std/errors.ts";
import { canonicalBytes } from "../std/jcs.ts";
import { type JsonValue, parseJson } from "../std/json.ts";
import { limits } from "../std/limits.ts";
import type { Random } from "../std/ports.ts";
import type { DataKeyMaterial } from "./data-key.ts";

/** What a grant carries. Whoever receives it wipes `key`. */
export type GrantedKey =
  | ({ readonly kind: "data" } & DataKeyMaterial)
  | { readonly kind: "pseudonym"; readonly key: Bytes };

/** X25519, 32 bytes each. The caller wipes the private key. */
export interface HpkeKeyPair {
  readonly publicKey: Bytes;
  readonly privateKey: Bytes;
}

const suiteName = "x25519-sha256-aes256gcm";
const infoLabel = utf8("holdfast/grant/v1\n");
const keyBytes = 32;
const encBytes = 32;
const ctBytes = keyBytes + 16;

function cipherSuite(): CipherSuite {
  return new CipherSuite({
    kem: new DhkemX25519HkdfSha256(),
    kdf: new HkdfSha256(),
    aead: new Aes256Gcm(),
  });
}

/** A new key pair of an installation: any 32 random bytes are an X25519 private key (RFC 7748 §5). */
export function generateHpkeKeyPair(random: Random): HpkeKeyPair {
  const privateKey = random.bytes(keyBytes);
  return { publicKey: Uint8Array.from(x25519.getPublicKey(privateKey)), privateKey };
}

type Context = Readonly<Record<string, string | number>>;

function contextOf(granted: GrantedKey, tenant: string, to: Uint8Array): Context {
  const common = { v: 1, suite: suiteName, kind: granted.kind, tenant, to: base64url(to) };
  if (granted.kind === "pseudonym") return common;
  const { id, scope, section, generation } = granted;
  return { ...common, id, scope, section, generation };
}

/**
 * Wrap a key for the installation with that HPKE public key. The ephemeral key pair is derived from 32 bytes of
 * `random` (RFC 9180 §7.1.3, DeriveKeyPair). The answer is the grant's JCS bytes. Throws `grant_malformed` when the public key is not one that X25519 accepts (RFC 7748 §6.1: an all-zero secret).
 */
export async function wrapGrant(
  granted: GrantedKey,
  tenant: string,
  recipient: Uint8Array,
  random: Random,
): Promise<Bytes> {
  invariant(granted.key.length === keyBytes, "a granted key has 32 bytes");
  const context = contextOf(granted, tenant, recipient);
  const aad = canonicalBytes(context);
  const suite = cipherSuite();
  const ekm = random.bytes(keyBytes);
  try {
    const recipientPublicKey = await suite.kem.deserializePublicKey(Uint8Array.from(recipient));
    const { enc, ct } = await suite.seal(
      { recipientPublicKey, info: concat(infoLabel, aad), ekm },
      Uint8Array.from(granted.key),
      aad,
    );
    return canonicalBytes({
      ...context,
      enc: base64url(new Uint8Array(enc)),
      ct: base64url(new Uint8Array(ct)),
    });
  } catch (cause) {
    throw new HoldfastError("grant_malformed", { field: "to" }, { cause });
  } finally {
    wipe(ekm);
  }
}

interface ParsedGrant {
  readonly granted:
    | { readonly kind: "pseudonym" }
    | ({ readonly kind: "data" } & Omit<DataKeyMaterial, "key">);
  readonly tenant: string;
  readonly to: Bytes;
  readonly enc: Bytes;
  readonly ct: Bytes;
  readonly context: Bytes;
}

function malformed(field: string, cause?: unknown): HoldfastError {
  return new HoldfastError("grant_malformed", { field }, { cause });
}

function parseGrant(grant: Uint8Array): ParsedGrant {
  let value: JsonValue;
  try {
    value = grant.length > limits.keyringLineBytesMax ? null : parseJson(grant);
  } catch (cause) {
    throw malformed("text", cause);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("text");
  // One grant, one text: what is not canonical is refused.
  if (!equalBytes(canonicalBytes(value), grant)) throw malformed("text");
  const { enc, ct, ...context } = value as Readonly<Record<string, JsonValue>>;
  const text = (name: string): string => {
    const found = context[name];
    if (typeof found !== "string" || found.length < 1 || found.length > limits.nameBytesMax) {
      throw malformed(name);
    }
    return found;
  };
  const bytes = (name: string, from: JsonValue | undefined, length: number): Bytes => {
    const found = typeof from === "string" ? fromBase64url(from) : undefined;
    if (found?.length !== length) throw malformed(name);
    return found;
  };
  if (context["v"] !== 1) throw malformed("v");
  if (context["suite"] !== suiteName) throw malformed("suite");
  const common = {
    tenant: text("tenant"),
    to: bytes("to", context["to"], keyBytes),
    enc: bytes("enc", enc, encBytes),
    ct: bytes("ct", ct, ctBytes),
    context: canonicalBytes(context),
  };
  const members = Object.keys(context).length;
  if (context["kind"] === "pseudonym" && members === 5) {
    return { ...common, granted: { kind: "pseudonym" } };
  }
  const generation = context["generation"];
  if (context["kind"] !== "data" || members !== 9) throw malformed("kind");
  if (typeof generation !== "number" || !Number.isSafeInteger(generation) || generation < 1) {
    throw malformed("generation");
  }
  const [id, scope, section] = [text("id"), text("scope"), text("section")];
  return { ...common, granted: { kind: "data", id, scope, section, generation } };
}

/** The HPKE public key that a grant is wrapped to; `undefined` where the text is none. */
export function recipientOf(grant: Uint8Array): Bytes | undefined {
  try {
    return parseGrant(grant).to;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    return undefined;
  }
}

/**
 * The key of a grant. Throws `grant_malformed`, `grant_foreign` (another installation or tenant) or
 * `grant_open_failed` (changed since it was wrapped). The caller wipes the answer's `key`, and `own`.
 */
export async function unwrapGrant(
  grant: Uint8Array,
  tenant: string,
  own: HpkeKeyPair,
): Promise<GrantedKey> {
  const parsed = parseGrant(grant);
  if (parsed.tenant !== tenant || !equalBytes(parsed.to, own.publicKey)) {
    throw new HoldfastError("grant_foreign", { to: base64url(parsed.to) });
  }
  const suite = cipherSuite();
  const privateKey = Uint8Array.from(own.privateKey);
  let key: Bytes;
  try {
    const opened = await suite.open(
      {
        recipientKey: await suite.kem.deserializePrivateKey(privateKey),
        enc: parsed.enc,
        info: concat(infoLabel, parsed.context),
      },
      parsed.ct,
      parsed.context,
    );
    key = new Uint8Array(opened);
  } catch (cause) {
    throw new HoldfastError("grant_open_failed", { to: base64url(parsed.to) }, { cause });
  } finally {
    wipe(privateKey);
  }
  return { ...parsed.granted, key };
}
