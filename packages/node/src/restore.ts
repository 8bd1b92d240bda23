/**
 * Putting a store back from a backup, and trying whether that would work.
 *
 * A restore happens in a folder beside the target that nobody opens: it becomes the target by one rename, after
 * everything was verified and made durable. Over a store that is there, only its database is replaced, by one rename
 * too, and only against a {@link Release}.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
  assertRelease,
  type BackupManifest,
  createBackupReader,
  createRegistry,
  createStoreLoader,
  decodeLines,
  HoldfastError,
  type Keyring,
  lifeOf,
  type Observer,
  type Release,
  type StoreLoader,
} from "@holdfast/core";
import type { AgeIdentities } from "./age.ts";
import { aloneWith } from "./alone.ts";
import { observed } from "./backup.ts";
import { readBackupFile } from "./backup-file.ts";
import { systemClock } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { refuseErased, refuseErasedStore } from "./erase-plan-file.ts";
import { fromSystem, guardedFile, placeBeside, syncFolder } from "./files.ts";
import { keyringFileName } from "./keyring-files.ts";
import { syncFile } from "./migration-files.ts";
import { createRecordFile } from "./record-file.ts";
import { createStoreMedium, openKeyringAt, openStore, type StoreAccess } from "./store.ts";
import {
  checkFolder,
  databasePath,
  stateOf,
  storeIdIn,
  type StoreLocation,
} from "./store-place.ts";

const crypto = createNodeCrypto();

/** What {@link restoreStore} takes. */
export interface RestoreOptions extends StoreLocation, StoreAccess {
  /** The backup. */
  readonly file: string;
  /** What opens it. */
  readonly by: AgeIdentities;
  /** A copy of the keyring; else the registered copy of the backup's store serves. */
  readonly keyringFile?: string;
  readonly onProgress?: (done: number, total: number) => void;
  readonly observer?: Observer;
}

/** What was restored. */
export interface RestoredStore {
  readonly storeId: string;
  readonly tenant: string;
  /** When the backup was made, UTC ms. */
  readonly createdAt: number;
  readonly events: number;
  /** The incarnation that the restored store goes on with. */
  readonly incarnation: string;
}

/**
 * Puts a store into an empty or missing folder and opens an incarnation for it. Throws `store_exists`,
 * `input_unreadable`, the `backup_*` codes, `keyring_missing`, `keyring_foreign`, `key_wrong`; the folder is then as
 * it was.
 */
export function restoreStore(options: RestoreOptions): Promise<RestoredStore> {
  return observed(options, "restore", () => restoreBeside(options));
}

async function restoreBeside(options: RestoreOptions): Promise<RestoredStore> {
  const directory = resolve(options.directory);
  refuseErased(directory, stateOf(options));
  if (existsSync(directory)) {
    checkFolder(directory);
    if (readdirSync(directory).length > 0) throw new HoldfastError("store_exists");
  }
  const manifest = await inStaging(directory, async (staging) => {
    const read = await restoreInto(staging, options);
    guardedFile(() => {
      // Elsewhere a folder takes the place of an empty one.
      if (process.platform === "win32" && existsSync(directory)) rmdirSync(directory);
      renameSync(staging, directory);
      syncFolder(dirname(directory));
    });
    return read;
  });
  return reopened(options, manifest);
}

/**
 * Puts a store in the place of a later state of itself: against a {@link Release} of that state, which is compared
 * with it again while nobody else may write. Its database is replaced by one rename, its keyring stays. Throws
 * `interlock_unproven`, `interlock_stale`, `store_busy` while another process has the store open,
 * `backup_other_store`, and what {@link restoreStore} throws; the store is then as it was.
 */
export function restoreOver(
  options: Omit<RestoreOptions, "keyringFile">,
  release: Release,
): Promise<RestoredStore> {
  return observed(options, "restore", () => putInPlace(options, release));
}

async function putInPlace(options: RestoreOptions, release: Release): Promise<RestoredStore> {
  const directory = resolve(options.directory);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  const storeId = storeIdIn(directory, stateOf(options));
  const keyringFile = join(directory, keyringFileName);
  const manifest = await inStaging(directory, async (staging) => {
    const read = await restoreInto(staging, { ...options, keyringFile }, storeId);
    await replaceDatabase(staging, options, storeId, release);
    return read;
  });
  return reopened(options, manifest);
}

/**
 * Compares the release and puts the new database in the place of the old one, while nobody else can have it open. A
 * crash before the rename leaves the old store, after it the new one.
 */
function replaceDatabase(
  staging: string,
  options: RestoreOptions,
  storeId: string,
  release: Release,
): Promise<void> {
  const directory = resolve(options.directory);
  return aloneWith(options, storeId, {
    check({ driver, keyring }) {
      assertRelease({ crypto, driver, keyring }, release);
    },
    act() {
      guardedFile(() => {
        renameSync(databasePath(staging), databasePath(directory));
        syncFolder(directory);
      });
    },
    after: "stay out",
  });
}

/** Opens what was restored for writing, which opens its incarnation. */
async function reopened(options: RestoreOptions, manifest: BackupManifest): Promise<RestoredStore> {
  const { directory, stateDirectory, passphrase, keys } = options;
  const store = await openStore({
    directory,
    ...(stateDirectory === undefined ? {} : { stateDirectory }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(keys === undefined ? {} : { keys }),
    registry: createRegistry([]),
    projections: [],
  });
  try {
    await lifeOf(store).writer?.exclusively(() => undefined);
    options.observer?.log("info", "store_restored", {});
    const { storeId, tenant, incarnation } = store.status();
    const events = manifest.rows["events"] ?? 0;
    return { storeId, tenant, createdAt: manifest.createdAt, events, incarnation };
  } finally {
    await store.close();
  }
}

/** What a drill found. */
export interface DrillReport {
  readonly storeId: string;
  readonly createdAt: number;
  readonly events: number;
  readonly milliseconds: number;
}

/**
 * Restores a backup into a folder of its own, verifies it as a restore does, and removes it. Throws what
 * {@link restoreStore} throws. `directory` names where: a folder beside it is used.
 */
export async function drillRestore(options: RestoreOptions): Promise<DrillReport> {
  const began = systemClock.monotonic();
  const { store, createdAt, rows } = await observed(options, "drill", () =>
    inStaging(resolve(options.directory), (staging) => restoreInto(staging, options)),
  );
  const milliseconds = Math.round(systemClock.monotonic() - began);
  return { storeId: store, createdAt, events: rows["events"] ?? 0, milliseconds };
}

/** Runs with a folder beside the target; what it left there is removed, and what killed processes left. */
async function inStaging<T>(directory: string, use: (staging: string) => Promise<T>): Promise<T> {
  const staging = guardedFile(() => placeBeside(directory, "restoring"));
  try {
    guardedFile(() => {
      mkdirSync(staging, { mode: 0o700 });
    });
    return await use(staging);
  } catch (error) {
    throw fromSystem(error);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Reads, verifies and makes durable; returns what the backup says of itself. */
async function restoreInto(
  staging: string,
  options: RestoreOptions,
  replaced?: string,
): Promise<BackupManifest> {
  const reader = createBackupReader(crypto, "store");
  let begun: StagedStore | undefined;
  try {
    for await (const piece of readBackupFile(options.file, options.by)) {
      const entries = reader.push(piece);
      const manifest = reader.manifest();
      if (replaced !== undefined && manifest !== undefined && manifest.store !== replaced) {
        throw new HoldfastError("backup_other_store");
      }
      if (manifest !== undefined) begun ??= await beginStaging(staging, options, manifest);
      for (const entry of entries) begun?.loader.entry(entry);
    }
    reader.finish(begun?.keyring.signingKeys() ?? []);
    begun?.loader.finish(options.onProgress);
  } finally {
    begun?.close();
  }
  guardedFile(() => {
    syncFile(databasePath(staging));
    syncFolder(staging);
  });
  return reader.manifest() as BackupManifest;
}

interface StagedStore {
  readonly keyring: Keyring;
  readonly loader: StoreLoader;
  close(): void;
}

async function beginStaging(
  staging: string,
  options: RestoreOptions,
  manifest: BackupManifest,
): Promise<StagedStore> {
  const state = stateOf(options);
  const { store: storeId } = manifest;
  if (!/^[A-Za-z0-9_-]{22}$/.test(storeId)) throw new HoldfastError("backup_foreign");
  refuseErasedStore(storeId, state);
  createRecordFile(join(staging, keyringFileName)).replace(keyringOf(options, state, storeId));
  const keyring = await openKeyringAt(staging, state, storeId, options);
  const medium = createStoreMedium(staging, state, storeId, true);
  const close = (): void => {
    medium.close?.();
    keyring[Symbol.dispose]();
  };
  try {
    if (keyring.tenant !== manifest.tenant) throw new HoldfastError("keyring_foreign");
    const pageKey = keyring.pageKey();
    const driver = medium.openDriver(pageKey, { readOnly: false });
    pageKey.fill(0);
    const loader = createStoreLoader({ crypto, driver, keyring, medium }, manifest);
    return {
      keyring,
      loader,
      close(): void {
        driver.close();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** The keyring that was named, else the registered copy. Throws `keyring_foreign`, `keyring_missing`. */
function keyringOf(options: RestoreOptions, state: string, storeId: string): Uint8Array {
  const { keyringFile } = options;
  const content = createRecordFile(
    keyringFile === undefined ? join(state, storeId, keyringFileName) : resolve(keyringFile),
  ).read();
  if (content === undefined) throw new HoldfastError("keyring_missing");
  const [header] = decodeLines(crypto, content);
  const record = header?.state === "record" ? header.record : undefined;
  if (record?.kind === "keyring" && record.store !== storeId) {
    throw new HoldfastError("keyring_foreign");
  }
  return content;
}
