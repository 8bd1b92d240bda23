/** MACs under keys of the keyring, made when they are first needed and kept while their records stay. */
import { wipe } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import type { Crypto, Mac } from "../std/ports.ts";
import { type Epoch, unwrapRecord } from "./epoch.ts";
import type { KeyringRecords } from "./keyring-records.ts";
import type { WrappedRecord } from "./record.ts";

const keyBytes = 32;

function keptMac(
  crypto: Crypto,
  epochs: ReadonlyMap<string, Epoch>,
): (record: WrappedRecord) => Mac {
  let held: { readonly wrapped: string; readonly mac: Mac } | undefined;
  return (record) => {
    if (held?.wrapped === record.wrapped) return held.mac;
    const key = unwrapRecord(epochs, record, keyBytes);
    held = { wrapped: record.wrapped, mac: crypto.hmac(key) };
    wipe(key);
    return held.mac;
  };
}

/** MACs that a keyring gives out. */
export interface KeyringMacs {
  /** Under the tenant's pseudonym key, which may arrive later as a grant. */
  pseudonym(): Mac;
  /** Of the high-water mark: of its own key where a rotation has kept one, else of the epoch key. */
  mark(): Mac;
}

/** Over the records of one open keyring. */
export function createKeyringMacs(
  crypto: Crypto,
  epochs: ReadonlyMap<string, Epoch>,
  records: KeyringRecords,
): KeyringMacs {
  const pseudonymOf = keptMac(crypto, epochs);
  const markOf = keptMac(crypto, epochs);
  return {
    pseudonym() {
      const record = records.find((index) => index.pseudonym);
      if (record === undefined) throw new HoldfastError("pseudonym_key_awaited");
      return pseudonymOf(record);
    },
    mark() {
      const { mark } = records.index();
      return mark === undefined ? records.epoch().mark : markOf(mark);
    },
  };
}
