/** The signing keys of a keyring. */
import { type Bytes, fromBase64url } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import type { Crypto, SignatureAlgorithm } from "../std/ports.ts";
import { unwrapRecord } from "./epoch.ts";
import type { KeyringRecords } from "./keyring-records.ts";
import { type MaybePromise, type Sign, whenReady } from "./provider.ts";
import type { KeyProviders } from "./providers.ts";
import type { SigningRecord } from "./record.ts";
import type { Unlocked } from "./unlock.ts";

/** The public half of an incarnation's signing key. */
export interface SigningKeyRecord {
  /** base64url(SHA-256(first SPKI))[0:22]. */
  readonly device: string;
  /** 16 hex digits. */
  readonly incarnation: string;
  readonly algorithm: SignatureAlgorithm;
  readonly spki: Bytes;
  /** Id of the provider that holds the private key. */
  readonly provider: string;
}

/**
 * Signs as an incarnation, with the provider that holds its key. What another process or device signed is verified
 * before it is handed on: a wrong signature under a head would make the store look rewritten.
 */
export function signerOf(
  parts: Pick<Unlocked, "epochs" | "providers"> & { readonly crypto: Crypto },
  records: KeyringRecords,
  incarnation: string,
): MaybePromise<Sign> {
  const { crypto, providers } = parts;
  const held = records.find((index) => index.signing.get(incarnation));
  const record = held && signingRecordOf(held, providers);
  if (record === undefined) {
    throw new HoldfastError("keyring_record_missing", { record: "signing", incarnation });
  }
  const provider = providers.get(record.provider);
  if (provider === undefined) {
    throw new HoldfastError("key_provider_unavailable", { provider: record.provider });
  }
  const { spki, algorithm } = signingKeyOf(record);
  const ref = unwrapRecord(parts.epochs, record);
  // The private half was destroyed.
  if (ref.length === 0) {
    throw new HoldfastError("keyring_record_missing", { record: "signing", incarnation });
  }
  return whenReady(provider.signer(ref, algorithm), (sign) => {
    if (sign === null) throw new HoldfastError("keyring_corrupt", { record: "signing" });
    if (provider.capabilities.synchronous) return sign;
    return async (message) => {
      const signature = await sign(message);
      if (crypto.verify(algorithm, spki, message, signature)) return signature;
      providers.failed(record.provider, "sign", "key_answer_wrong");
      throw new HoldfastError("key_answer_wrong", { operation: "sign" });
    };
  });
}

/**
 * Of the records of one signing key, each at another provider, the one that counts here: at the provider that signs
 * now, else at one that works, else the last.
 */
export function signingRecordOf(
  held: readonly SigningRecord[],
  providers: Pick<KeyProviders, "line" | "get">,
): SigningRecord | undefined {
  const line = providers.line();
  return (
    held.find(({ provider }) => provider === line) ??
    held.findLast(({ provider }) => providers.get(provider) !== undefined) ??
    held.at(-1)
  );
}

export function signingKeyOf(record: SigningRecord): SigningKeyRecord {
  const { device, incarnation, algorithm, provider } = record;
  const spki = fromBase64url(record.spki);
  invariant(spki !== undefined, "a signing record was checked when it was read");
  return { device, incarnation, algorithm, spki, provider };
}
