/** What opens a backup: identities of age in files, or a passphrase. */
import type { AgeIdentities } from "@holdfast/node";
import { passphraseIn, textIn } from "../secrets.ts";
import { UsageError } from "../store.ts";

/** Options that name what opens a backup. */
export interface IdentityOptions {
  readonly identity?: readonly string[];
  readonly backupPassphraseFile?: string;
}

/** The passphrase of a backup: from the file, else from the environment; never a flag's value. */
export async function readBackupPassphrase(
  options: Pick<IdentityOptions, "backupPassphraseFile">,
): Promise<string | undefined> {
  const { backupPassphraseFile: file } = options;
  if (file === undefined) {
    const given = process.env["HOLDFAST_BACKUP_PASSPHRASE"];
    return given === "" ? undefined : given;
  }
  return passphraseIn(file, "--backup-passphrase-file");
}

/** Identities as age-keygen writes them: a line each, comments begin with #. */
export async function readIdentities(options: IdentityOptions): Promise<AgeIdentities> {
  const { identity: files = [] } = options;
  if (files.length === 0) {
    const passphrase = await readBackupPassphrase(options);
    if (passphrase !== undefined) return { passphrase };
    throw new UsageError("Say what opens it: --identity FILE, or --backup-passphrase-file.");
  }
  const texts = await Promise.all(files.map((file) => textIn(file, "--identity")));
  const lines = texts.flatMap((text) => text.split(/\r?\n/).map((line) => line.trim()));
  return { identities: lines.filter((line) => line !== "" && !line.startsWith("#")) };
}
