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
import { existsSync, lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  base64url,
  createKeyring,
  createSoftwareProvider,
  createStore,
  type Holdfast,
  HoldfastError,
  isHoldfastError,
  type Keyring,
  type MarkFile,
  type Observer,
  openHoldfast,
  openKeyring,
  openSoftwareProvider,
  type Projection,
  type Registry,
  createRegistry,
  silentObserver,
  type StoreMedium,
  utf8,
} from "@holdfast/core";
import { systemClock, systemTimers } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { guardedFile, makeFolder } from "./files.ts";
import { keyringFileName, keyringFiles, stateFolder, storeIdOf } from "./keyring-files.ts";
import { createMarkFile } from "./mark-file.ts";
import { createProcessIdentity } from "./process-identity.ts";
import { systemRandom } from "./random.ts";
import { openSqlite } from "./sqlite-driver.ts";

/** Where a store lies. */
export interface StoreLocation {
  /** The store's folder. */
  readonly directory: string;
  /** Default: `HOLDFAST_STATE`, else the XDG state folder. */
  readonly stateDirectory?: string;
}

/** What {@link initStore} takes. */
export interface InitStoreOptions extends StoreLocation {
  readonly passphrase: string;
  /** What people call the tenant; kept outside of every header. */
  readonly tenant: string;
}

/** What {@link openStore} takes. */
export interface OpenStoreOptions extends StoreLocation {
  readonly passphrase: string;
  readonly registry: Registry;
  readonly projections: readonly Projection[];
  /** Readers need no lease and change nothing. */
  readonly readOnly?: boolean;
  /** Build id of the application: part of every header. */
  readonly app?: string;
  /** Go on from an older copy of the store, on a new incarnation. */
  readonly acceptRollback?: boolean;
  readonly observer?: Observer;
}

const databaseFileName = "store.db";
const version = "holdfast/0.1.0";
const crypto = createNodeCrypto();

function databasePath(directory: string): string {
  return join(directory, databaseFileName);
}

function stateOf(location: StoreLocation): string {
  return resolve(location.stateDirectory ?? stateFolder(process.env));
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
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new HoldfastError("store_exists");
  }
  guardedFile(() => {
    makeFolder(directory);
  });
  checkFolder(directory);
  const storeId = base64url(systemRandom.bytes(16));
  const passphrase = utf8(options.passphrase);
  const provider = createSoftwareProvider({
    crypto,
    random: systemRandom,
    passphrase,
    parameters: undefined,
  });
  const keyring = await createKeyring({
    crypto,
    random: systemRandom,
    files: keyringFiles(directory, state, storeId),
    provider,
    tenant: base64url(systemRandom.bytes(16)),
    storeId,
  });
  const medium = createMedium(directory, state, storeId, true);
  createStore({
    crypto,
    clock: systemClock,
    process: createProcessIdentity(),
    keyring,
    medium,
  });
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
 * `store_drifted`, `store_corrupt`, `key_wrong`, the `keyring_*` and the storage codes; nothing is recreated.
 */
export async function openStore(options: OpenStoreOptions): Promise<Holdfast> {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  const storeId = storeIdIn(directory, state);
  const passphrase = utf8(options.passphrase);
  const keyring = await openKeyring({
    crypto,
    random: systemRandom,
    files: keyringFiles(directory, state, storeId),
    openProvider: openSoftwareProvider({ crypto, random: systemRandom, passphrase }),
    storeId,
  });
  passphrase.fill(0);
  if (!existsSync(databasePath(directory))) {
    keyring[Symbol.dispose]();
    throw new HoldfastError("store_database_missing");
  }
  try {
    const readOnly = options.readOnly ?? false;
    return await openWith(keyring, createMedium(directory, state, storeId, false), {
      ...options,
      readOnly,
    });
  } catch (error) {
    keyring[Symbol.dispose]();
    throw error;
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
  });
}

function checkFolder(directory: string): void {
  const stat = lstatSync(directory);
  const database = lstatSync(databasePath(directory), { throwIfNoEntry: false });
  if (!stat.isDirectory() || (database !== undefined && !database.isFile())) {
    throw new HoldfastError("store_unsafe_path");
  }
}

/** The store id from the folder's keyring, else from the mark that names the folder. */
function storeIdIn(directory: string, state: string): string {
  try {
    return storeIdOf(crypto, directory, state);
  } catch (error) {
    if (!isHoldfastError(error, "keyring_missing")) throw error;
    if (!existsSync(databasePath(directory))) throw new HoldfastError("store_missing");
    const named = registeredFor(directory, state);
    if (named === undefined) throw error;
    return named;
  }
}

/** Which registered store had that folder, as its marks say; the keyring then proves or refuses it. */
function registeredFor(directory: string, state: string): string | undefined {
  const folder = JSON.stringify(realpathSync(directory));
  for (const id of existsSync(state) ? readdirSync(state).toSorted() : []) {
    if (!existsSync(join(state, id, keyringFileName))) continue;
    const marks = readdirSync(join(state, id)).filter((name) => name.startsWith("mark-"));
    for (const mark of marks) {
      const slots = createMarkFile(join(state, id, mark)).read() ?? [];
      const text = slots.map((slot) => Buffer.from(slot).toString("utf8")).join("");
      if (text.includes(`"folder":${folder}`)) return id;
    }
  }
  return undefined;
}

/**
 * Identity of a folder: its inode and birth. The device number is left out, because it may change when the
 * machine starts.
 */
function identityOf(directory: string): string {
  const { ino, birthtimeNs } = statSync(directory, { bigint: true });
  return `${ino.toString(36)}-${birthtimeNs.toString(36)}`;
}

function createMedium(
  directory: string,
  state: string,
  storeId: string,
  create: boolean,
): StoreMedium {
  const marks = new Map<string, MarkFile>();
  let makeFile = create;
  return {
    place: { folder: realpathSync(directory), identity: identityOf(directory) },
    openDriver(pageKey, { readOnly }) {
      const path = databasePath(directory);
      const driver = openSqlite({ path, pageKey, readOnly, create: makeFile });
      makeFile = false;
      return driver;
    },
    markFile(incarnation) {
      const known = marks.get(incarnation);
      if (known !== undefined) return known;
      const file = createMarkFile(join(state, storeId, `mark-${incarnation}`));
      marks.set(incarnation, file);
      return file;
    },
  };
}
