/**
 * The keyring: the current and former keys of one installation.
 *
 * A key of each provider wraps the epoch key; the epoch key wraps, in software, the store's page key, the tenant's
 * pseudonym key, the data keys, the references of signing keys and the private HPKE key. All of it stands in
 * a record file of two copies (`copies.ts`, `record.ts`; format in `spec/keyring.md`). Nothing is recreated: a keyring that does not open says why (`key_wrong`, `keyring_missing`,
 * `keyring_salt_missing`, `keyring_corrupt`, `keyring_foreign`, `keyring_newer`, `keyring_record_missing`).
 * Keys are unwrapped when they are asked for; raw bytes are wiped and only handles stay.
 */
import { type Bytes, base64url, concat, fromBase64url, wipe } from "../std/bytes.ts";
import { HoldfastError, invariant } from "../std/errors.ts";
import type { Crypto, Mac, Random } from "../std/ports.ts";
import {
  type Copies,
  type KeyringFiles,
  type KeyringFinding,
  type Merged,
  openCopies,
} from "./copies.ts";
import {
  type KeyProvider,
  type MaybePromise,
  type OpenProvider,
  type Sign,
  whenReady,
} from "./provider.ts";
import { type Epoch, epochContext, epochOver, unwrapRecord, wrapRecord } from "./epoch.ts";
import { createKeyringRecords } from "./keyring-records.ts";
import { createKeyringShreds, type KeyringShreds } from "./keyring-shreds.ts";
import { type DataKey, type DataKeyMaterial, dataKeyOver, type HeldDataKey } from "./data-key.ts";
import { createKeyringMacs } from "./epoch-macs.ts";
import { createGenerations, type KeyGenerations } from "./generations.ts";
import { createKeyringRecovery, type KeyringRecovery } from "./keyring-recovery.ts";
import {
  createKeyringRotation,
  isRetired,
  type KeyringRotation,
  replacingOf,
} from "./keyring-rotation.ts";
import type { RotationGround } from "./rotation-ground.ts";
import type { RecoveryCipher } from "./recovery-cipher.ts";
import { createPseudonyms } from "./pseudonyms.ts";
import { createKeyProviders, type KeyProviders, type KeyUse } from "./providers.ts";
import { signerOf, type SigningKeyRecord, signingKeyOf, signingRecordOf } from "./signing.ts";
import {
  createProviderCheck,
  dropFormer,
  type LatestRecords,
  learnEpochs,
} from "./provider-records.ts";
import { type Unlocked, unlock } from "./unlock.ts";
import { indexOf, ownKey } from "./record-index.ts";
import {
  type DataKeyRecord,
  type EpochRecord,
  type HeaderRecord,
  type KeyringRecord,
  type WrappedRecord,
  encodeRecord,
  keyringFormatFirst,
} from "./record.ts";

/** The keys of one installation, open for use; dispose of it to wipe them. */
export interface Keyring extends Disposable, KeyGenerations {
  readonly storeId: string;
  readonly tenant: string;
  /** The provider that signs and unwraps now. Throws as {@link KeyProviders.choose}. */
  readonly provider: KeyProvider;
  /** The providers of this keyring; it owns and closes them. */
  readonly providers: KeyProviders;
  /** What was wrong with the copies when they were last read. */
  readonly findings: readonly KeyringFinding[];
  /** 32 bytes, a fresh copy: the caller wipes it. */
  pageKey(): Bytes;
  /**
   * Pseudonyms: HMAC under the tenant's pseudonym key, 16 bytes, base64url (22 characters). Throw
   * `pseudonym_key_awaited` while that key has not arrived.
   */
  scopeOf(subjectKey: string, site: string, n?: number): string;
  streamOf(resourceKey: string): string;
  actorOf(actorKey: string): string;
  /** A server on `reads: none` has none. */
  readonly hasPseudonymKey: boolean;
  /**
   * The key that seals: the newest generation of this store's own key of the pair. Makes one where there is
   * none, which is pending until {@link Keyring.flush}. Throws `scope_shredded`.
   */
  dataKeyToSeal(scope: string, section: string): DataKey;
  /** The key to open with. On a miss the file is read once more if it has changed. */
  dataKey(id: string, generation: number): DataKey | undefined;
  /** New keys, with new ids, in place of own keys of those scopes; the former open. Durable: how many. */
  renewDataKeys(concerns: (scope: string) => boolean): number;
  /** Every data key here, in all its generations, own and granted; without its bytes. */
  dataKeys(): readonly HeldDataKey[];
  /** The newest generation of a key. */
  dataKeyById(id: string): DataKey | undefined;
  /** Pending keys durable in both copies, before the COMMIT that uses them; nothing to do costs nothing. */
  flush(): void;
  /**
   * Read the copies again where another process changed them, as a writer does that gets the lease. After a
   * change of epoch by another process, lookups answer `keyring_record_missing`: open anew.
   */
  refresh(): void;
  /** Work with the store's lease held, while nobody else writes: the copies are looked at once, at its start. */
  steadily<T>(work: () => T): T;
  /** Forget pending keys after a failed sealing. */
  release(): void;
  /** Durable when it returns. `ref` comes from `generateSigningKey` of that provider, by default the chosen one. */
  addSigningKey(
    record: Omit<SigningKeyRecord, "provider"> & {
      readonly ref: Uint8Array;
      readonly provider?: string;
    },
  ): void;
  signingKeys(): readonly SigningKeyRecord[];
  /**
   * Signs as that incarnation; `keyring_record_missing` when its key is not in this keyring,
   * `key_provider_unavailable` when its provider does not work. Signatures of other processes are verified before
   * they are handed on (`key_answer_wrong`).
   */
  signer(incarnation: string): MaybePromise<Sign>;
  /** Authenticates the high-water mark; its key is derived from the epoch key. */
  markMac(): Mac;
  /** The installation's HPKE key pair (X25519). `privateKey()` is a fresh copy: the caller wipes it. */
  hpke(): { readonly publicKey: Bytes; readonly privateKey: () => Bytes };
  /** A key that arrived as a grant: opens, never seals. Durable when it returns. Throws `scope_shredded`. */
  addDataKey(material: DataKeyMaterial): void;
  /** The tenant's pseudonym key that arrived as a grant. Durable when it returns. */
  addPseudonymKey(key: Uint8Array): void;
  /** The bytes of a data key, to grant it; `undefined` when there is none. The caller wipes them. */
  dataKeyMaterial(id: string, generation: number): DataKeyMaterial | undefined;
  /** The bytes of the pseudonym key, to grant it. The caller wipes them. */
  pseudonymKey(): Bytes | undefined;
  /** Rotation of the epoch key and of provider keys. */
  readonly rotation: KeyringRotation;
  /** Keys that were destroyed for good. */
  readonly shreds: KeyringShreds;
  /** Recovery keys, kept offline. */
  readonly recovery: KeyringRecovery;
  /** Writes the copies anew where findings can be repaired; needs the store's lease, as every write. */
  repair(): void;
}

/** Ports that every keyring needs. */
export interface KeyringDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly files: KeyringFiles;
  /** Wraps to recovery keys, where the keyring has any (`@holdfast/core/recovery`). */
  readonly recovery?: RecoveryCipher;
}

/** What {@link createKeyring} takes. */
export interface CreateKeyringOptions extends KeyringDeps {
  /** Owned by the keyring from here on. */
  readonly provider: KeyProvider;
  /** More of them, each with a wrap of the epoch key: what signs and unwraps when the first does not work. */
  readonly others?: readonly KeyProvider[];
  /** How they are used; see {@link OpenKeyringOptions}. */
  readonly use?: KeyUse;
  /** Opens them again after a failure. */
  readonly openProvider?: OpenProvider;
  /** 16 random bytes as base64url; made when absent. */
  readonly storeId?: string;
  readonly tenant: string;
  /** Make the tenant's pseudonym key (default), or wait for it to arrive as a grant. */
  readonly pseudonymKey?: "make" | "await";
}

/** What {@link openKeyring} takes. */
export interface OpenKeyringOptions extends KeyringDeps {
  readonly openProvider: OpenProvider;
  /** Policy, deadlines and whom to tell; default: `keyPolicyDefault`, no deadlines, nobody. */
  readonly use?: KeyUse;
  /** Refuse another store or tenant with `keyring_foreign`. */
  readonly storeId?: string;
  readonly tenant?: string;
}

const keyBytes = 32;

/** A record that every keyring has: damaged where lines were damaged, else never there. */
function required<T>(value: T | undefined, kind: string, merged: Merged): T {
  if (value !== undefined) return value;
  throw new HoldfastError(merged.damaged ? "keyring_corrupt" : "keyring_record_missing", {
    record: kind,
  });
}

/**
 * A new keyring in both copies: epoch key, page key, HPKE key and, unless it is to arrive as a grant, the
 * tenant's pseudonym key. Throws `keyring_exists` when either copy is there: nothing is ever recreated.
 */
export function createKeyring(options: CreateKeyringOptions): MaybePromise<Keyring> {
  const { crypto, random, files, provider } = options;
  if (files.store.version() !== undefined || files.registered.version() !== undefined) {
    throw new HoldfastError("keyring_exists");
  }
  const store = options.storeId ?? base64url(random.bytes(16));
  const header: HeaderRecord = {
    kind: "keyring",
    file: 1,
    format: keyringFormatFirst,
    store,
    tenant: options.tenant,
  };
  const named = [provider, ...(options.others ?? [])].map((one) => ({
    provider: one,
    record: { id: base64url(random.bytes(8)), name: one.name, parameters: one.parameters },
  }));
  const id = base64url(random.bytes(16));
  const epochKey = random.bytes(keyBytes);
  const wraps: EpochRecord["wraps"][number][] = [];
  const wrapFrom = (at: number): MaybePromise<Keyring> => {
    const next = named[at];
    if (next === undefined) return finish();
    return whenReady(
      next.provider.wrap(epochKey, epochContext(header, id, next.record.id)),
      (wrapped) => {
        wraps.push({ provider: next.record.id, wrapped: base64url(wrapped) });
        return wrapFrom(at + 1);
      },
    );
  };
  const finish = (): Keyring => {
    const epoch = epochOver(crypto, id, epochKey);
    const records: readonly KeyringRecord[] = [
      header,
      ...named.map(({ record }) => ({ kind: "provider", file: 1, ...record }) as const),
      { kind: "epoch", file: 1, id, wraps, check: base64url(epoch.check) },
      ...firstKeys(options, epoch, options.pseudonymKey !== "await"),
    ];
    const content = concat(...records.map((record) => encodeRecord(crypto, record)));
    files.registered.replace(content);
    files.store.replace(content);
    const copies = openCopies(crypto, files);
    const merged = copies.load();
    const latest: LatestRecords = { records: () => merged.records };
    const providers = createKeyProviders({
      use: options.use ?? {},
      openProvider: options.openProvider,
      opened: named,
      check: createProviderCheck(crypto, header, latest),
    });
    const opened = { providers, epochs: new Map([[id, epoch]]) };
    return keyringOver({ ...options, ...opened, copies, merged, latest });
  };
  return wrapFrom(0);
}

function firstKeys(
  { crypto, random }: Pick<KeyringDeps, "crypto" | "random">,
  epoch: Epoch,
  pseudonym: boolean,
): readonly WrappedRecord[] {
  const pageKey = random.bytes(keyBytes);
  const hpkeKey = random.bytes(keyBytes);
  const pseudonymKey = random.bytes(keyBytes);
  try {
    const publicKey = base64url(crypto.x25519PublicKey(hpkeKey));
    return [
      wrapRecord(random, epoch, { kind: "page", file: 1 }, pageKey),
      wrapRecord(random, epoch, { kind: "hpke", file: 1, public: publicKey }, hpkeKey),
      ...(pseudonym
        ? [wrapRecord(random, epoch, { kind: "pseudonym", file: 1 }, pseudonymKey)]
        : []),
    ];
  } finally {
    wipe(pageKey, hpkeKey, pseudonymKey);
  }
}

/**
 * The keyring that is there. Reads only. Errors: those of {@link Copies.load}, `keyring_foreign`,
 * `keyring_salt_missing`, `keyring_record_missing`, `key_wrong`, `key_unwrap_failed`,
 * `key_parameters_refused`, `key_provider_unavailable`.
 */
export function openKeyring(options: OpenKeyringOptions): MaybePromise<Keyring> {
  const copies = openCopies(options.crypto, options.files);
  const merged = copies.load();
  const { header, records } = merged;
  for (const [expected, found] of [
    [options.storeId, header.store],
    [options.tenant, header.tenant],
  ] as const) {
    if (expected !== undefined && expected !== found) {
      throw new HoldfastError("keyring_foreign", { expected, found });
    }
  }
  const providers = records
    .filter((record) => record.kind === "provider")
    .filter(({ id }) => !isRetired(records, id));
  const epochs = records.filter((record) => record.kind === "epoch");
  if (providers.length === 0) {
    throw new HoldfastError(merged.damaged ? "keyring_corrupt" : "keyring_salt_missing", {
      record: "provider",
    });
  }
  const index = indexOf(records);
  required(index.epoch, "epoch", merged);
  required(index.page, "page", merged);
  required(index.hpke, "hpke", merged);
  const use = options.use ?? {};
  const latest: LatestRecords = { records: () => records };
  const check = createProviderCheck(options.crypto, header, latest);
  const replacing = replacingOf(index.rotation);
  const opening = unlock({ ...options, use, check, replacing }, header, providers, epochs);
  return whenReady(opening, (unlocked) => {
    try {
      return keyringOver({ ...options, copies, merged, latest, ...unlocked });
    } catch (error) {
      unlocked.providers.close();
      throw error;
    }
  });
}

interface KeyringParts extends KeyringDeps, Unlocked {
  readonly copies: Copies;
  readonly merged: Merged;
  readonly latest: LatestRecords;
}

function keyringOver(parts: KeyringParts): Keyring {
  const { crypto, random, providers, epochs } = parts;
  const records = createKeyringRecords({
    ...parts,
    read: (merged) => {
      dropFormer(providers, merged);
      learnEpochs(parts, merged);
    },
  });
  parts.latest.records = records.durable;
  const macs = createKeyringMacs(crypto, epochs, records);
  const pseudonyms = createPseudonyms(macs.pseudonym);
  // Handles by wrapped key, so that reading the file anew unwraps nothing twice.
  const handles = new Map<string, DataKey>();
  const file = (): number => records.merged().header.file;

  const handle = (record: DataKeyRecord): DataKey => {
    const held = handles.get(record.wrapped);
    if (held !== undefined) return held;
    const key = unwrapRecord(epochs, record, keyBytes);
    const made = dataKeyOver(crypto, record, key, records.index);
    wipe(key);
    handles.set(record.wrapped, made);
    return made;
  };
  /** A handle outlives the wrap that it came from. */
  const renamed = (before: string, after: string): void => {
    const held = handles.get(before);
    if (held !== undefined) handles.set(after, held);
    handles.delete(before);
  };
  const makeDataKey = (scope: string, section: string): DataKey => {
    const id = base64url(random.bytes(16));
    const key = random.bytes(keyBytes);
    const made = records.stage(
      { kind: "data", file: file(), id, scope, section, generation: 1, origin: "own" },
      key,
    ) as DataKeyRecord;
    const fresh = dataKeyOver(crypto, made, key, records.index);
    wipe(key);
    handles.set(made.wrapped, fresh);
    return fresh;
  };
  const shreds = createKeyringShreds({ crypto, random, records, epochs }, (wrapped) => {
    handles.delete(wrapped);
  });
  const ground: RotationGround = {
    ...parts,
    records,
    renamed,
    providers,
  };
  const generations = createGenerations({ crypto, random, records, epochs });
  const pseudonymOf: typeof pseudonyms.of = (...words) => {
    records.index();
    return pseudonyms.of(...words);
  };
  const findData = (id: string, generation: number): DataKeyRecord | undefined =>
    records.find((index) => index.data.get(id)?.get(generation));

  return {
    storeId: parts.merged.header.store,
    tenant: parts.merged.header.tenant,
    get provider() {
      return providers.choose().provider;
    },
    providers,
    get findings() {
      return records.merged().findings;
    },
    get hasPseudonymKey() {
      return records.index().pseudonym !== undefined;
    },
    pageKey: () =>
      unwrapRecord(epochs, required(records.index().page, "page", records.merged()), keyBytes),
    scopeOf: (subjectKey, site, n = 0) => pseudonymOf("scope", [subjectKey, site], n),
    streamOf: (resourceKey) => pseudonymOf("stream", [resourceKey]),
    actorOf: (actorKey) => pseudonymOf("actor", [actorKey]),
    dataKeyToSeal(scope, section) {
      const found = records.find((index) => index.own.get(ownKey(scope, section)));
      if (found !== undefined) return handle(found);
      shreds.refuse(scope, section);
      return makeDataKey(scope, section);
    },
    renewDataKeys(concerns) {
      records.refresh();
      const former = [...records.index().own.values()].filter(({ scope }) => concerns(scope));
      for (const { scope, section } of former) makeDataKey(scope, section);
      records.flush();
      return former.length;
    },
    dataKeys: () =>
      [...records.index().data.values()].flatMap((generations) =>
        [...generations.values()].map(({ id, scope, section, generation }) => {
          return { id, scope, section, generation };
        }),
      ),
    dataKey(id, generation) {
      const record = findData(id, generation);
      return record && handle(record);
    },
    dataKeyById(id) {
      const generations = records.find((index) => index.data.get(id));
      if (generations === undefined) return undefined;
      const record = generations.get(Math.max(...generations.keys()));
      return record && handle(record);
    },
    flush: records.flush,
    refresh: records.refresh,
    steadily: records.steadily,
    release() {
      for (const wrapped of records.release()) handles.delete(wrapped);
    },
    addSigningKey({ device, incarnation, algorithm, spki, ref, ...of }) {
      const fields = { device, incarnation, algorithm, spki: base64url(spki) };
      const provider = of.provider ?? providers.choose().id;
      records.add({ kind: "signing", file: file(), ...fields, provider }, ref);
    },
    signingKeys: () =>
      [...records.index().signing.values()]
        .flatMap((held) => signingRecordOf(held, providers) ?? [])
        .map(signingKeyOf),
    signer: (incarnation) => signerOf(parts, records, incarnation),
    markMac: macs.mark,
    ...generations,
    get hasFormerHpkeKeys() {
      return generations.hasFormerHpkeKeys;
    },
    rotation: createKeyringRotation(ground),
    recovery: createKeyringRecovery(ground),
    shreds,
    hpke() {
      const record = required(records.index().hpke, "hpke", records.merged());
      const publicKey = fromBase64url(record.public);
      invariant(publicKey !== undefined, "an hpke record was checked when it was read");
      return {
        publicKey,
        privateKey: () => {
          records.index();
          return unwrapRecord(epochs, record, keyBytes);
        },
      };
    },
    addDataKey({ id, scope, section, generation, key }) {
      invariant(key.length === keyBytes, "a data key has 32 bytes");
      if (findData(id, generation) !== undefined) return;
      shreds.refuse(scope, section);
      const fields = { id, scope, section, generation, origin: "grant" } as const;
      records.add({ kind: "data", file: file(), ...fields }, key);
    },
    addPseudonymKey(key) {
      invariant(key.length === keyBytes, "a pseudonym key has 32 bytes");
      records.add({ kind: "pseudonym", file: file() }, key);
      pseudonyms.forget();
    },
    dataKeyMaterial(id, generation) {
      const record = findData(id, generation);
      if (record === undefined) return undefined;
      const { scope, section } = record;
      return { id, scope, section, generation, key: unwrapRecord(epochs, record, keyBytes) };
    },
    pseudonymKey() {
      const record = records.find((index) => index.pseudonym);
      return record && unwrapRecord(epochs, record, keyBytes);
    },
    repair: records.write,
    [Symbol.dispose]() {
      if (!records.close()) return;
      handles.clear();
      pseudonyms.forget();
      providers.close();
    },
  };
}
