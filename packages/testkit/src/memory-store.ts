/**
 * Whole stores for tests: a real keyring, writer and event log over keyring files and high-water marks in
 * memory. The database comes from whatever driver the test brings, in memory or on a file.
 */
import {
  base64url,
  type Bytes,
  type Clock,
  createKeyring,
  createRegistry,
  createSoftwareProvider,
  createStore,
  type Crypto,
  type Holdfast,
  type KeyProvider,
  type Keyring,
  type KeyringFiles,
  type KeyUse,
  type MarkFile,
  type Observer,
  openHoldfast,
  openKeyring,
  type OpenProvider,
  openSoftwareProvider,
  type OutboxOptions,
  type Place,
  type ProcessIdentity,
  type Projection,
  type Random,
  type RecordFile,
  type Registry,
  silentObserver,
  type SqliteDriver,
  type StoreMedium,
  type Timers,
} from "@holdfast/core";
import { ageRecovery } from "@holdfast/core/recovery";

/** A record file that nothing but this process sees. */
export function createMemoryRecordFile(): RecordFile {
  let content: Bytes | undefined;
  let version = 0;
  return {
    read: () => (content === undefined ? undefined : Uint8Array.from(content)),
    version: () => (content === undefined ? undefined : String(version)),
    append(bytes) {
      if (content === undefined) throw new Error("there is no such file");
      const joined = new Uint8Array(content.length + bytes.length);
      joined.set(content);
      joined.set(bytes, content.length);
      content = joined;
      version += 1;
    },
    replace(bytes) {
      content = Uint8Array.from(bytes);
      version += 1;
    },
    sync: () => undefined,
  };
}

/** A high-water mark in memory; tests may read and damage its slots. */
export function createMemoryMark(): MarkFile & { slots: [Bytes, Bytes] | undefined } {
  return {
    slots: undefined,
    read() {
      return this.slots;
    },
    write(slot, bytes) {
      this.slots ??= [new Uint8Array(bytes.length), new Uint8Array(bytes.length)];
      this.slots[slot] = Uint8Array.from(bytes);
    },
  };
}

/** What a test brings. */
export interface TestStorePorts {
  readonly crypto: Crypto;
  readonly random: Random;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Opens the same database each time. */
  openDriver(pageKey: Bytes, options: { readonly readOnly: boolean }): SqliteDriver;
}

/** Key providers of a test store, in place of one passphrase. */
export interface TestStoreKeys {
  /** Made anew with the store; the first is what the keyring is made with. */
  readonly make: () => readonly [KeyProvider, ...KeyProvider[]];
  readonly open: OpenProvider;
  readonly use: KeyUse;
}

/** How one opener differs from the defaults. */
export interface TestOpenOptions {
  readonly registry?: Registry;
  readonly projections?: readonly Projection[];
  readonly observer?: Observer;
  readonly readOnly?: boolean;
  readonly acceptRollback?: boolean;
  readonly outbox?: OutboxOptions;
  readonly process?: ProcessIdentity;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** Stands between the store and its keyring. */
  readonly keyring?: (keyring: Keyring) => Keyring;
  /** Stands between the store and its medium. */
  readonly medium?: (medium: StoreMedium) => StoreMedium;
}

/** A store that can be opened, closed and opened again. */
export interface TestStore {
  readonly files: KeyringFiles;
  /** The marks by incarnation. */
  readonly marks: ReadonlyMap<string, ReturnType<typeof createMemoryMark>>;
  readonly medium: StoreMedium;
  /** Where the store believes to lie; change it to move the store. */
  place: Place;
  openKeyring(): Promise<Keyring>;
  open(options?: TestOpenOptions): Promise<Holdfast>;
}

const passphrase = "for tests";
const cost = { memoryKib: 8, passes: 1, lanes: 1 };
let openers = 0;

/** A process that never goes away by itself. */
export function createTestProcess(): ProcessIdentity {
  openers += 1;
  return { holder: `test/${openers}`, isGone: () => false };
}

/**
 * Makes a new store; its first incarnation comes with the first opener. `joins`: of a tenant that is there,
 * whose pseudonym key arrives as a grant.
 */
export async function createTestStore(
  ports: TestStorePorts,
  joins?: { readonly tenant: string; readonly founder: string },
  keys?: TestStoreKeys,
): Promise<TestStore> {
  const { crypto, random } = ports;
  const use = keys?.use ?? {};
  const files = { store: createMemoryRecordFile(), registered: createMemoryRecordFile() };
  const marks = new Map<string, ReturnType<typeof createMemoryMark>>();
  const store: TestStore = {
    files,
    marks,
    place: { folder: "/test", identity: "1" },
    medium: {
      openDriver: (pageKey, options) => ports.openDriver(pageKey, options),
      get place() {
        return store.place;
      },
      markFile(incarnation) {
        const known = marks.get(incarnation) ?? createMemoryMark();
        marks.set(incarnation, known);
        return known;
      },
    },
    openKeyring: async () => {
      const openProvider = keys?.open ?? openSoftwareProvider({ crypto, random, passphrase });
      return openKeyring({ crypto, random, files, recovery: ageRecovery, openProvider, use });
    },
    async open(options = {}) {
      const keyring = await store.openKeyring();
      return openHoldfast({
        crypto,
        random,
        clock: options.clock ?? ports.clock,
        timers: options.timers ?? ports.timers,
        observer: options.observer ?? silentObserver,
        process: options.process ?? createTestProcess(),
        keyring: options.keyring?.(keyring) ?? keyring,
        medium: options.medium?.(store.medium) ?? store.medium,
        registry: options.registry ?? createRegistry([]),
        projections: options.projections ?? [],
        app: "testkit",
        readOnly: options.readOnly ?? false,
        acceptRollback: options.acceptRollback ?? false,
        outbox: options.outbox ?? {},
      });
    },
  };
  const [provider, ...others] = keys?.make() ?? [
    createSoftwareProvider({ crypto, random, passphrase, parameters: undefined, cost }),
  ];
  const keyring = await createKeyring({
    crypto,
    random,
    files,
    provider,
    others,
    use,
    tenant: joins?.tenant ?? base64url(random.bytes(16)),
    pseudonymKey: joins === undefined ? "make" : "await",
  });
  createStore(
    {
      crypto,
      clock: ports.clock,
      process: createTestProcess(),
      keyring,
      medium: store.medium,
    },
    joins === undefined ? {} : { founder: joins.founder },
  );
  keyring[Symbol.dispose]();
  return store;
}
