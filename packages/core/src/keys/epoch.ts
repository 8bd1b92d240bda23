/** The epoch key, and the wraps under it (`spec/keyring.md`, "Keys"). */
import { type Bytes, base64url, concat, fromBase64url, utf8, wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import { canonicalBytes } from "../std/jcs.ts";
import type { Aead, Crypto, Mac, Random } from "../std/ports.ts";
import { type HeaderRecord, type WrappedRecord, wrapContext } from "./record.ts";

/** HKDF-Expand to one block (RFC 5869 §2.3) is HMAC(key, info ‖ 0x01). */
const expandLabel = (label: string): Bytes => concat(utf8(label), Uint8Array.of(1));
const epochLabels = {
  wrap: expandLabel("holdfast/keyring/wrap/v1"),
  mark: expandLabel("holdfast/keyring/mark/v1"),
  check: expandLabel("holdfast/keyring/check/v1"),
} as const;
const nonceBytes = 12;

export interface Epoch {
  readonly id: string;
  readonly aead: Aead;
  readonly mark: Mac;
  readonly check: Bytes;
}

/** The key of the high-water mark that belongs to an epoch key. The caller wipes both. */
export function markKeyOf(crypto: Crypto, epochKey: Uint8Array): Bytes {
  return crypto.hmac(epochKey).mac(epochLabels.mark);
}

/** Takes the epoch key over and wipes it. */
export function epochOver(crypto: Crypto, id: string, epochKey: Bytes): Epoch {
  const mac = crypto.hmac(epochKey);
  const wrapKey = mac.mac(epochLabels.wrap);
  const markKey = markKeyOf(crypto, epochKey);
  try {
    const check = mac.mac(epochLabels.check).slice(0, 16);
    return { id, aead: crypto.aead(wrapKey), mark: crypto.hmac(markKey), check };
  } finally {
    wipe(epochKey, wrapKey, markKey);
  }
}

/** What the wrap of an epoch key is bound to. */
export function epochContext(header: HeaderRecord, epoch: string, provider: string): Bytes {
  const { store, tenant } = header;
  return canonicalBytes({ v: 1, kind: "epoch", store, tenant, epoch, provider });
}

/** `Omit` over each member of a union. */
export type WithoutWrapped<T> = T extends WrappedRecord ? Omit<T, "wrapped" | "epoch"> : never;

export function wrapRecord(
  random: Random,
  epoch: Epoch,
  fields: WithoutWrapped<WrappedRecord>,
  secret: Uint8Array,
): WrappedRecord {
  const record = { ...fields, epoch: epoch.id, wrapped: "" } as WrappedRecord;
  const nonce = random.bytes(nonceBytes);
  const wrapped = concat(nonce, epoch.aead.encrypt(nonce, secret, wrapContext(record)));
  return { ...record, wrapped: base64url(wrapped) };
}

/** The same secret under another epoch key; the plaintext is wiped. */
export function rewrapRecord(
  random: Random,
  epochs: ReadonlyMap<string, Epoch>,
  to: Epoch,
  record: WrappedRecord,
): WrappedRecord {
  const secret = unwrapRecord(epochs, record);
  const { wrapped: _, epoch: __, ...fields } = record;
  try {
    return wrapRecord(random, to, fields, secret);
  } finally {
    wipe(secret);
  }
}

export function unwrapRecord(
  epochs: ReadonlyMap<string, Epoch>,
  record: WrappedRecord,
  length?: number,
): Bytes {
  const epoch = epochs.get(record.epoch);
  if (epoch === undefined) throw new HoldfastError("keyring_record_missing", { record: "epoch" });
  const wrapped = fromBase64url(record.wrapped) ?? new Uint8Array(0);
  const secret =
    wrapped.length < nonceBytes
      ? undefined
      : epoch.aead.decrypt(
          wrapped.subarray(0, nonceBytes),
          wrapped.subarray(nonceBytes),
          wrapContext(record),
        );
  if (secret === undefined || (length !== undefined && secret.length !== length)) {
    throw new HoldfastError("keyring_corrupt", { record: record.kind });
  }
  return secret;
}
