/**
 * The port of key providers: where keys live and are used. A provider wraps the epoch key and holds the
 * device's signing keys; everything below the epoch key is software (see `keyring.ts`).
 *
 * A provider says how it may fail. `unwrap` and `signer` answer `null` for "not mine" and throw
 * `key_unwrap_failed` for "mine, but broken"; any call may throw `key_provider_failed` when the device behind it
 * does not do its part, and `guard.ts` adds `key_provider_timeout`. What a provider can do is in `capabilities`: branch on them,
 * never on the name. The conformance suite is `testkit/src/key-provider.suite.ts`.
 */
import type { Assurance } from "../event/event.ts";
import type { Bytes } from "../std/bytes.ts";
import type { SignatureAlgorithm } from "../std/ports.ts";

/** Every kind of key provider. */
export const providerNames = ["pkcs11", "tpm", "os-keychain", "software", "simulator"] as const;
/** Name of a kind of key provider. */
export type ProviderName = (typeof providerNames)[number];

/** A value now or later: platforms with synchronous cryptography answer at once. */
export type MaybePromise<T> = T | Promise<T>;

/** Continue with a value that may still be on its way, at once where it is here. */
export function whenReady<T, U>(
  value: MaybePromise<T>,
  next: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** What a keyring stores to open a provider again: public, flat, never key material. */
export type ProviderParameters = Readonly<Record<string, string | number>>;

/** Algorithms of keys in providers: those of device logs, and that of Bitcoin transactions. */
export type KeyAlgorithm = SignatureAlgorithm | "ecdsa-secp256k1";

/** Signs one message with one key. Ed25519: 64 bytes (RFC 8032); ECDSA over SHA-256: r ‖ s, 64 bytes, low s. */
export type Sign = (message: Uint8Array) => MaybePromise<Bytes>;

/** Where keys live and are used; see the module header. */
export interface KeyProvider {
  readonly name: ProviderName;
  readonly assurance: Assurance;
  readonly capabilities: {
    readonly sign: readonly KeyAlgorithm[];
    /** Does every method answer without a promise? */
    readonly synchronous: boolean;
    /** Could the provider keep its keys to itself, and does not? Then whoever may use them may copy them. */
    readonly extractable: boolean;
    /** Are its keys gone with the process or with the machine's next start? */
    readonly volatile: boolean;
  };
  /** What the keyring's `provider` record keeps (salt, cost, key check; a token's label; …). */
  readonly parameters: ProviderParameters;
  /** Wrap a 32-byte key, bound to a context that `unwrap` must repeat. */
  wrap(key: Uint8Array, context: Uint8Array): MaybePromise<Bytes>;
  /**
   * The key, which the caller wipes. `null`: not wrapped by this provider's key. Throws `key_unwrap_failed`
   * when it was, and the bytes or the context are not those of `wrap`.
   */
  unwrap(wrapped: Uint8Array, context: Uint8Array): MaybePromise<Bytes | null>;
  /**
   * A new signing key. `ref` is opaque and safe to store: a reference, or the private key wrapped. `spki` is
   * the DER SubjectPublicKeyInfo.
   */
  generateSigningKey(
    algorithm: KeyAlgorithm,
  ): MaybePromise<{ readonly ref: Bytes; readonly spki: Bytes }>;
  /** Signs with the key of `ref`. `null`: not this provider's key; throws `key_unwrap_failed` when broken. */
  signer(ref: Uint8Array, algorithm: KeyAlgorithm): MaybePromise<Sign | null>;
  /**
   * The private key of `ref`, PKCS#8, which the caller wipes; `null` as `signer`. Only where the provider cannot
   * keep keys to itself anyway: then they move along when its own key is rotated.
   */
  releaseSigningKey?(ref: Uint8Array, algorithm: SignatureAlgorithm): MaybePromise<Bytes | null>;
  /** Takes over a private key (PKCS#8) that another provider released; its `ref` here. */
  adoptSigningKey?(privateKey: Uint8Array, algorithm: SignatureAlgorithm): MaybePromise<Bytes>;
  /** Wipes what it holds. Any later call is a bug (an assertion). */
  close(): void;
}

/** Strength of a kind, where the provider itself is not at hand to say its own. */
const kindAssurances: Readonly<Record<ProviderName, Assurance>> = {
  pkcs11: "hardware",
  tpm: "hardware",
  "os-keychain": "os",
  software: "software",
  simulator: "none",
};

/** What a record says of its provider's assurance, else what its kind has. */
export function assuranceOfKind({ name, parameters }: ProviderRecord): Assurance {
  const stated = parameters["assurance"];
  const known = stated === "hardware" || stated === "os" || stated === "software";
  return known || stated === "none" ? stated : kindAssurances[name];
}

/** The public part of a `provider` record: enough to open that provider again. */
export interface ProviderRecord {
  readonly id: string;
  readonly name: ProviderName;
  readonly parameters: ProviderParameters;
}

/** Opens the provider of a record; `null` when this process cannot or may not use it. */
export type OpenProvider = (record: ProviderRecord) => MaybePromise<KeyProvider | null>;
