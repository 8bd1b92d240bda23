/**
 * Backups of a store in a folder: one when it is due, a second copy elsewhere, older ones removed. One run of
 * {@link backUpWhenDue} does what is to do now; what calls it (cron, a timer) decides how often it looks.
 */
import { createReadStream, existsSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  backupName,
  backupPolicy,
  type BackupPolicy,
  backupsAmong,
  backupsToRemove,
  isBackupDue,
  isHoldfastError,
  type KeptBackup,
  newestBackup,
} from "@holdfast/core";
import { backUp, type BackUpOptions } from "./backup.ts";
import { publish } from "./backup-file.ts";
import { systemClock } from "./clock.ts";
import { guardedFile, makeFolder, syncFolder } from "./files.ts";
import type { KeyringCopies } from "./keyring-copies.ts";
import { stateOf, storeIdIn } from "./store-place.ts";

/** What {@link backUpWhenDue} takes. */
export interface ScheduledBackupOptions extends Omit<BackUpOptions, "out"> {
  /** Where backups of the store are kept; made when it is missing. */
  readonly folder: string;
  /** Where a second copy of each is kept: another medium. */
  readonly second?: string;
  readonly policy?: Partial<BackupPolicy>;
}

/** What one run did. */
export interface ScheduledBackup {
  readonly status: "written" | "not-due";
  /** The newest backup in the folder. */
  readonly file: string;
  /** How many were removed, in both places. */
  readonly removed: number;
  /** Code of the failure to write the second copy; the first stands. */
  readonly secondFailure: string | undefined;
  /** What became of the copies of the keyring, where a backup was written. */
  readonly copies: KeyringCopies | undefined;
}

/**
 * Writes a backup if one is due, brings the second copy up to date, then removes what the policy lets go. Throws what
 * {@link backUp} throws, `backup_policy_invalid`; a failure of the second place is in the result.
 */
export async function backUpWhenDue(options: ScheduledBackupOptions): Promise<ScheduledBackup> {
  const policy = backupPolicy(options.policy ?? {});
  const folder = resolve(options.folder);
  const storeId = storeIdIn(resolve(options.directory), stateOf(options));
  const now = systemClock.now();
  const isDue = isBackupDue(policy, backupsIn(folder, storeId), now);
  const out = join(folder, backupName(storeId, now));
  const copies = isDue ? (await backUp({ ...options, out })).copies : undefined;
  const kept = backupsIn(folder, storeId);
  const newest = newestBackup(kept, now)?.name ?? "";
  const secondFailure = await copyTo(options, folder, newest);
  let removed = removeOld(options, folder, backupsToRemove(policy, kept, now));
  if (options.second !== undefined && secondFailure === undefined) {
    const second = resolve(options.second);
    const old = backupsToRemove(policy, backupsIn(second, storeId), now);
    removed += removeOld(options, second, old);
  }
  return {
    status: isDue ? "written" : "not-due",
    file: join(folder, newest),
    removed,
    secondFailure,
    copies,
  };
}

function backupsIn(folder: string, storeId: string): readonly KeptBackup[] {
  return guardedFile(() => backupsAmong(existsSync(folder) ? readdirSync(folder) : [], storeId));
}

/** Copies the newest backup where it is not yet there; the code of a failure. */
async function copyTo(
  { second, observer }: ScheduledBackupOptions,
  folder: string,
  name: string,
): Promise<string | undefined> {
  if (second === undefined) return undefined;
  const target = join(resolve(second), name);
  try {
    guardedFile(() => {
      makeFolder(resolve(second));
    });
    if (existsSync(target)) return undefined;
    await publish(target, async (file) => {
      for await (const piece of createReadStream(join(folder, name))) {
        await file.appendFile(piece as Buffer);
      }
    });
    return undefined;
  } catch (error) {
    if (!isHoldfastError(error)) throw error;
    observer?.log("error", "backup_second_failed", { code: error.code });
    return error.code;
  }
}

function removeOld(
  { observer }: ScheduledBackupOptions,
  folder: string,
  old: readonly KeptBackup[],
): number {
  if (old.length === 0) return 0;
  guardedFile(() => {
    for (const { name } of old) rmSync(join(folder, name), { force: true });
    syncFolder(folder);
  });
  observer?.count("backups_removed", old.length);
  return old.length;
}
