/**
 * The `Crypto` port on Node, by OpenSSL. Keys of HMAC and AES are kept as KeyObjects: raw key bytes are
 * checked and copied again in every call, which costs three times as much.
 */
import {
  argon2Sync,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  hash,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import {
  type Aead,
  type Bytes,
  type Crypto,
  HoldfastError,
  invariant,
  type Mac,
  publicKeyOfSpki,
  secretOfPkcs8,
  type SignatureAlgorithm,
  signatureBytes,
  toLowS,
} from "@holdfast/core";

const nonceBytes = 12;
const tagBytes = 16;

/** The bytes of a Buffer as a plain Uint8Array over the same memory: a Buffer's slice() does not copy. */
function plain(buffer: Buffer<ArrayBuffer>): Bytes {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** Parts of one digest up to this size are joined: the one-shot call costs half of a hash object. */
const joinedBytesMax = 4_096;
const joined = new Uint8Array(joinedBytesMax);

function sha256(...parts: readonly Uint8Array[]): Bytes {
  if (parts.length === 1) return plain(hash("sha256", parts[0] as Uint8Array, "buffer"));
  let length = 0;
  for (const part of parts) length += part.length;
  if (length > joinedBytesMax) {
    const state = createHash("sha256");
    for (const part of parts) state.update(part);
    return plain(state.digest());
  }
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  const digest = plain(hash("sha256", joined.subarray(0, length), "buffer"));
  // Parts may be plaintext.
  joined.fill(0, 0, length);
  return digest;
}

function createMac(key: Uint8Array): Mac {
  const keyObject = createSecretKey(key);
  return {
    mac(...parts) {
      const state = createHmac("sha256", keyObject);
      for (const part of parts) state.update(part);
      return plain(state.digest());
    },
  };
}

function createAead(key: Uint8Array): Aead {
  invariant(key.length === 32, "AES-256-GCM has a key of 32 bytes");
  const keyObject = createSecretKey(key);
  const options = { authTagLength: tagBytes };
  return {
    encrypt(nonce, plaintext, aad) {
      invariant(nonce.length === nonceBytes, "AES-256-GCM has a nonce of 12 bytes");
      const cipher = createCipheriv("aes-256-gcm", keyObject, nonce, options);
      cipher.setAAD(aad);
      const out = new Uint8Array(plaintext.length + tagBytes);
      // GCM is a stream: update gives every byte and final none.
      out.set(cipher.update(plaintext), 0);
      cipher.final();
      out.set(cipher.getAuthTag(), plaintext.length);
      return out;
    },
    decrypt(nonce, ciphertext, aad) {
      invariant(nonce.length === nonceBytes, "AES-256-GCM has a nonce of 12 bytes");
      const length = ciphertext.length - tagBytes;
      if (length < 0) return undefined;
      const decipher = createDecipheriv("aes-256-gcm", keyObject, nonce, options);
      decipher.setAAD(aad);
      decipher.setAuthTag(ciphertext.subarray(length));
      const out = plain(decipher.update(ciphertext.subarray(0, length)));
      try {
        decipher.final();
        return out;
      } catch {
        out.fill(0);
        return undefined;
      }
    },
  };
}

/** Imported public keys; importing costs about as much as verifying. */
const publicKeysMax = 1_024;

type ImportKey = (algorithm: SignatureAlgorithm, spki: Uint8Array) => KeyObject | undefined;

function createKeyCache(): ImportKey {
  const keys = new Map<string, KeyObject>();
  return (algorithm, spki) => {
    if (publicKeyOfSpki(algorithm, spki) === undefined) return undefined;
    const name = Buffer.from(spki.buffer, spki.byteOffset, spki.byteLength).toString("latin1");
    const known = keys.get(name);
    if (known !== undefined) return known;
    let key: KeyObject;
    try {
      key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    } catch {
      return undefined;
    }
    // The oldest goes: a Map keeps the order of insertion.
    if (keys.size >= publicKeysMax) keys.delete(keys.keys().next().value as string);
    keys.set(name, key);
    return key;
  };
}

function generateSigningKey(algorithm: SignatureAlgorithm): {
  readonly privateKey: Bytes;
  readonly spki: Bytes;
} {
  const { privateKey, publicKey } =
    algorithm === "ed25519"
      ? generateKeyPairSync("ed25519")
      : generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return {
    privateKey: plain(privateKey.export({ format: "der", type: "pkcs8" })),
    spki: plain(publicKey.export({ format: "der", type: "spki" })),
  };
}

function signer(
  algorithm: SignatureAlgorithm,
  privateKey: Uint8Array,
): (message: Uint8Array) => Bytes {
  // OpenSSL reads many forms of a private key; Holdfast has one, so that every platform reads it.
  const secret = secretOfPkcs8(algorithm, privateKey);
  if (secret === undefined) throw new HoldfastError("key_malformed", { algorithm });
  secret.fill(0);
  const copy = Buffer.from(privateKey);
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: copy, format: "der", type: "pkcs8" });
  } catch {
    // The cause is not kept: an error of OpenSSL could quote its input.
    throw new HoldfastError("key_malformed", { algorithm });
  } finally {
    copy.fill(0);
  }
  if (algorithm === "ed25519") return (message) => plain(sign(null, message, key));
  const options = { key, dsaEncoding: "ieee-p1363" } as const;
  return (message) => toLowS(plain(sign("sha256", message, options)));
}

/** PKCS#8 of an X25519 private key without its 32 bytes (RFC 8410 §7). */
const x25519Pkcs8 = Buffer.from("302e020100300506032b656e04220420", "hex");

function x25519PublicKey(privateKey: Uint8Array): Bytes {
  invariant(privateKey.length === 32, "an X25519 key has 32 bytes");
  const der = Buffer.concat([x25519Pkcs8, privateKey]);
  try {
    const key = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
    // The SPKI ends with the key (RFC 8410 §4); a copy, because a small Buffer lies in a shared pool.
    return new Uint8Array(key.export({ format: "der", type: "spki" }).subarray(-32));
  } finally {
    der.fill(0);
  }
}

/**
 * Cryptography by OpenSSL. `signer` throws `key_malformed` for bytes that are not the PKCS#8 form of the
 * algorithm; up to 1,024 public keys are kept in imported form.
 */
export function createNodeCrypto(): Crypto {
  const importKey = createKeyCache();
  return {
    sha256,
    hmac: createMac,
    aead: createAead,
    verify(algorithm, spki, message, signature) {
      if (signature.length !== signatureBytes) return false;
      const key = importKey(algorithm, spki);
      if (key === undefined) return false;
      return algorithm === "ed25519"
        ? verify(null, message, key, signature)
        : verify("sha256", message, { key, dsaEncoding: "ieee-p1363" }, signature);
    },
    generateSigningKey,
    x25519PublicKey,
    signer,
    argon2id: (password, salt, cost, length) =>
      plain(
        argon2Sync("argon2id", {
          message: password,
          nonce: salt,
          memory: cost.memoryKib,
          passes: cost.passes,
          parallelism: cost.lanes,
          tagLength: length,
        }),
      ),
  };
}
