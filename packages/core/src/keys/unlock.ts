/**
 * From provider records to the epoch keys of a keyring. Every provider that this process can open is opened,
 * and the best one that works unwraps the epoch keys: the second wrap of an epoch key is there for the case
 * that the first one's provider does not answer.
 */
import { type Bytes, equalSecretBytes, fromBase64url } from "../std/bytes.ts";
import { HoldfastError, isHoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { type Epoch, epochContext, epochOver } from "./epoch.ts";
import { keyDeadlinesDefault, underDeadline } from "./guard.ts";
import { assurances, inPreference, type KeyPolicy, keyPolicyDefault } from "./policy.ts";
import {
  assuranceOfKind,
  type KeyProvider,
  type MaybePromise,
  type OpenProvider,
  type ProviderRecord,
  whenReady,
} from "./provider.ts";
import {
  createKeyProviders,
  type KeyProviders,
  type KeyUse,
  type OpenedProvider,
} from "./providers.ts";
import type { EpochRecord, HeaderRecord } from "./record.ts";

export interface Unlocked {
  readonly providers: KeyProviders;
  /** Rotation adds and removes. */
  readonly epochs: Map<string, Epoch>;
}

export interface UnlockOptions {
  readonly crypto: Crypto;
  readonly openProvider: OpenProvider;
  readonly use: KeyUse;
  /** Does a provider that is opened again unwrap the epoch key that is then the newest? */
  readonly check: ProviderCheck;
  /** A provider whose key is being replaced by that of another one, which does not count yet. */
  readonly replacing?: { readonly from: string; readonly to: string } | undefined;
}

/** Throws when a provider does not unwrap as it should. */
export type ProviderCheck = (provider: KeyProvider, id: string) => MaybePromise<unknown>;

/** What opens, and what unwraps with it. */
interface Tried extends OpenedProvider {
  readonly epochs?: Map<string, Epoch>;
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

/**
 * Opens every provider of the keyring and unwraps with the best. Where none of them does: the failure of the
 * first one that was tried (`key_wrong`, `key_provider_timeout`, …), or `key_provider_unavailable`.
 */
export function unlock(
  options: UnlockOptions,
  header: HeaderRecord,
  records: readonly ProviderRecord[],
  epochs: readonly EpochRecord[],
): MaybePromise<Unlocked> {
  const policy = options.use.policy ?? keyPolicyDefault;
  const ordered = preferredFirst(policy, records);
  // All at once: what takes its time in another process does so while this one derives a key.
  const opening = ordered.map((record) => openOne(options, record));
  const finish = (all: readonly Tried[]): Unlocked => {
    const found = all.find((one) => one.epochs !== undefined)?.epochs;
    const tried = countingNow(options, all);
    if (found === undefined) {
      for (const { provider } of tried) provider?.close();
      throw worst(tried) ?? new HoldfastError("key_provider_unavailable", { tried: tried.length });
    }
    const { use, openProvider, check } = options;
    const providers = createKeyProviders({ use, openProvider, opened: tried, check });
    try {
      providers.choose();
      return { providers, epochs: found };
    } catch (error) {
      providers.close();
      throw error;
    }
  };
  const unwrapWith = (one: OpenedProvider): MaybePromise<Tried> =>
    unwrapEpochs(options, header, one, epochs);
  /** The first that unwraps is enough; later ones are asked only when it does not. */
  const tryFrom = (at: number, tried: readonly Tried[]): MaybePromise<Unlocked> => {
    const next = opening[at];
    if (next === undefined) return finish(tried);
    return whenReady(next, (one) => {
      const done = tried.some((before) => before.epochs !== undefined);
      if (done || one.provider === null) return tryFrom(at + 1, [...tried, one]);
      return whenReady(unwrapWith(one), (result) => tryFrom(at + 1, [...tried, result]));
    });
  };
  return tryFrom(0, []);
}

/**
 * While a provider's key is being replaced, one of the two counts: the former where it opens, else the new one. With
 * both, the new one would sign before it is known to be in both copies, or the former would pass for a failure.
 */
function countingNow({ replacing }: UnlockOptions, tried: readonly Tried[]): readonly Tried[] {
  if (replacing === undefined) return tried;
  const { from, to } = replacing;
  const opens = (id: string): boolean =>
    tried.some(({ record, provider }) => record.id === id && provider !== null);
  const left = opens(from) || !opens(to) ? to : from;
  for (const { record, provider } of tried) if (record.id === left) provider?.close();
  return tried.filter(({ record }) => record.id !== left);
}

/** Why the first of them did not open; a wrong passphrase for one does not hide what is broken with another. */
function worst(tried: readonly Tried[]): HoldfastError | undefined {
  const errors = tried.flatMap(({ error }) => (error === undefined ? [] : [error]));
  return errors.find(({ code }) => code !== "key_wrong") ?? errors.at(-1);
}

function preferredFirst(
  policy: KeyPolicy,
  records: readonly ProviderRecord[],
): readonly ProviderRecord[] {
  const candidates = records.map((record) => ({
    id: record.id,
    name: record.name,
    assurance: assuranceOfKind(record),
    state: "ready" as const,
  }));
  const everything: KeyPolicy = { ...policy, minimum: assurances[0] };
  const order = inPreference(everything, candidates).map(({ id }) => id);
  // What the policy does not allow is not opened at all.
  return order.flatMap((id) => records.find((record) => record.id === id) ?? []);
}

/** Opens the provider of a record within its deadline. */
function openOne(options: UnlockOptions, record: ProviderRecord): MaybePromise<OpenedProvider> {
  const { use } = options;
  const ms = use.deadlines?.open ?? keyDeadlinesDefault.open;
  return attempt<OpenedProvider>(
    () => {
      const opened = options.openProvider(record);
      const timed =
        opened instanceof Promise
          ? underDeadline(use.time?.timers, ms, "open", opened, (late) => late?.close())
          : opened;
      return whenReady(timed, (provider): OpenedProvider => ({ record, provider }));
    },
    (error) => {
      if (!isHoldfastError(error)) throw error;
      return { record, provider: null, error };
    },
  );
}

/** The same provider, with the epoch keys that it unwraps, or closed and with its failure. */
function unwrapEpochs(
  options: UnlockOptions,
  header: HeaderRecord,
  { record, provider }: OpenedProvider,
  records: readonly EpochRecord[],
): MaybePromise<Tried> {
  if (provider === null) return { record, provider };
  const { use } = options;
  const ms = use.deadlines?.open ?? keyDeadlinesDefault.open;
  return attempt<Tried>(
    () => {
      const opened = openEpochs(options.crypto, provider, header, record.id, records);
      const timed =
        opened instanceof Promise ? underDeadline(use.time?.timers, ms, "unwrap", opened) : opened;
      return whenReady(timed, (epochs): Tried => ({ record, provider, epochs }));
    },
    (error) => {
      provider.close();
      if (!isHoldfastError(error)) throw error;
      return { record, provider: null, error };
    },
  );
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

/** The epochs of those records that the provider has wraps of. Throws `key_wrong` without that of the last one. */
export function openEpochs(
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
