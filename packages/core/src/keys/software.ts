/**
 * The key provider of last resort: a passphrase, stretched by Argon2id (RFC 9106) to a provider key that
 * lives in this process until `close`. Assurance `software`: whoever reads the process's memory has the key.
 *
 *     wrapped = key id (8) ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16)
 *
 * The key id, an HMAC of the provider key, tells "not mine" from "mine, but broken". The key check in the
 * parameters tells a wrong passphrase from damaged data before anything is unwrapped.
 */
import {
  type Bytes,
  base64url,
  concat,
  equalBytes,
  equalSecretBytes,
  fromBase64url,
  utf8,
  wipe,
} from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import { limits } from "../std/limits.ts";
import type { Aead, Argon2Cost, Crypto, Random, SignatureAlgorithm } from "../std/ports.ts";
import type { Assurance } from "../event/event.ts";
import type {
  KeyProvider,
  OpenProvider,
  ProviderName,
  ProviderParameters,
  Sign,
} from "./provider.ts";

/**
 * 64 MiB, 3 passes, 4 lanes: the second recommended option of RFC 9106 §4 (measured: about 90 ms with a
 * native implementation on one core of a shared machine).
 */
export const argon2CostDefault: Argon2Cost = { memoryKib: 64 * 1024, passes: 3, lanes: 4 };

const saltBytes = 16;
const checkBytes = 16;
const idBytes = 8;
const nonceBytes = 12;
const tagBytes = 16;
const labels = {
  check: utf8("holdfast/provider/check/v1\u0001"),
  id: utf8("holdfast/provider/id/v1\u0001"),
  wrap: utf8("holdfast/provider/wrap/v1\u0001"),
} as const;
const signingContext = utf8("holdfast/provider/signing/v1|");

/** What {@link createSoftwareProvider} takes. */
export interface SoftwareProviderOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  /** Text is normalised to NFKC; bytes are taken as they are and wiped after the derivation. */
  readonly passphrase: Uint8Array | string;
  /** As stored by the keyring; `undefined` makes a new salt at {@link argon2CostDefault} or `cost`. */
  readonly parameters: ProviderParameters | undefined;
  readonly cost?: Argon2Cost;
}

function whole(value: unknown, min: number, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
}

function readParameters(parameters: ProviderParameters): {
  readonly cost: Argon2Cost;
  readonly salt: Bytes;
  readonly check: Bytes;
} {
  const { kdf, memory_kib: memoryKib, passes, lanes, salt, check } = parameters;
  if (salt === undefined || check === undefined) {
    throw new HoldfastError("keyring_salt_missing", {
      missing: salt === undefined ? "salt" : "check",
    });
  }
  const saltRaw = typeof salt === "string" ? fromBase64url(salt) : undefined;
  const checkRaw = typeof check === "string" ? fromBase64url(check) : undefined;
  if (
    kdf !== "argon2id" ||
    !whole(lanes, 1, limits.argon2LanesMax) ||
    !whole(passes, 1, limits.argon2PassesMax) ||
    !whole(memoryKib, 8 * lanes, limits.argon2MemoryKibMax) ||
    saltRaw?.length !== saltBytes ||
    checkRaw?.length !== checkBytes
  ) {
    throw new HoldfastError("key_parameters_refused", { provider: "software" });
  }
  return { cost: { memoryKib, passes, lanes }, salt: saltRaw, check: checkRaw };
}

interface Derived {
  readonly aead: Aead;
  readonly id: Bytes;
  readonly check: Bytes;
}

function derive(crypto: Crypto, passphrase: Bytes, salt: Bytes, cost: Argon2Cost): Derived {
  return expand(crypto, crypto.argon2id(passphrase, salt, cost, 32));
}

/**
 * What is made of a provider key, one HMAC each (HKDF-Expand, RFC 5869 §2.3, first block). Takes the key over and
 * wipes it.
 */
function expand(crypto: Crypto, providerKey: Bytes): Derived {
  const mac = crypto.hmac(providerKey);
  const wrapKey = mac.mac(labels.wrap);
  try {
    return {
      aead: crypto.aead(wrapKey),
      id: mac.mac(labels.id).slice(0, idBytes),
      check: mac.mac(labels.check).slice(0, checkBytes),
    };
  } finally {
    wipe(providerKey, wrapKey);
  }
}

function passphraseBytes(passphrase: Uint8Array | string): Bytes {
  if (typeof passphrase === "string") return utf8(passphrase.normalize("NFKC"));
  const copy = Uint8Array.from(passphrase);
  wipe(passphrase);
  return copy;
}

/**
 * A software key provider. Throws `key_wrong` when the passphrase does not fit stored parameters,
 * `keyring_salt_missing` when these lack the salt or the key check, and `key_parameters_refused` when they
 * are out of bounds (then nothing is derived).
 */
export function createSoftwareProvider(options: SoftwareProviderOptions): KeyProvider {
  const { crypto, random } = options;
  const passphrase = passphraseBytes(options.passphrase);
  let derived: Derived | undefined;
  let parameters: ProviderParameters;
  try {
    if (options.parameters === undefined) {
      const cost = options.cost ?? argon2CostDefault;
      const salt = random.bytes(saltBytes);
      derived = derive(crypto, passphrase, salt, cost);
      parameters = {
        kdf: "argon2id",
        memory_kib: cost.memoryKib,
        passes: cost.passes,
        lanes: cost.lanes,
        salt: base64url(salt),
        check: base64url(derived.check),
      };
      readParameters(parameters);
    } else {
      parameters = options.parameters;
      const { cost, salt, check } = readParameters(parameters);
      derived = derive(crypto, passphrase, salt, cost);
      if (!equalSecretBytes(derived.check, check)) {
        throw new HoldfastError("key_wrong", { provider: "software" });
      }
    }
  } finally {
    wipe(passphrase);
  }
  const kind = { name: "software", assurance: "software" } as const;
  return providerOver(crypto, random, { ...kind, parameters }, derived);
}

/** What {@link createSecretProvider} takes. */
export interface SecretProviderOptions {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly name: ProviderName;
  readonly assurance: Assurance;
  /** 32 random bytes that something outside this process keeps; wiped. */
  readonly secret: Bytes;
  /** As stored by the keyring, where they hold the key check; `undefined` for a secret that was just made. */
  readonly stored: ProviderParameters | undefined;
  /** What opens it again besides the key check. */
  readonly parameters: ProviderParameters;
}

/**
 * A provider over a secret that is released to this process while the keyring is open: a keychain's, for
 * instance. Throws `key_wrong` when the secret is not that of the stored key check, `keyring_salt_missing` when
 * there is none.
 */
export function createSecretProvider(options: SecretProviderOptions): KeyProvider {
  const { crypto, random, name, assurance, stored } = options;
  invariant(options.secret.length === 32, "the secret of a provider has 32 bytes");
  const derived = expand(crypto, options.secret);
  const parameters = { ...options.parameters, check: base64url(derived.check) };
  if (stored !== undefined) {
    const { check } = stored;
    if (typeof check !== "string")
      throw new HoldfastError("keyring_salt_missing", { missing: "check" });
    const expected = fromBase64url(check) ?? new Uint8Array(0);
    if (!equalSecretBytes(derived.check, expected)) {
      throw new HoldfastError("key_wrong", { provider: name });
    }
  }
  return providerOver(crypto, random, { name, assurance, parameters }, derived);
}

function providerOver(
  crypto: Crypto,
  random: Random,
  kind: Pick<KeyProvider, "name" | "assurance" | "parameters">,
  derived: Derived,
): KeyProvider {
  let held: Derived | undefined = derived;
  const use = (): Derived => {
    invariant(held !== undefined, "a key provider is not used after close");
    return held;
  };
  const wrapBytes = (plain: Uint8Array, context: Uint8Array): Bytes => {
    const { aead, id } = use();
    const nonce = random.bytes(nonceBytes);
    return concat(id, nonce, aead.encrypt(nonce, plain, context));
  };
  const unwrapBytes = (wrapped: Uint8Array, context: Uint8Array): Bytes | null => {
    const { aead, id } = use();
    if (wrapped.length < idBytes || !equalBytes(wrapped.subarray(0, idBytes), id)) return null;
    const broken = (): HoldfastError =>
      new HoldfastError("key_unwrap_failed", { provider: kind.name });
    if (wrapped.length < idBytes + nonceBytes + tagBytes) throw broken();
    const nonce = wrapped.subarray(idBytes, idBytes + nonceBytes);
    const plain = aead.decrypt(nonce, wrapped.subarray(idBytes + nonceBytes), context);
    if (plain === undefined) throw broken();
    return plain;
  };
  const contextOf = (algorithm: SignatureAlgorithm): Bytes =>
    concat(signingContext, utf8(algorithm));
  return {
    name: kind.name,
    assurance: kind.assurance,
    capabilities: {
      sign: ["ed25519", "ecdsa-p256"],
      synchronous: true,
      extractable: false,
      volatile: false,
    },
    parameters: kind.parameters,
    wrap(key, context) {
      invariant(key.length === 32, "a wrapped key has 32 bytes");
      return wrapBytes(key, context);
    },
    unwrap(wrapped, context) {
      const key = unwrapBytes(wrapped, context);
      if (key !== null && key.length !== 32) {
        wipe(key);
        throw new HoldfastError("key_unwrap_failed", { provider: kind.name });
      }
      return key;
    },
    generateSigningKey(algorithm) {
      use();
      invariant(algorithm !== "ecdsa-secp256k1", "capabilities say what can be signed");
      const { privateKey, spki } = crypto.generateSigningKey(algorithm);
      try {
        return { ref: wrapBytes(privateKey, contextOf(algorithm)), spki };
      } finally {
        wipe(privateKey);
      }
    },
    signer(ref, algorithm): Sign | null {
      invariant(algorithm !== "ecdsa-secp256k1", "capabilities say what can be signed");
      const privateKey = unwrapBytes(ref, contextOf(algorithm));
      if (privateKey === null) return null;
      try {
        const sign = crypto.signer(algorithm, privateKey);
        return (message) => {
          use();
          return sign(message);
        };
      } finally {
        wipe(privateKey);
      }
    },
    releaseSigningKey: (ref, algorithm) => unwrapBytes(ref, contextOf(algorithm)),
    adoptSigningKey: (privateKey, algorithm) => wrapBytes(privateKey, contextOf(algorithm)),
    close() {
      if (held !== undefined) wipe(held.id, held.check);
      held = undefined;
    },
  };
}

/**
 * Opens `software` records with one passphrase, and no others. Each try works on its own copy; the caller
 * wipes its bytes once the keyring is open.
 */
export function openSoftwareProvider(
  options: Pick<SoftwareProviderOptions, "crypto" | "random" | "passphrase">,
): OpenProvider {
  const { crypto, random, passphrase } = options;
  return (record) =>
    record.name === "software"
      ? createSoftwareProvider({
          crypto,
          random,
          passphrase: typeof passphrase === "string" ? passphrase : Uint8Array.from(passphrase),
          parameters: record.parameters,
        })
      : null;
}
