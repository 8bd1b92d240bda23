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
import type { KeyProvider, OpenProvider, ProviderParameters, Sign } from "./provider.ts";

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

/** The provider key and what is made of it, one HMAC each (HKDF-Expand, RFC 5869 §2.3, first block). */
function derive(crypto: Crypto, passphrase: Bytes, salt: Bytes, cost: Argon2Cost): Derived {
  const providerKey = crypto.argon2id(passphrase, salt, cost, 32);
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
  return providerOver(crypto, random, parameters, derived);
}

function providerOver(
  crypto: Crypto,
  random: Random,
  parameters: ProviderParameters,
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
      new HoldfastError("key_unwrap_failed", { provider: "software" });
    if (wrapped.length < idBytes + nonceBytes + tagBytes) throw broken();
    const nonce = wrapped.subarray(idBytes, idBytes + nonceBytes);
    const plain = aead.decrypt(nonce, wrapped.subarray(idBytes + nonceBytes), context);
    if (plain === undefined) throw broken();
    return plain;
  };
  const contextOf = (algorithm: SignatureAlgorithm): Bytes =>
    concat(signingContext, utf8(algorithm));
  return {
    name: "software",
    assurance: "software",
    capabilities: {
      sign: ["ed25519", "ecdsa-p256"],
      synchronous: true,
      extractable: false,
      volatile: false,
    },
    parameters,
    wrap(key, context) {
      invariant(key.length === 32, "a wrapped key has 32 bytes");
      return wrapBytes(key, context);
    },
    unwrap(wrapped, context) {
      const key = unwrapBytes(wrapped, context);
      if (key !== null && key.length !== 32) {
        wipe(key);
        throw new HoldfastError("key_unwrap_failed", { provider: "software" });
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
