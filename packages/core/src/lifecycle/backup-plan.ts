/**
 * When a backup is due, how its file is called, and which older ones go: decisions from names, a policy and the time.
 *
 * Names carry store and time, so that a folder can be judged without opening a file, and only files of that form are
 * ever removed.
 */
import { fromIsoTime, isoTime } from "../event/wire.ts";
import { HoldfastError } from "../std/errors.ts";

/** A backup in a folder. */
export interface KeptBackup {
  readonly name: string;
  /** UTC ms, by its name. */
  readonly at: number;
}

/** How often, and what stays. */
export interface BackupPolicy {
  /** A new one when the newest is this old. */
  readonly everyMs: number;
  /** As many of the newest stay, whatever their age; at least 1. */
  readonly keep: number;
  /** Younger ones stay, however many. */
  readonly keepForMs: number;
}

/** Every day, the last seven, and those of thirty days. */
export const backupPolicyDefault: BackupPolicy = {
  everyMs: 86_400_000,
  keep: 7,
  keepForMs: 30 * 86_400_000,
};

/** Throws `backup_policy_invalid` unless every figure is usable. */
export function backupPolicy(options: Partial<BackupPolicy>): BackupPolicy {
  const policy = { ...backupPolicyDefault, ...options };
  for (const [option, value] of Object.entries(policy)) {
    const least = option === "keep" ? 1 : 0;
    if (!Number.isSafeInteger(value) || value < least) {
      throw new HoldfastError("backup_policy_invalid", { option });
    }
  }
  return policy;
}

const suffix = ".tar.zst.age";
const form =
  /^holdfast-([A-Za-z0-9_-]{22})-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z\.tar\.zst\.age$/;

/** Name of a backup of that store made at that time. */
export function backupName(store: string, at: number): string {
  return `holdfast-${store}-${isoTime(at).replaceAll(/[-:.]/g, "")}${suffix}`;
}

/** The backups of that store among the names in a folder, the oldest first. */
export function backupsAmong(names: readonly string[], store: string): readonly KeptBackup[] {
  return names
    .flatMap((name) => {
      const [, id, year, month, day, hour, minute, second, ms] = form.exec(name) ?? [];
      if (id !== store) return [];
      const at = fromIsoTime(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
      return at === undefined || backupName(store, at) !== name ? [] : [{ name, at }];
    })
    .toSorted((a, b) => a.at - b.at);
}

/** The newest one. One from the future says that the clock went back: it is passed over. */
export function newestBackup(kept: readonly KeptBackup[], now: number): KeptBackup | undefined {
  return kept.toSorted((a, b) => a.at - b.at).findLast(({ at }) => at <= now);
}

/** Is a new one due? */
export function isBackupDue(
  policy: BackupPolicy,
  kept: readonly KeptBackup[],
  now: number,
): boolean {
  const newest = newestBackup(kept, now);
  return newest === undefined || now - newest.at >= policy.everyMs;
}

/** Which ones go, the oldest first: neither among the newest `keep` nor young enough. */
export function backupsToRemove(
  policy: BackupPolicy,
  kept: readonly KeptBackup[],
  now: number,
): readonly KeptBackup[] {
  const ordered = kept.toSorted((a, b) => a.at - b.at);
  return ordered
    .slice(0, Math.max(0, ordered.length - Math.max(1, policy.keep)))
    .filter(({ at }) => now - at > policy.keepForMs);
}
