/**
 * Reading a backup: the archive is checked against what it says of itself while it goes by. What it holds is only to
 * be believed once {@link BackupReader.finish} has returned.
 */
import type { SigningKeyRecord } from "../keys/signing.ts";
import { verifySignature } from "../proof/signature.ts";
import { fromBase64 } from "../std/bytes.ts";
import { HoldfastError } from "../std/errors.ts";
import type { Crypto } from "../std/ports.ts";
import { altered } from "./backup-rows.ts";
import {
  type BackupDigest,
  type BackupKind,
  type BackupManifest,
  createRunningDigest,
  digestName,
  digestStatement,
  manifestName,
  parseDigest,
  parseManifest,
} from "./manifest.ts";
import { createTarReader, type TarEntry } from "./tar.ts";

/** Reads one archive piece by piece; what it gives out is believed once {@link BackupReader.finish} returns. */
export interface BackupReader {
  /** What the backup says of itself, once it has been read. */
  manifest(): BackupManifest | undefined;
  /** Entries between manifest and digest. Throws `backup_foreign`, `backup_newer`, `backup_kind_wrong`, `backup_altered`. */
  push(piece: Uint8Array): readonly TarEntry[];
  /**
   * The archive is over: throws `backup_altered` unless it is whole and as its digest says, `backup_unsigned` unless
   * the key of that installation signed it. Returns the digest, base64.
   */
  finish(keys: readonly SigningKeyRecord[]): string;
}

/** A reader of one backup of that kind. */
export function createBackupReader(
  crypto: Pick<Crypto, "sha256" | "verify">,
  kind: BackupKind,
): BackupReader {
  const tar = createTarReader();
  const digest = createRunningDigest(crypto);
  let manifest: BackupManifest | undefined;
  let said: BackupDigest | undefined;

  function take(entry: TarEntry): TarEntry | undefined {
    if (said !== undefined) throw altered(entry.name);
    if (entry.name === digestName && manifest !== undefined) {
      said = parseDigest(entry.content);
      return undefined;
    }
    digest.add(entry.name, entry.content);
    if (manifest !== undefined) return entry;
    if (entry.name !== manifestName) throw new HoldfastError("backup_foreign");
    manifest = parseManifest(entry.content);
    if (manifest.kind !== kind) {
      throw new HoldfastError("backup_kind_wrong", { found: manifest.kind, needed: kind });
    }
    return undefined;
  }

  return {
    manifest: () => manifest,
    push: (piece) =>
      tar
        .push(piece)
        .map(take)
        .filter((entry) => entry !== undefined),
    finish(keys) {
      if (manifest === undefined) throw new HoldfastError("backup_foreign");
      tar.finish();
      const whole = said?.entries === digest.count() && said.digest === digest.value();
      if (said === undefined || !whole) throw altered(digestName);
      if (!isSigned(crypto, said, keys)) throw new HoldfastError("backup_unsigned");
      return said.digest;
    },
  };
}

function isSigned(
  crypto: Pick<Crypto, "verify">,
  said: BackupDigest,
  keys: readonly SigningKeyRecord[],
): boolean {
  const key = keys.find(({ incarnation }) => incarnation === said.signer);
  const signature = fromBase64(said.signature);
  if (key === undefined || signature === undefined) return false;
  const message = digestStatement(said);
  return verifySignature(crypto, key.algorithm, key.spki, message, signature);
}
