/** Signing keys between providers: moved where the old provider lets them go, and tried before they count. */
import { type Bytes, fromBase64url, utf8, wipe } from "../std/bytes.ts";
import type { Crypto } from "../std/ports.ts";
import { type Epoch, unwrapRecord } from "./epoch.ts";
import type { KeyProvider } from "./provider.ts";
import type { SigningRecord } from "./record.ts";

/** The key's reference at another provider; `undefined` where either of them cannot. */
export async function moveSigningKey(
  epochs: ReadonlyMap<string, Epoch>,
  record: SigningRecord,
  from: KeyProvider,
  to: KeyProvider,
): Promise<Bytes | undefined> {
  if (from.releaseSigningKey === undefined || to.adoptSigningKey === undefined) return undefined;
  const ref = unwrapRecord(epochs, record);
  const key = await from.releaseSigningKey(ref, record.algorithm);
  if (key === null) return undefined;
  try {
    return await to.adoptSigningKey(key, record.algorithm);
  } finally {
    wipe(key);
  }
}

/** What a key signs that is tried. */
export const trial = utf8("holdfast/keyring/trial/v1");

/** Does the provider sign as the record's public key says? */
export async function signsWith(
  crypto: Crypto,
  epochs: ReadonlyMap<string, Epoch>,
  record: SigningRecord,
  provider: KeyProvider,
): Promise<boolean> {
  const spki = fromBase64url(record.spki) ?? new Uint8Array(0);
  const sign = await provider.signer(unwrapRecord(epochs, record), record.algorithm);
  return sign !== null && crypto.verify(record.algorithm, spki, trial, await sign(trial));
}
