/**
 * Writing what of a store is kept apart from it: backups and rescue bundles; and what a destructive act on it needs. The archive is `@holdfast/core`'s (spec/backup.md), the file is `backup-file.ts`'s.
 */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import {
  backUpStore,
  createBackupReader,
  createRescueVerifier,
  HoldfastError,
  type Observer,
  openForReading,
  proveDrained,
  type Release,
  type RescueDeps,
  rescueStore,
  silentObserver,
} from "@holdfast/core";
import type { AgeIdentities, AgeRecipients } from "./age.ts";
import { readBackupFile, type WrittenBackup, writeBackupFile } from "./backup-file.ts";
import { systemClock } from "./clock.ts";
import { createNodeCrypto } from "./crypto.ts";
import { fromSystem } from "./files.ts";
import { type KeyringCopies, renewKeyringCopies } from "./keyring-copies.ts";
import { createProcessIdentity } from "./process-identity.ts";
import { finishSwitch, hasSurvivors } from "./salvage-files.ts";
import { createStoreMedium, openKeyringAt, type StoreAccess, version } from "./store.ts";
import {
  checkFolder,
  databasePath,
  stateOf,
  storeIdIn,
  type StoreLocation,
} from "./store-place.ts";

const crypto = createNodeCrypto();

/** What {@link backUp} takes. */
export interface BackUpOptions extends StoreLocation, StoreAccess {
  /** The new file. */
  readonly out: string;
  /** Who may open it. */
  readonly to: AgeRecipients;
  /** Build id of the application. */
  readonly app?: string;
  readonly observer?: Observer;
}

/**
 * Writes a backup of a store into a new file, while others write to the store, and brings the registered copies of its
 * keyring up to date, because what was sealed since needs its keys. Throws `output_exists`,
 * `backup_recipient_invalid` and what {@link openStore} throws.
 */
export async function backUp(
  options: BackUpOptions,
): Promise<WrittenBackup & { readonly copies: KeyringCopies }> {
  const written = await observed(options, "backup", () => write(options, backUpStore));
  options.observer?.gauge("backup_bytes", written.bytes);
  options.observer?.log("info", "backup_written", { bytes: written.bytes });
  const copies = await renewKeyringCopies(options);
  const { length: unreachable } = copies.unreachable;
  if (unreachable > 0) options.observer?.log("warn", "keyring_copies_stale", { unreachable });
  return { ...written, copies };
}

async function write(
  options: BackUpOptions,
  archive: (deps: RescueDeps) => AsyncIterable<Uint8Array>,
): Promise<WrittenBackup> {
  const { session, keyring, close } = await openToRead(options);
  try {
    const { driver } = session;
    const app = options.app ?? version;
    const pieces = archive({ crypto, clock: systemClock, driver, keyring, app });
    return await writeBackupFile(options.out, pieces, options.to);
  } finally {
    close();
  }
}

/** Counts and times one act. */
export async function observed<T>(
  { observer = silentObserver }: { readonly observer?: Observer },
  operation: "backup" | "rescue" | "restore" | "drill",
  act: () => Promise<T>,
): Promise<T> {
  const end = observer.span("backup", { operation });
  const began = systemClock.monotonic();
  let result = "failed";
  try {
    const done = await act();
    result = "ok";
    return done;
  } finally {
    end(result === "ok" ? "ok" : "error");
    observer.count("backups", 1, { operation, result });
    observer.observe("backup_duration", systemClock.monotonic() - began, { operation });
  }
}

/** A store opened for its rows alone: no read models are built, nothing is written. */
async function openToRead(options: StoreLocation & StoreAccess) {
  const directory = resolve(options.directory);
  const state = stateOf(options);
  if (!existsSync(directory)) throw new HoldfastError("store_missing");
  checkFolder(directory);
  finishSwitch(databasePath(directory));
  const storeId = storeIdIn(directory, state);
  const keyring = await openKeyringAt(directory, state, storeId, options);
  const medium = createStoreMedium(directory, state, storeId, false);
  const release = (): void => {
    medium.close?.();
    keyring[Symbol.dispose]();
  };
  try {
    if (!existsSync(databasePath(directory))) throw new HoldfastError("store_database_missing");
    const deps = { crypto, clock: systemClock, process: createProcessIdentity(), keyring, medium };
    const session = openForReading(deps);
    return {
      session,
      keyring,
      close(): void {
        session.driver.close();
        release();
      },
    };
  } catch (error) {
    release();
    throw fromSystem(error);
  }
}

/**
 * Writes what no server holds of a store into a new, encrypted file. Throws `output_exists`,
 * `backup_recipient_invalid`, `backup_unsound` and what {@link openStore} throws.
 */
export async function rescue(options: BackUpOptions): Promise<WrittenBackup> {
  const written = await observed(options, "rescue", () => write(options, rescueStore));
  options.observer?.log("info", "rescue_written", { bytes: written.bytes });
  return written;
}

/** What {@link releaseOf} takes. */
export interface ReleaseOptions extends StoreLocation, StoreAccess {
  /** A rescue bundle of the store, and what opens it. */
  readonly bundle?: { readonly file: string; readonly by: AgeIdentities };
}

/**
 * What a destructive act on that store needs: a drain proof, else the proof of a rescue bundle. Throws
 * `interlock_unproven` where there is neither, `interlock_stale` where the bundle lacks an event, the `backup_*` codes
 * for a bundle that is not as it was written.
 */
export async function releaseOf(options: ReleaseOptions): Promise<Release> {
  const { session, keyring, close } = await openToRead(options);
  try {
    // They are in no log yet, and with nobody: the next writer records them.
    if (hasSurvivors(databasePath(resolve(options.directory)))) {
      throw new HoldfastError("interlock_unproven", { waiting: "survivors of a salvage" });
    }
    const deps = { crypto, driver: session.driver, keyring };
    const answer = proveDrained(deps);
    if (answer.status === "drained") return answer.proof;
    const { bundle } = options;
    if (bundle === undefined) {
      const { undelivered } = answer;
      throw new HoldfastError("interlock_unproven", { undelivered });
    }
    const reader = createBackupReader(crypto, "rescue");
    const verifier = createRescueVerifier(deps);
    for await (const piece of readBackupFile(bundle.file, bundle.by)) {
      for (const entry of reader.push(piece)) verifier.entry(entry);
    }
    reader.finish(keyring.signingKeys());
    if (reader.manifest()?.store !== keyring.storeId) throw new HoldfastError("interlock_stale");
    return verifier.finish();
  } finally {
    close();
  }
}
