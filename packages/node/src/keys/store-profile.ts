/**
 * What a store is weak in, as this machine shows it: its key providers, its files, its recovery keys. Judged before
 * the database is opened (`profile` of `openStore`).
 */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  type FoundWeakness,
  HoldfastError,
  judgeProfile,
  type Keyring,
  type KeyringFiles,
  type Observer,
  type Profile,
  type WeakFlag,
} from "@holdfast/core";

/** Under which rules a store is opened. */
export interface ProfileSettings {
  /** Default: `development`. */
  readonly profile?: Profile;
  /** Weaknesses that `development` lets pass. */
  readonly weak?: readonly WeakFlag[];
}

/** Of files by what they are, those that others may read, and of folders those that others may write. */
export function readableByOthers(
  paths: readonly { readonly role: string; readonly path: string; readonly folder?: boolean }[],
): readonly string[] {
  // Windows says with other means who may.
  if (process.platform === "win32") return [];
  return paths.flatMap(({ role, path, folder = false }) => {
    const open = folder ? 0o022 : 0o077;
    return existsSync(path) && (statSync(path).mode & open) !== 0 ? [role] : [];
  });
}

/** Recovery keys are lines of their own kind. A quote inside a text is escaped, so that no text looks like one. */
function hasRecoveryKey(files: KeyringFiles): boolean {
  return [files.store, files.registered].some((file) =>
    Buffer.from(file.read() ?? new Uint8Array(0)).includes('"kind":"recovery"'),
  );
}

/** Everything that is weak about it. */
export function weaknessesOf(
  keyring: Pick<Keyring, "providers">,
  files: KeyringFiles,
  place: { readonly directory: string; readonly registered: string },
): readonly FoundWeakness[] {
  const standings = keyring.providers.standings();
  const opened = standings.flatMap(({ id, name }) => {
    const provider = keyring.providers.get(id);
    return provider === undefined ? [] : [{ name, capabilities: provider.capabilities }];
  });
  const simulated = standings.filter(({ name }) => name === "simulator");
  return [
    ...simulated.map(({ name }) => ({ weakness: "weak.keys.simulator", found: name }) as const),
    ...opened
      .filter(({ capabilities }) => capabilities.volatile)
      .map(({ name }) => ({ weakness: "weak.keys.volatile", found: name }) as const),
    ...opened
      .filter(({ capabilities }) => capabilities.extractable)
      .map(({ name }) => ({ weakness: "weak.keys.extractable", found: name }) as const),
    ...(hasRecoveryKey(files)
      ? []
      : [{ weakness: "weak.keys.without-recovery", found: "keyring" } as const]),
    ...readableByOthers([
      { role: "folder", path: place.directory, folder: true },
      { role: "keyring", path: join(place.directory, "keyring") },
      { role: "database", path: join(place.directory, "store.db") },
      { role: "registered keyring", path: place.registered },
    ]).map((found) => ({ weakness: "weak.files.readable-by-others", found }) as const),
  ];
}

/** Lets a store start or not. Throws `profile_refused` {setting, found}; what it lets pass is logged. */
export function enforceProfile(
  { profile = "development", weak = [] }: ProfileSettings,
  found: readonly FoundWeakness[],
  observer: Observer,
): void {
  const { refused, warnings } = judgeProfile(profile, weak, found);
  const [first] = refused;
  if (first !== undefined) throw new HoldfastError("profile_refused", { profile, ...first });
  for (const { weakness, found: where } of warnings) {
    observer.log("warn", "key_setting_weak", { setting: weakness, found: where });
  }
}
