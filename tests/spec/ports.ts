/** Seeded ports and keys for vectors: the same bytes on every machine and every run. */
import {
  base64,
  base64url,
  type Bytes,
  concat,
  type Crypto,
  type DataKey,
  deviceId,
  hex,
  type Random,
  type SignatureAlgorithm,
  utf8,
} from "@holdfast/core";
import { nobleCrypto } from "@holdfast/core/noble";
import { createNodeCrypto } from "@holdfast/node";

/** Hashing and verifying by the platform: another implementation than the one that signs vectors. */
export const crypto: Crypto = createNodeCrypto();

/** SHA-256(seed ‖ n) for n = 0, 1, 2 … */
export function seededRandom(seed: string): Random {
  let block = 0;
  let rest = new Uint8Array(0);
  return {
    bytes(length) {
      while (rest.length < length) {
        rest = concat(rest, crypto.sha256(utf8(`${seed}/${block}`)));
        block += 1;
      }
      const out = rest.slice(0, length);
      rest = rest.slice(length);
      return out;
    },
  };
}

/** A key that signs, and the device that it names when it is a device's first. */
export interface SigningKey {
  readonly algorithm: SignatureAlgorithm;
  readonly spki: Bytes;
  readonly device: string;
  readonly sign: (message: Uint8Array) => Bytes;
}

export function signingKey(seed: string, algorithm: SignatureAlgorithm = "ed25519"): SigningKey {
  // In JavaScript alone, because its ECDSA is deterministic (RFC 6979).
  const noble = nobleCrypto(seededRandom(`signing/${seed}`));
  const { privateKey, spki } = noble.generateSigningKey(algorithm);
  const sign = noble.signer(algorithm, privateKey);
  return { algorithm, spki, sign, device: deviceId(crypto, spki) };
}

/** A data key in the open. */
export interface OpenDataKey extends DataKey {
  readonly bytes: Bytes;
}

export function dataKeyOf(scope: string, section: string, generation = 1): OpenDataKey {
  const random = seededRandom(`data/${scope}/${section}`);
  const id = base64url(random.bytes(16));
  const bytes = crypto.sha256(random.bytes(32), utf8(`generation ${generation}`));
  const mac = crypto.hmac(bytes);
  const one = Uint8Array.of(1);
  return {
    id,
    scope,
    section,
    generation,
    bytes,
    frameKey: (name, leaf) => mac.mac(utf8(`holdfast/aead/v1|${name}`), leaf, one),
  };
}

/** 16 bytes as the text of a pseudonym. */
export function pseudonym(words: string): string {
  return base64url(crypto.sha256(utf8(words)).slice(0, 16));
}

export function incarnationId(words: string): string {
  return hex(crypto.sha256(utf8(words)).slice(0, 8));
}

/** The public half of an installation's HPKE key; nothing is wrapped for it in vectors. */
export const hpkePublic = base64(crypto.sha256(utf8("hpke")));
