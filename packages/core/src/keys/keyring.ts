/** Interfaces first; the implementation follows in this file. */
import type { Bytes } from "../std/bytes.ts";
import type { Crypto, Mac, Random, SignatureAlgorithm } from "../std/ports.ts";
import type { KeyProvider, MaybePromise, ProviderName, ProviderParameters, Sign } from "./provider.ts";

/** One copy of the keyring on its medium. Errors of the medium pass through as they are. */
export interface RecordFile {
  /** The whole content, or `undefined` when there is no such file. */
  read(): Bytes | undefined;
  /** Changes whenever the content does (file identity, size, time); `undefined` without a file. Cheap. */
  version(): string | undefined;
  /** Adds at the end; durable when it returns. The file must exist. */
  append(bytes: Uint8Array): void;
  /** Puts this content in place of the old one or of nothing, atomically; durable when it returns. */
  replace(bytes: Uint8Array): void;
}

export type CopyName = "store" | "registered";

/** The copy in the store's folder, and the registered one outside it. */
export type KeyringFiles = Readonly<Record<CopyName, RecordFile>>;

export type KeyringFindingCode =
  /** A copy is not there; the next write restores it. */
  | "keyring_copy_missing"
  /** A copy is of an older generation than the other; the next write replaces it. */
  | "keyring_copy_stale"
  /** A line fails its checksum. */
  | "keyring_line_damaged"
  /** The last line is unfinished, as a crash while appending leaves it. */
  | "keyring_line_torn"
  /** A record stands in the other copy only; the next write adds it. */
  | "keyring_line_missing"
  /** A record's checksum fits and its fields are not those of its kind. */
  | "keyring_record_invalid";

export interface KeyringFinding {
  readonly code: KeyringFindingCode;
  readonly copy: CopyName;
  /** Line number from 1; 0 for the copy as a whole. */
  readonly line: number;
}

/** A data key of one scope and section class. Its bytes are not readable; only frame keys come out. */
export interface DataKey {
  readonly id: string;
  readonly scope: string;
  readonly section: string;
  readonly generation: number;
  /**
   * The AES-256 key of one frame: HKDF-Expand (RFC 5869 §2.3, 32 bytes) of the data key with info
   * "holdfast/aead/v1|" ‖ section ‖ leaf. The caller wipes it.
   */
  frameKey(section: string, leaf: Uint8Array): Bytes;
}

/** A data key in the open: what a grant carries. Whoever receives it wipes `key`. */
export interface DataKeyMaterial {
  readonly id: string;
  readonly scope: string;
  readonly section: string;
  readonly generation: number;
  readonly key: Bytes;
}

export interface SigningKeyRecord {
  /** base64url(SHA-256(first SPKI))[0:22]. */
  readonly device: string;
  /** 16 hex digits. */
  readonly incarnation: string;
  readonly algorithm: SignatureAlgorithm;
  readonly spki: Bytes;
}

export interface Keyring extends Disposable {
  readonly storeId: string;
  readonly tenant: string;
  /** The provider that opened the keyring; the keyring owns and closes it. */
  readonly provider: KeyProvider;
  /** What was wrong with the copies when they were last read. */
  readonly findings: readonly KeyringFinding[];
  /** 32 bytes, a fresh copy: the caller wipes it. */
  pageKey(): Bytes;
  /** Pseudonyms: HMAC under the tenant's pseudonym key, 16 bytes, base64url (22 characters). */
  scopeOf(subjectKey: string, site: string, n?: number): string;
  streamOf(resourceKey: string): string;
  actorOf(actorKey: string): string;
  /** May this installation compute pseudonyms? A server on `reads: none` may not. */
  readonly hasPseudonymKey: boolean;
  /**
   * The key that seals: the newest generation of this store's own key of the pair. Makes one where there is
   * none, which is pending until {@link Keyring.flush}.
   */
  dataKeyToSeal(scope: string, section: string): DataKey;
  /** The key to open with. On a miss the file is read once more if it has changed. */
  dataKey(id: string, generation: number): DataKey | undefined;
  /** The newest generation of a key. */
  dataKeyById(id: string): DataKey | undefined;
  /** Pending keys durable in both copies, before the COMMIT that uses them; nothing to do costs nothing. */
  flush(): void;
  /** Forget pending keys after a failed sealing. */
  release(): void;
  /** Durable when it returns. `ref` comes from `provider.generateSigningKey`. */
  addSigningKey(record: SigningKeyRecord & { readonly ref: Uint8Array }): void;
  signingKeys(): readonly SigningKeyRecord[];
  /** Signs as that incarnation; `keyring_record_missing` when its key is not in this keyring. */
  signer(incarnation: string): MaybePromise<Sign>;
  /** Authenticates the high-water mark; its key is derived from the epoch key. */
  markMac(): Mac;
  /** The installation's HPKE key pair (X25519). `privateKey()` is a fresh copy: the caller wipes it. */
  hpke(): { readonly publicKey: Bytes; readonly privateKey: () => Bytes };
  /** A key that arrived as a grant: opens, never seals. Durable when it returns. */
  addDataKey(material: DataKeyMaterial): void;
  /** The tenant's pseudonym key that arrived as a grant. Durable when it returns. */
  addPseudonymKey(key: Uint8Array): void;
  /** The bytes of a data key, to grant it; `undefined` when there is none. The caller wipes them. */
  dataKeyMaterial(id: string, generation: number): DataKeyMaterial | undefined;
  /** The bytes of the pseudonym key, to grant it. The caller wipes them. */
  pseudonymKey(): Bytes | undefined;
  /** Writes the copies anew where findings can be repaired; needs the store's lease, as every write. */
  repair(): void;
}

export interface KeyringDeps {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly files: KeyringFiles;
}

/** The public part of a `provider` record: enough to open that provider again. */
export interface ProviderRecord {
  readonly id: string;
  readonly name: ProviderName;
  readonly parameters: ProviderParameters;
}

/** Opens the provider of a record; `null` when this process cannot or may not use it. */
export type OpenProvider = (record: ProviderRecord) => MaybePromise<KeyProvider | null>;

export interface CreateKeyringOptions extends KeyringDeps {
  /** Owned by the keyring from here on. */
  readonly provider: KeyProvider;
  /** 16 random bytes as base64url; made when absent. */
  readonly storeId?: string;
  readonly tenant: string;
  /** Make the tenant's pseudonym key (default), or wait for it to arrive as a grant. */
  readonly pseudonymKey?: "make" | "await";
}

export interface OpenKeyringOptions extends KeyringDeps {
  readonly openProvider: OpenProvider;
  /** Refuse another store or tenant with `keyring_foreign`. */
  readonly storeId?: string;
  readonly tenant?: string;
}

export declare function createKeyring(options: CreateKeyringOptions): MaybePromise<Keyring>;
export declare function openKeyring(options: OpenKeyringOptions): MaybePromise<Keyring>;
