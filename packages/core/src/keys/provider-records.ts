/** Providers of an open keyring in step with its records, whoever wrote them. */
import type { Crypto } from "../std/ports.ts";
import type { Merged } from "./copies.ts";
import { isRetired } from "./keyring-rotation.ts";
import type { KeyProviders } from "./providers.ts";
import type { HeaderRecord, KeyringRecord } from "./record.ts";
import { openEpoch, openEpochs, type ProviderCheck, type Unlocked } from "./unlock.ts";

/**
 * Whoever replaced a provider's key elsewhere took it out of use here as well: it opens and signs nothing more. A line
 * that is only damaged takes nothing from a store that is open.
 */
export function dropFormer(providers: KeyProviders, { records, damaged }: Merged): void {
  const isNamed = (id: string): boolean =>
    records.some((one) => one.kind === "provider" && one.id === id);
  for (const { id } of providers.standings()) {
    if (isRetired(records, id) || (!damaged && !isNamed(id))) providers.drop(id);
  }
}

/** Opens epochs that another process has made, where a provider answers at once; else they stay missing. */
export function learnEpochs(
  { crypto, providers, epochs }: Unlocked & { readonly crypto: Crypto },
  merged: Merged,
): void {
  for (const record of merged.records) {
    if (record.kind !== "epoch" || epochs.has(record.id)) continue;
    for (const { provider: id } of record.wraps) {
      const provider = providers.get(id);
      if (provider?.capabilities.synchronous !== true) continue;
      const opened = openEpoch(crypto, provider, merged.header, id, record);
      if (opened instanceof Promise || opened === null) continue;
      epochs.set(record.id, opened);
      break;
    }
  }
}

/** The records as they are now, for providers that are opened again later. */
export interface LatestRecords {
  records: () => readonly KeyringRecord[];
}

/** Does a provider unwrap the newest epoch key? */
export function createProviderCheck(
  crypto: Crypto,
  header: HeaderRecord,
  latest: LatestRecords,
): ProviderCheck {
  return (provider, id) => {
    const epochs = latest.records().filter((record) => record.kind === "epoch");
    return openEpochs(crypto, provider, header, id, epochs.slice(-1));
  };
}
