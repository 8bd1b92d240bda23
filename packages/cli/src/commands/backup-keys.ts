/** What opens a backup: identities of age in files, or a passphrase. */
import { readFile } from "node:fs/promises";
import { HoldfastError } from "@holdfast/core";
import type { AgeIdentities } from "@holdfast/node";
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
  // Editors end a file with a line break; it is no part of the passphrase.
  return (await readWords(file, "--backup-passphrase-file")).replace(/\r?\n$/, "");
}

async function readWords(file: string, argument: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new HoldfastError("input_unreadable", { argument }, { cause });
  }
}

/** Identities as age-keygen writes them: a line each, comments begin with #. */
export async function readIdentities(options: IdentityOptions): Promise<AgeIdentities> {
  const { identity: files = [] } = options;
  if (files.length === 0) {
    const passphrase = await readBackupPassphrase(options);
    if (passphrase !== undefined) return { passphrase };
    throw new UsageError("Say what opens it: --identity FILE, or --backup-passphrase-file.");
  }
  const texts = await Promise.all(files.map((file) => readWords(file, "--identity")));
  const lines = texts.flatMap((text) => text.split(/\r?\n/).map((line) => line.trim()));
  return { identities: lines.filter((line) => line !== "" && !line.startsWith("#")) };
}
