/**
 * The key providers `pkcs11` and `tpm`: keys that live in a PKCS#11 token and never leave it. The token is held
 * by a process of its own (`token.child.ts`), so that a module that hangs does not stop this one.
 *
 *     aes-gcm    wrapped = key id (8) ‖ 1 ‖ nonce (12) ‖ ciphertext ‖ tag, by the token's AES-256 key, AAD = context
 *     rsa-oaep   wrapped = key id (8) ‖ 2 ‖ check (4) ‖ RSA-OAEP-SHA256 (256) ‖ nonce (12) ‖ ciphertext ‖ tag
 *
 * A TPM makes no AES keys, and SoftHSM's OAEP knows SHA-1 only, so each has its own way. With RSA-OAEP the token
 * opens a fresh AES-256 key, and that one opens the epoch key with the context as AAD: the context is bound as
 * tightly. `check` is SHA-256 of what follows, cut: damage is found without asking a slow device.
 *
 *     ref        = key id (8) ‖ CKA_ID of the signing key (16)
 *
 * What opens the provider again: label of the token, its serial number, key id and way of wrapping. The path of
 * the module is configuration and never read from a keyring: a file that anybody could change would name code
 * that runs.
 */
import { constants, createPublicKey, publicEncrypt } from "node:crypto";
import {
  type Aead,
  type Assurance,
  type Bytes,
  concat,
  type Crypto,
  equalBytes,
  fromHex,
  hex,
  HoldfastError,
  invariant,
  type KeyAlgorithm,
  type KeyProvider,
  type ProviderParameters,
  type Random,
  spkiOfPublicKey,
  toLowS,
  wipe,
} from "@holdfast/core";
import type { OpenedToken, TokenRequest } from "./token-messages.ts";
import { shareTokenProcess, type TokenProcess } from "./token-process.ts";
import { secp256k1LowS, secp256k1Spki } from "./secp256k1.ts";

const idBytes = 8;
const signingIdBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;
const oaepBytes = 256;
const checkBytes = 4;
const forms = { "aes-gcm": 1, "rsa-oaep": 2 } as const;

/** Where a token is, and what opens it. */
export interface TokenAccess {
  /** Path of the PKCS#11 module. */
  readonly module: string;
  /** Label of the token. */
  readonly token: string;
  /** A copy is taken, and wiped when the provider is closed. */
  readonly pin: Uint8Array;
  /** Environment that the module reads: `SOFTHSM2_CONF`, `TPM2_PKCS11_STORE`, … */
  readonly environment?: Readonly<Record<string, string>>;
}

/** What {@link openTokenProvider} takes. */
export interface TokenProviderOptions extends TokenAccess {
  readonly name: "pkcs11" | "tpm";
  readonly crypto: Crypto;
  readonly random: Random;
  /** As stored by the keyring; `undefined` makes a wrapping key on the token. */
  readonly parameters: ProviderParameters | undefined;
}

/** Tokens whose PIN was refused: never tried again by this process, because the third time locks the token. */
const refusedPins = new Set<string>();

function readParameters(parameters: ProviderParameters): {
  readonly key: Bytes;
  readonly wrap: keyof typeof forms;
} {
  const { key, wrap } = parameters;
  const id = typeof key === "string" ? fromHex(key) : undefined;
  if (id?.length !== idBytes || (wrap !== "aes-gcm" && wrap !== "rsa-oaep")) {
    throw new HoldfastError("key_parameters_refused", { provider: "pkcs11" });
  }
  return { key: id, wrap };
}

/** A TPM and a token that say they are programs are as strong as the system that runs them. */
function assuranceOf({ hardware, model }: OpenedToken): Assurance {
  return hardware && !/^SW\b/.test(model) ? "hardware" : "os";
}

/**
 * Opens a token and finds the wrapping key of the parameters, or makes one. Throws `key_pin_refused`,
 * `key_provider_failed`, `key_module_missing`, `key_parameters_refused`, `key_unwrap_failed` when the token has no
 * such key.
 */
export async function openTokenProvider(options: TokenProviderOptions): Promise<KeyProvider> {
  const place = `${options.module}\n${options.token}`;
  if (refusedPins.has(place)) {
    throw new HoldfastError("key_pin_refused", { provider: options.name, tried: false });
  }
  const stored = options.parameters === undefined ? {} : readParameters(options.parameters);
  const holder = shareTokenProcess(place, options.environment ?? {});
  try {
    const pin = Uint8Array.from(options.pin);
    const asked = holder.ask<OpenedToken>({
      ask: "open",
      module: options.module,
      token: options.token,
      environment: options.environment ?? {},
      pin,
      ...stored,
      ...(options.parameters === undefined && options.name === "tpm"
        ? { wrap: "rsa-oaep" as const }
        : {}),
    });
    wipe(pin);
    return providerOver(options, holder, await asked);
  } catch (error) {
    holder.close();
    if (error instanceof HoldfastError && error.code === "key_pin_refused") refusedPins.add(place);
    throw error;
  }
}

function providerOver(
  options: TokenProviderOptions,
  holder: TokenProcess,
  opened: OpenedToken,
): KeyProvider {
  const { name, crypto, random } = options;
  const keyId = Uint8Array.from(opened.key);
  const form = forms[opened.wrap];
  let closed = false;
  const ask = <T>(request: TokenRequest): Promise<T> => {
    invariant(!closed, "a key provider is not used after close");
    return holder.ask<T>(request, opened.of);
  };
  const broken = (): HoldfastError => new HoldfastError("key_unwrap_failed", { provider: name });
  const isMine = (bytes: Uint8Array): boolean => equalBytes(bytes.subarray(0, idBytes), keyId);
  const body = (wrapped: Uint8Array, least: number): Bytes => {
    if (wrapped[idBytes] !== form || wrapped.length < idBytes + 1 + least) throw broken();
    return Uint8Array.from(wrapped.subarray(idBytes + 1));
  };

  async function wrapInside(key: Uint8Array, context: Uint8Array): Promise<Bytes> {
    const nonce = random.bytes(nonceBytes);
    const plain = Uint8Array.from(key);
    const asked = ask<Uint8Array>({ ask: "encrypt", nonce, aad: context, plain });
    wipe(plain);
    return concat(keyId, Uint8Array.of(form), nonce, await asked);
  }

  async function unwrapInside(wrapped: Uint8Array, context: Uint8Array): Promise<Bytes> {
    const rest = body(wrapped, nonceBytes + tagBytes);
    const nonce = rest.subarray(0, nonceBytes);
    const cipher = rest.subarray(nonceBytes);
    const key = await ask<Uint8Array>({ ask: "decrypt", nonce, aad: context, cipher });
    return Uint8Array.from(key);
  }

  function wrapAround(key: Uint8Array, context: Uint8Array): Bytes {
    const fresh = random.bytes(32);
    try {
      const nonce = random.bytes(nonceBytes);
      const outer = encryptOaep(opened, fresh);
      const inner = concat(outer, nonce, crypto.aead(fresh).encrypt(nonce, key, context));
      const check = crypto.sha256(keyId, inner).subarray(0, checkBytes);
      return concat(keyId, Uint8Array.of(form), check, inner);
    } finally {
      wipe(fresh);
    }
  }

  async function unwrapAround(wrapped: Uint8Array, context: Uint8Array): Promise<Bytes> {
    const rest = body(wrapped, checkBytes + oaepBytes + nonceBytes + tagBytes);
    const inner = rest.subarray(checkBytes);
    const check = crypto.sha256(keyId, inner).subarray(0, checkBytes);
    if (!equalBytes(check, rest.subarray(0, checkBytes))) throw broken();
    const cipher = inner.slice(0, oaepBytes);
    const fresh = await ask<Uint8Array>({ ask: "decrypt-oaep", cipher });
    if (fresh.length !== 32) throw broken();
    const aead: Aead = crypto.aead(fresh);
    wipe(fresh);
    const nonce = inner.subarray(oaepBytes, oaepBytes + nonceBytes);
    const key = aead.decrypt(nonce, inner.subarray(oaepBytes + nonceBytes), context);
    if (key === undefined) throw broken();
    return key;
  }

  const inside = opened.wrap === "aes-gcm";
  return {
    name,
    assurance: assuranceOf(opened),
    capabilities: {
      sign: opened.algorithms,
      synchronous: false,
      extractable: opened.extractable,
      volatile: false,
    },
    parameters: {
      token: options.token,
      serial: opened.serial,
      key: hex(keyId),
      wrap: opened.wrap,
      assurance: assuranceOf(opened),
    },
    wrap(key, context) {
      invariant(key.length === 32, "a wrapped key has 32 bytes");
      invariant(!closed, "a key provider is not used after close");
      return inside ? wrapInside(key, context) : Promise.resolve(wrapAround(key, context));
    },
    async unwrap(wrapped, context) {
      invariant(!closed, "a key provider is not used after close");
      if (!isMine(wrapped)) return null;
      const key = await (inside ? unwrapInside(wrapped, context) : unwrapAround(wrapped, context));
      if (key.length === 32) return key;
      wipe(key);
      throw broken();
    },
    async generateSigningKey(algorithm) {
      const id = random.bytes(signingIdBytes);
      const point = await ask<Uint8Array>({ ask: "generate", algorithm, id });
      return { ref: concat(keyId, id), spki: spkiOf(algorithm, Uint8Array.from(point)) };
    },
    async signer(ref, algorithm) {
      invariant(!closed, "a key provider is not used after close");
      if (!isMine(ref)) return null;
      const id = Uint8Array.from(ref.subarray(idBytes));
      const found = id.length === signingIdBytes && (await ask<boolean>({ ask: "find", id }));
      if (!found) throw broken();
      return async (message) => {
        const signed = algorithm === "ed25519" ? Uint8Array.from(message) : crypto.sha256(message);
        const made = await ask<Uint8Array>({ ask: "sign", algorithm, id, message: signed });
        return lowS(algorithm, Uint8Array.from(made));
      };
    },
    close() {
      if (closed) return;
      closed = true;
      holder.close();
    },
  };
}

/** With the public key nobody needs the token. */
function encryptOaep({ rsa }: OpenedToken, plain: Uint8Array): Bytes {
  invariant(rsa !== undefined, "a token that wraps by RSA has shown its public key");
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
  const jwk = { kty: "RSA", n: text(rsa.modulus), e: text(rsa.exponent) };
  const key = createPublicKey({ key: jwk, format: "jwk" });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  return Uint8Array.from(publicEncrypt({ key, padding, oaepHash: "sha256" }, plain));
}

function spkiOf(algorithm: KeyAlgorithm, point: Bytes): Bytes {
  return algorithm === "ecdsa-secp256k1" ? secp256k1Spki(point) : spkiOfPublicKey(algorithm, point);
}

function lowS(algorithm: KeyAlgorithm, signature: Bytes): Bytes {
  if (algorithm === "ed25519") return signature;
  return algorithm === "ecdsa-p256" ? toLowS(signature) : secp256k1LowS(signature);
}
