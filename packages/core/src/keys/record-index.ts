/** Records of a keyring by what they are asked for. */
import type {
  DataKeyRecord,
  EpochRecord,
  HpkeRecord,
  KeyringRecord,
  MarkRecord,
  PageRecord,
  PseudonymRecord,
  RotationRecord,
  ShredRecord,
  SigningRecord,
  WrappedRecord,
} from "./record.ts";

/** Records by what they are asked for; rebuilt when the file was read anew. */
export interface Index {
  readonly data: Map<string, Map<number, DataKeyRecord>>;
  readonly own: Map<string, DataKeyRecord>;
  readonly signing: Map<string, readonly SigningRecord[]>;
  /** By scope and section; an empty section: all. */
  readonly shreds: Map<string, ShredRecord>;
  page: PageRecord | undefined;
  hpke: HpkeRecord | undefined;
  pseudonym: PseudonymRecord | undefined;
  mark: MarkRecord | undefined;
  epoch: EpochRecord | undefined;
  rotation: RotationRecord | undefined;
}

export function ownKey(scope: string, section: string): string {
  return `${scope}\u0000${section}`;
}

/** The record that says that keys of that scope and section class are destroyed for good. */
export function shredIn(
  { shreds }: Pick<Index, "shreds">,
  scope: string,
  section: string,
): ShredRecord | undefined {
  return shreds.get(ownKey(scope, "")) ?? shreds.get(ownKey(scope, section));
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
    case "signing": {
      // One line for each provider that holds the key; the last is what signs.
      const others = index.signing.get(record.incarnation) ?? [];
      const kept = others.filter(({ provider }) => provider !== record.provider);
      index.signing.set(record.incarnation, [...kept, record]);
      return;
    }
    case "page":
      index.page = record;
      return;
    case "hpke":
      index.hpke = record;
      return;
    case "shred":
      index.shreds.set(ownKey(record.scope, record.section ?? ""), record);
      return;
    case "pseudonym":
      index.pseudonym = record;
      return;
    case "mark":
      index.mark = record;
      return;
    case "epoch":
      index.epoch = record;
      return;
    case "rotation":
      index.rotation = record;
      return;
    case "keyring":
    case "provider":
    case "recovery":
    case "escrow":
    case "unknown":
  }
}

export function indexOf(records: readonly KeyringRecord[]): Index {
  const index: Index = {
    data: new Map(),
    own: new Map(),
    signing: new Map(),
    shreds: new Map(),
    page: undefined,
    hpke: undefined,
    pseudonym: undefined,
    mark: undefined,
    epoch: undefined,
    rotation: undefined,
  };
  for (const record of records) addToIndex(index, record);
  return index;
}

/** Records by what they are about, the last of each; in the order in which these first came. */
export function latestOf(records: readonly KeyringRecord[]): Map<string, WrappedRecord> {
  const latest = new Map<string, WrappedRecord>();
  for (const record of records) {
    const name = wrappedName(record);
    if (name !== undefined) latest.set(name, record as WrappedRecord);
  }
  return latest;
}

/** What a wrapped record is about; `undefined` for other records. */
export function wrappedName(record: KeyringRecord): string | undefined {
  switch (record.kind) {
    case "data":
      return `data/${record.id}/${record.generation}`;
    case "signing":
      return `signing/${record.incarnation}/${record.provider}`;
    case "hpke":
      return `hpke/${record.public}`;
    case "shred":
      return `shred/${record.scope}/${record.section ?? ""}/${record.shred}`;
    case "page":
    case "mark":
    case "pseudonym":
      return record.kind;
    default:
      return undefined;
  }
}
