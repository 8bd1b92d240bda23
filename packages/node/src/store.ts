/**
 * Stores on Node: a folder with an encrypted SQLite file and a keyring, and a state folder outside it with
 * the registered keyring copy and the high-water marks.
 *
 * @example
 * ```ts
 * import { mkdtempSync, rmSync } from "node:fs";
 * import { tmpdir } from "node:os";
 * import { join } from "node:path";
 * import { createRegistry, defineEvent } from "@holdfast/core";
 * import { initStore, openStore } from "@holdfast/node";
 * import { z } from "zod";
 *
 * const folder = mkdtempSync(join(tmpdir(), "holdfast-"));
 * const place = { directory: join(folder, "store"), stateDirectory: join(folder, "state") };
 * const passphrase = "correct horse battery staple";
 * await initStore({ ...place, passphrase, tenant: "Ward 3" });
 *
 * const weighed = defineEvent({
 *   type: "WeightMeasured",
 *   concurrency: "independent",
 *   schema: z.object({ kilograms: z.number() }),
 * });
 * const store = await openStore({
 *   ...place, passphrase, registry: createRegistry([weighed]), projections: [],
 * });
 * const result = await store.append({
 *   type: "WeightMeasured", stream: "weight/ada", scope: "ada", actor: "nurse/7", data: { kilograms: 61.5 },
 * });
 * console.log(result.status, store.verify().ok);
 * await store.close();
 * rmSync(folder, { recursive: true });
 * ```
 */
import { closeSync, existsSync, openSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  base64url,
  checkRelease,
  coreRelease,
  createKeyring,
  createStore,
  type Holdfast,
  HoldfastError,
  isHoldfastError,
  type Keyring,
  type Observer,
  openHoldfast,
  openKeyring,
  recoverKeyring,
  type OutboxOptions,
  type Projection,
  type Registry,
  createRegistry,
  silentObserver,
  type StoreMedium,
  utf8,
} from "@holdfast/core";
import { recordBlockedStarts, noteBlockedStart } from "./blocked-starts.ts";
import { systemClock, systemTimers } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { refuseErased } from "./erase-plan-file.ts";
import { fromSystem, guardedFile, makeFolder, roomIn } from "./files.ts";
import { keyringFileName, keyringFiles } from "./keyring-files.ts";
import {
  createPassphraseProvider,
  type KeySettings,
  makeProviders,
  providerOpener,
  useOf,
} from "./keys/open-providers.ts";
import { enforceProfile, type ProfileSettings, weaknessesOf } from "./keys/store-profile.ts";
import { isLiftOpen, liftDatabase } from "./lift-database.ts";
import { createMarkFile } from "./mark-file.ts";
import { createMigrationRecords } from "./migration-files.ts";
import { recordMigration } from "./told-migrations.ts";
import { createProcessIdentity } from "./process-identity.ts";
import { systemRandom } from "./random.ts";
import { lazyRecovery } from "./recovery.ts";
import { finishSwitch } from "./salvage-files.ts";
import { openSqlite } from "./sqlite-driver.ts";
import {
  type StoreLocation,
  checkFolder,
  databasePath,
  registeredFor,
  stateOf,
  storeIdIn,
} from "./store-place.ts";
import { recordSurvivors } from "./survivors.ts";

/** What opens a store: its passphrase, its other key providers, or both; each has a wrap of the epoch key. */
export interface StoreAccess {
  /** Absent: other key providers open the store. */
  readonly passphrase?: string;
  /** Key providers besides the passphrase, and how they are used. */
  readonly keys?: KeySettings;
}

/** What {@link initStore} takes. */
export interface InitStoreOptions extends StoreLocation, StoreAccess {
  /** What people call the tenant; kept outside of every header. */
  readonly tenant: string;
  /**
   * The tenant that the store joins, by its id, and the device that founded it: both from an enrolment code.
   * Its pseudonym key arrives as a grant. Absent: the store founds a tenant.
   */
  readonly joins?: { readonly tenant: string; readonly founder: string };
}

/** What {@link openStore} takes. */
export interface OpenStoreOptions extends StoreLocation, StoreAccess, ProfileSettings {
  readonly registry: Registry;
  readonly projections: readonly Projection[];
  /** Readers need no lease and change nothing. */
  readonly readOnly?: boolean;
  /** Build id of the application: part of every header. */
  readonly app?: string;
  /** Go on from an older copy of the store, on a new incarnation. */
  readonly acceptRollback?: boolean;
  readonly observer?: Observer;
  /** Bounds of the outbox; default: `outboxPolicyDefault`. */
  readonly outbox?: OutboxOptions;
}

/** The release that this package is part of. */
const nodeRelease = "0.1.0";
/** Build id where the application names none. */
export const version = `holdfast/${nodeRelease}`;
const crypto = createNodeCrypto();

/** Throws `release_mixed` when an update stopped between the packages that write stores. */
export function checkInstalled(): void {
  checkRelease({ core: coreRelease, node: nodeRelease });
}

/**
 * Makes a new store in an empty or missing folder. Throws `store_exists`, `store_unsafe_path`,
 * `draft_invalid` for an empty passphrase.
 */
export async function initStore(
  options: InitStoreOptions,
): Promise<{ readonly storeId: string; readonly tenant: string; readonly device: string }> {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (options.passphrase === "") {
    throw new HoldfastError("draft_invalid", { path: "/passphrase", reason: "empty" });
  }
  refuseErased(directory, state);
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new HoldfastError("store_exists");
  }
  guardedFile(() => {
    makeFolder(directory);
  });
  checkFolder(directory);
  const storeId = base64url(systemRandom.bytes(16));
  const ports = { crypto, random: systemRandom };
  const [provider, ...others] = await makeProviders(ports, options.keys, options.passphrase);
  const keyring = await createKeyring({
    ...ports,
    files: keyringFiles(directory, state, storeId),
    provider,
    others,
    use: useOf(options.keys, silentObserver),
    recovery: lazyRecovery,
    tenant: options.joins?.tenant ?? base64url(systemRandom.bytes(16)),
    pseudonymKey: options.joins === undefined ? "make" : "await",
    storeId,
  });
  const medium = createStoreMedium(directory, state, storeId, true);
  createStore(
    { crypto, clock: systemClock, process: createProcessIdentity(), keyring, medium },
    options.joins === undefined ? {} : { founder: options.joins.founder },
  );
  const registry = createRegistry([]);
  const store = await openWith(keyring, medium, {
    ...options,
    registry,
    projections: [],
  });
  const { device, tenant } = store.status();
  await store.close();
  return { storeId, tenant, device };
}

/**
 * Opens a store. Throws `store_missing`, `store_database_missing`, `store_foreign`, `store_newer`,
 * `store_drifted`, `store_corrupt`, `key_wrong`, `profile_refused`, the `keyring_*`, `key_*` and the storage codes;
 * nothing is recreated.
 */
export async function openStore(options: OpenStoreOptions): Promise<Holdfast> {
  const state = stateOf(options);
  let storeId: string | undefined;
  try {
    const store = await openAt(options, state, (id) => {
      storeId = id;
    });
    if (options.readOnly !== true && storeId !== undefined) {
      await recordBlockedStarts(state, storeId, store);
      await recordMigration(createMigrationRecords(state, storeId), store);
    }
    return store;
  } catch (error) {
    const told = fromSystem(error);
    if (storeId !== undefined) noteBlockedStart(state, storeId, told);
    throw told;
  }
}

async function openAt(
  options: OpenStoreOptions,
  state: string,
  identified: (storeId: string) => void,
): Promise<Holdfast> {
  checkInstalled();
  const directory = resolve(options.directory);
  refuseErased(directory, state);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  finishSwitch(databasePath(directory));
  const storeId = storeIdIn(directory, state);
  identified(storeId);
  const keyring = await openKeyringAt(directory, state, storeId, options);
  if (!existsSync(databasePath(directory))) {
    keyring[Symbol.dispose]();
    throw new HoldfastError("store_database_missing");
  }
  try {
    const files = keyringFiles(directory, state, storeId);
    const registered = join(state, storeId, keyringFileName);
    const found = weaknessesOf(keyring, files, { directory, registered });
    enforceProfile(options, found, options.observer ?? silentObserver);
    return await openLifted(keyring, directory, state, options);
  } catch (error) {
    keyring[Symbol.dispose]();
    throw isForeign(error, directory, state, storeId) ? foreignKeyring(error) : error;
  }
}

/**
 * Opens; for writing, a store of an earlier format is lifted before, and a lift that was interrupted is taken to its
 * end.
 */
async function openLifted(
  keyring: Keyring,
  directory: string,
  state: string,
  options: OpenStoreOptions,
): Promise<Holdfast> {
  const { storeId } = keyring;
  const { readOnly = false, acceptRollback = false, observer = silentObserver } = options;
  const records = createMigrationRecords(state, storeId);
  const open = (): Promise<Holdfast> =>
    openWith(keyring, createStoreMedium(directory, state, storeId, false), {
      ...options,
      readOnly,
    });
  if (readOnly) return open();
  const database = databasePath(directory);
  const lift = async (): Promise<void> => {
    const medium = createStoreMedium(directory, state, storeId, false);
    const app = options.app ?? version;
    try {
      await liftDatabase({ keyring, medium, database, records, observer, app, acceptRollback });
    } finally {
      medium.close?.();
    }
  };
  if (isLiftOpen(records)) await lift();
  const store = await open().catch(async (error: unknown) => {
    if (!isHoldfastError(error, "store_older")) throw error;
    await lift();
    return open();
  });
  try {
    await recordSurvivors(database, keyring, options.registry, store);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** The keyring of a store, by what opens it. Throws the `keyring_*` codes and `key_wrong`. */
export async function openKeyringAt(
  directory: string,
  state: string,
  storeId: string,
  {
    passphrase: words,
    keys,
    observer = silentObserver,
  }: StoreAccess & {
    readonly observer?: Observer;
  },
): Promise<Keyring> {
  const passphrase = words === undefined ? undefined : utf8(words);
  const ports = { crypto, random: systemRandom };
  try {
    return await openKeyring({
      ...ports,
      files: keyringFiles(directory, state, storeId),
      openProvider: providerOpener(ports, keys, passphrase),
      use: useOf(keys, observer),
      recovery: lazyRecovery,
      storeId,
    });
  } catch (error) {
    throw isForeign(error, directory, state, storeId) ? foreignKeyring(error) : error;
  } finally {
    passphrase?.fill(0);
  }
}

/**
 * A keyring that does not open, or does not open this database, where the marks say that another store lay
 * in this folder: the keyring is that of another store.
 */
function isForeign(error: unknown, directory: string, state: string, storeId: string): boolean {
  if (!isHoldfastError(error, "key_wrong") && !isHoldfastError(error, "store_corrupt"))
    return false;
  const registered = registeredFor(directory, state);
  return registered.length > 0 && !registered.includes(storeId);
}

function foreignKeyring(cause: unknown): HoldfastError {
  return new HoldfastError("keyring_foreign", {}, { cause });
}

/** Opens a store for its erase, which the erase's own plan does not keep out. Throws what {@link openStore} throws. */
export async function openToErase(
  options: StoreLocation & StoreAccess,
  storeId: string,
): Promise<Holdfast> {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (!existsSync(databasePath(directory))) throw new HoldfastError("store_database_missing");
  const keyring = await openKeyringAt(directory, state, storeId, options);
  try {
    return await openWith(keyring, createStoreMedium(directory, state, storeId, false), {
      ...options,
      registry: createRegistry([]),
      projections: [],
    });
  } catch (error) {
    keyring[Symbol.dispose]();
    throw fromSystem(error);
  }
}

function openWith(
  keyring: Keyring,
  medium: StoreMedium,
  options: OpenStoreOptions,
): Promise<Holdfast> {
  return openHoldfast({
    crypto,
    random: systemRandom,
    clock: systemClock,
    timers: systemTimers,
    observer: options.observer ?? silentObserver,
    process: createProcessIdentity(),
    keyring,
    medium,
    registry: options.registry,
    projections: options.projections,
    app: options.app ?? version,
    readOnly: options.readOnly ?? false,
    acceptRollback: options.acceptRollback ?? false,
    ...(options.outbox === undefined ? {} : { outbox: options.outbox }),
  });
}

/** Makes the empty database file for its owner alone; SQLite gives its other files the same mode. */
function makeDatabaseFile(path: string): void {
  closeSync(openSync(path, "wx", 0o600));
}

/**
 * Identity of a folder: its inode and birth. The device number is left out, because it may change when the
 * machine starts.
 */
function identityOf(directory: string): string {
  const { ino, birthtimeNs } = statSync(directory, { bigint: true });
  return `${ino.toString(36)}-${birthtimeNs.toString(36)}`;
}

/**
 * The `StoreMedium` port over a folder and the state folder outside it. For whoever puts a store together
 * from the parts of `@holdfast/core`; `openStore` is the ordinary way.
 */
export function createStoreMedium(
  directory: string,
  state: string,
  storeId: string,
  create: boolean,
): StoreMedium {
  const marks = new Map<string, ReturnType<typeof createMarkFile>>();
  let makeFile = create;
  return {
    place: { folder: realpathSync(directory), identity: identityOf(directory) },
    openDriver(pageKey, { readOnly }) {
      const path = databasePath(directory);
      if (makeFile) makeDatabaseFile(path);
      makeFile = false;
      return openSqlite({ path, pageKey, readOnly, create: false });
    },
    markFile(incarnation) {
      const known = marks.get(incarnation);
      if (known !== undefined) return known;
      const file = createMarkFile(join(state, storeId, `mark-${incarnation}`));
      marks.set(incarnation, file);
      return file;
    },
    room: () => roomIn(directory),
    close() {
      for (const file of marks.values()) file.close();
    },
  };
}

/** What {@link recoverStore} takes. */
export interface RecoverStoreOptions extends StoreLocation {
  /** The recovery key: 24 words or an age identity. */
  readonly recoveryKey: string;
  /** The new passphrase. */
  readonly passphrase: string;
}

/**
 * Gives a store whose passphrase is lost another one, by a recovery key: in one step, so that a crash leaves the
 * old state or the new one. Throws `recovery_key_malformed`, `recovery_key_unknown`, `store_missing`, the
 * `keyring_*` codes, `draft_invalid` for an empty passphrase.
 */
export async function recoverStore(
  options: RecoverStoreOptions,
): Promise<{ readonly recovery: string; readonly signingKeys: number }> {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  const provider = createPassphraseProvider(options.passphrase);
  try {
    return await recoverKeyring({
      crypto,
      random: systemRandom,
      files: keyringFiles(directory, state, storeIdIn(directory, state)),
      recovery: lazyRecovery,
      identity: options.recoveryKey,
      provider,
    });
  } finally {
    provider.close();
  }
}
