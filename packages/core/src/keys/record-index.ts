/** Records of a keyring by what they are asked for. */
import type {
  DataKeyRecord,
  EpochRecord,
  HpkeRecord,
  KeyringRecord,
  PageRecord,
  PseudonymRecord,
  SigningRecord,
} from "./record.ts";

/** Records by what they are asked for; rebuilt when the file was read anew. */
export interface Index {
  readonly data: Map<string, Map<number, DataKeyRecord>>;
  readonly own: Map<string, DataKeyRecord>;
  readonly signing: Map<string, SigningRecord>;
  page: PageRecord | undefined;
  hpke: HpkeRecord | undefined;
  pseudonym: PseudonymRecord | undefined;
  epoch: EpochRecord | undefined;
}

export function ownKey(scope: string, section: string): string {
  return `${scope}\u0000${section}`;
}

export function addToIndex(index: Index, record: KeyringRecord): void {
  switch (record.kind) {
    case "data": {
      const generations = index.data.get(record.id) ?? new Map<number, DataKeyRecord>();
      index.data.set(record.id, generations.set(record.generation, record));
      if (record.origin !== "own") return;
      const pair = ownKey(record.scope, record.section);
      const newest = index.own.get(pair);
      if (newest === undefined || newest.generation <= record.generation)
        index.own.set(pair, record);
      return;
    }
    case "signing":
      index.signing.set(record.incarnation, record);
      return;
    case "page":
      index.page = record;
      return;
    case "hpke":
      index.hpke = record;
      return;
    case "pseudonym":
      index.pseudonym = record;
      return;
    case "epoch":
      index.epoch = record;
      return;
    case "keyring":
    case "provider":
    case "unknown":
  }
}

export function indexOf(records: readonly KeyringRecord[]): Index {
  const index: Index = {
    data: new Map(),
    own: new Map(),
    signing: new Map(),
    page: undefined,
    hpke: undefined,
    pseudonym: undefined,
    epoch: undefined,
  };
  for (const record of records) addToIndex(index, record);
  return index;
}
