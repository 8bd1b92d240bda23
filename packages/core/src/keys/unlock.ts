/** From provider records to the epoch keys of a keyring. */
import { type Bytes, equalSecretBytes, fromBase64url } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { type Epoch, epochContext, epochOver } from "./epoch.ts";
import {
  type KeyProvider,
  type MaybePromise,
  type OpenProvider,
  type ProviderRecord,
  whenReady,
} from "./provider.ts";
import type { EpochRecord, HeaderRecord } from "./record.ts";

export interface Unlocked {
  readonly provider: KeyProvider;
  readonly providerId: string;
  /** Rotation adds and removes. */
  readonly epochs: Map<string, Epoch>;
}

/** Run, and turn a failure, now or later, into a value. */
function attempt<T>(run: () => MaybePromise<T>, failed: (error: unknown) => T): MaybePromise<T> {
  try {
    const value = run();
    return value instanceof Promise ? value.catch(failed) : value;
  } catch (error) {
    return failed(error);
  }
}

/** The first provider that opens the newest epoch; a wrong passphrase for one leaves the others to try. */
export function unlock(
  options: { readonly crypto: Crypto; readonly openProvider: OpenProvider },
  header: HeaderRecord,
  records: readonly ProviderRecord[],
  epochs: readonly EpochRecord[],
): MaybePromise<Unlocked> {
  let wrong: HoldfastError | undefined;
  const noteWrong = (error: unknown): null => {
    if (!isHoldfastError(error, "key_wrong")) throw error;
    wrong = error;
    return null;
  };
  const tryFrom = (at: number): MaybePromise<Unlocked> => {
    const record = records[at];
    if (record === undefined) {
      throw wrong ?? new HoldfastError("key_provider_unavailable", { tried: records.length });
    }
    return whenReady(
      attempt<KeyProvider | null>(() => options.openProvider(record), noteWrong),
      (provider) => {
        if (provider === null) return tryFrom(at + 1);
        const opened = attempt<Map<string, Epoch> | null>(
          () => openEpochs(options.crypto, provider, header, record.id, epochs),
          (error) => {
            provider.close();
            return noteWrong(error);
          },
        );
        return whenReady(opened, (found) =>
          found === null ? tryFrom(at + 1) : { provider, providerId: record.id, epochs: found },
        );
      },
    );
  };
  return tryFrom(0);
}

/** The epoch of a record, through the wrap of that provider; `null`: it has none there. */
export function openEpoch(
  crypto: Crypto,
  provider: KeyProvider,
  header: HeaderRecord,
  providerId: string,
  record: EpochRecord,
): MaybePromise<Epoch | null> {
  const opened = openEpochKey(provider, header, providerId, record);
  return whenReady(opened, (epochKey) =>
    epochKey === null ? null : checkedEpoch(crypto, record, epochKey),
  );
}

/** The epoch key itself, which the caller wipes. */
export function openEpochKey(
  provider: KeyProvider,
  header: HeaderRecord,
  providerId: string,
  record: EpochRecord,
): MaybePromise<Bytes | null> {
  const wrap = record.wraps.find((candidate) => candidate.provider === providerId);
  if (wrap === undefined) return null;
  const wrapped = fromBase64url(wrap.wrapped) ?? new Uint8Array(0);
  return provider.unwrap(wrapped, epochContext(header, record.id, providerId));
}

/** Takes the epoch key over. Throws `keyring_corrupt` when it is not the one that the record was made with. */
export function checkedEpoch(crypto: Crypto, record: EpochRecord, epochKey: Bytes): Epoch {
  const epoch = epochOver(crypto, record.id, epochKey);
  if (!equalSecretBytes(epoch.check, fromBase64url(record.check) ?? new Uint8Array(0))) {
    throw new HoldfastError("keyring_corrupt", { record: "epoch" });
  }
  return epoch;
}

function openEpochs(
  crypto: Crypto,
  provider: KeyProvider,
  header: HeaderRecord,
  providerId: string,
  records: readonly EpochRecord[],
): MaybePromise<Map<string, Epoch>> {
  const epochs = new Map<string, Epoch>();
  const next = (at: number): MaybePromise<Map<string, Epoch>> => {
    const record = records[at];
    if (record === undefined) {
      const newest = records.at(-1);
      if (newest !== undefined && epochs.has(newest.id)) return epochs;
      throw new HoldfastError("key_wrong", { provider: provider.name });
    }
    return whenReady(openEpoch(crypto, provider, header, providerId, record), (epoch) => {
      if (epoch !== null) epochs.set(record.id, epoch);
      return next(at + 1);
    });
  };
  return next(0);
}
